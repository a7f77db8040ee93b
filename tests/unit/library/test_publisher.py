"""Publishing from other processes, sync and async, to a node and to a server."""

import asyncio
import base64
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest
from api_server import served_api
from hostile_json import NO_JSON
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import flyball
from flyball.transports.api import MAX_BODY

KEY = "secret"


@pytest.fixture
async def served():
    node = flyball.Node(clients=False)
    async with flyball.serve(node, port=0, api_key=KEY) as listener:
        yield node, f"http://127.0.0.1:{listener.port}/connection/api"


async def on_thread(function, *arguments, **fields):
    return await asyncio.to_thread(function, *arguments, **fields)


class Threaded:
    """The sync publisher, as an async one: both do the same."""

    def __init__(self, *arguments, **options):
        self.inner = flyball.Publisher(*arguments, **options)

    async def publish(self, *arguments, **fields):
        return await on_thread(self.inner.publish, *arguments, **fields)

    async def broadcast(self, *arguments, **fields):
        return await on_thread(self.inner.broadcast, *arguments, **fields)

    async def close(self):
        await on_thread(self.inner.close)


@pytest.fixture(params=["sync", "async"])
async def make(request):
    made = []

    def publisher(url, key=KEY, **options):
        kind = Threaded if request.param == "sync" else flyball.AsyncPublisher
        made.append(kind(url, key=key, **options))
        return made[-1]

    yield publisher
    for each in made:
        await each.close()


async def test_publishing_to_a_node(served, make):
    node, url = served
    publisher = make(url)
    async with node.subscribe("news") as reader:
        kept = {"history_size": 10, "history_ttl": 60, "tags": {"a": "b"}}
        result = await publisher.publish("news", {"text": "é"}, **kept)
        assert (result.offset, len(result.epoch)) == (1, 8)
        await publisher.publish("news", b"[1,  2]")
        await publisher.publish("news", b"\xff\x00")
        await publisher.publish("news", b'"\xff"')
        assert await publisher.publish("news", "plain") == flyball.PublishResult()
        seen = [await anext(reader) for _ in range(5)]
    assert [bytes(p.data) for p in seen] == [
        '{"text":"é"}'.encode(),
        b"[1,  2]",
        b"\xff\x00",
        b'"\xff"',
        b'"plain"',
    ]
    assert seen[0].tags == {"a": "b"}


async def test_broadcasts_and_repeats(served, make):
    node, url = served
    publisher = make(url)
    kept = {"history_size": 10, "history_ttl": 60, "idempotency_key": "once"}
    for _ in range(2):
        results = await publisher.broadcast(["a", "b"], 1, **kept)
        assert [r.offset for r in results] == [1, 1]
    assert (await node.history("a")).position.offset == 1


async def test_refusals(served, make, caplog):
    _, url = served
    publisher = make(url)
    for call in (publisher.publish("", 1), publisher.broadcast([], 1)):
        with pytest.raises(flyball.Error, match="107 bad request"):
            await call
    with pytest.raises(TypeError, match="takes no 'histroy_size', but history_size, history_ttl"):
        await publisher.publish("news", 1, histroy_size=1)
    with pytest.raises(
        flyball.PublishFailed, match="is no publish API, or cannot serve: status 400"
    ):
        await publisher.publish("news", None)
    assert "a request to publish is malformed: data is missing" in caplog.text
    with pytest.raises(flyball.PublishFailed, match=r"refuses the API key \(401\)"):
        await make(url, "wrong").publish("news", 1)
    with pytest.raises(
        flyball.PublishFailed, match="is no publish API, or cannot serve: status 404"
    ):
        await make(f"{url}/elsewhere").publish("news", 1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(flyball.PublishFailed, match="cannot be reached: "):
        await make(f"http://127.0.0.1:{port}/api").publish("news", 1)
    await publisher.publish("news", 1)


async def test_a_server(make, caplog):
    """The API of a server is the same, but its namespaces say what is kept."""
    async with served_api(KEY) as (_, url):
        publisher = make(url)
        result = await publisher.publish("hist:1", {"a": 1}, tags={"a": "b"}, delta=True)
        assert result.offset == 1
        assert [r.offset for r in await publisher.broadcast(["hist:1", "plain"], 1)] == [2, 0]
        with caplog.at_level(logging.WARNING):
            await publisher.publish("plain", 1, history_size=10)
        assert "history_size was given, but" in caplog.text
        with pytest.raises(flyball.Error, match="102 unknown channel"):
            await publisher.publish("nope:1", 1)
        with pytest.raises(flyball.Error, match="102 unknown channel"):
            await publisher.broadcast(["nope:1"], 1)
        with pytest.raises(flyball.Error, match="107 bad request"):
            await publisher.broadcast([], 1)
        await publisher.close()


async def test_connections_are_kept_and_shared_by_threads(served):
    node, url = served
    with flyball.Publisher(url, key=KEY) as publisher, ThreadPoolExecutor(4) as threads:
        loop = asyncio.get_running_loop()

        def publish(number):
            for _ in range(20):
                publisher.publish("news", number, history_size=100, history_ttl=60)

        await asyncio.gather(*(loop.run_in_executor(threads, publish, n) for n in range(4)))
        assert 1 <= len(publisher._way._idle) <= 4
    assert (await node.history("news")).position.offset == 80
    assert not publisher._way._idle


def test_a_connection_that_the_server_has_closed_is_not_used_again():
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"result":{}}'
    closed = threading.Semaphore(0)

    def serve(server):
        for _ in range(2):
            with server.accept()[0] as peer:
                received = b""
                while not received.endswith(b"}"):
                    received += peer.recv(1000)
                peer.sendall(answer)
            closed.release()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        with flyball.Publisher(url, key=KEY) as publisher:
            for _ in range(2):
                assert publisher.publish("news", 1) == flyball.PublishResult()
                closed.acquire()
        thread.join()


async def test_keys_and_methods(served):
    _, url = served
    async with aiohttp.ClientSession() as web:
        for headers, status in (
            ({"X-API-Key": KEY}, 200),
            ({"Authorization": f"apikey {KEY}"}, 200),
            ({"Authorization": f"Bearer {KEY}"}, 401),
            ({"X-API-Key": "é"}, 401),
            ({}, 401),
        ):
            body = {"channel": "x", "b64data": base64.b64encode(b"1").decode()}
            async with web.post(f"{url}/publish", json=body, headers=headers) as answer:
                assert answer.status == status, headers
        async with web.get(f"{url}/publish") as answer:
            assert answer.status == 405
        wrong = (b'{"channel":"x","b64data":"?"}', b'{"channel":1,"data":1}')
        for body in (*NO_JSON, *wrong):
            headers = {"X-API-Key": KEY}
            async with web.post(f"{url}/publish", data=body, headers=headers) as answer:
                assert answer.status == 400, body


def test_under_an_asgi_server():
    node = flyball.Node(clients=False)
    connections = flyball.asgi.app(node, api_key=KEY, asyncapi=True)
    app = Starlette(
        routes=[Mount("/connection", connections)], lifespan=flyball.asgi.lifespan(node)
    )
    body = {"channel": "x", "data": 1, "history_size": 1, "history_ttl": 9}
    with TestClient(app) as web:
        for key, status in ((KEY, 200), ("wrong", 401)):
            headers = {"X-API-Key": key}
            assert (
                web.post("/connection/api/publish", json=body, headers=headers).status_code
                == status
            )
        headers = {"X-API-Key": KEY}
        large = web.post("/connection/api/publish", content=b" " * (MAX_BODY + 1), headers=headers)
        assert large.status_code == 413
        assert web.get("/connection/asyncapi.json").json()["asyncapi"] == "3.0.0"


async def test_no_key_no_api():
    async with flyball.serve(flyball.Node(clients=False), port=0) as listener:
        publisher = flyball.AsyncPublisher(
            f"http://127.0.0.1:{listener.port}/connection/api", key="x"
        )
        async with publisher:
            with pytest.raises(flyball.PublishFailed, match="status 404"):
                await publisher.publish("x", 1)


@pytest.mark.parametrize(
    ("url", "key", "told"),
    [
        ("localhost:8000/api", KEY, "must be like http://localhost:8000/api"),
        ("http:///api", KEY, "must be like"),
        ("http://localhost/api", "", "key is empty: it is the API key"),
        ("ftp://me:secret@localhost/api", KEY, r"url is 'ftp://\*\*\*@localhost/api', but"),
        ("redis://localhost", KEY, "key is for HTTP: what a store asks for is in its URL"),
        ("redis://localhost?nope=1", "", "parameter 'nope' is not known"),
        ("nats://localhost/x", "", "there is more behind host and port"),
        (flyball.Engine(), "", "the engine has no broker"),
    ],
)
def test_what_cannot_be_an_api(url, key, told):
    for kind in (flyball.Publisher, flyball.AsyncPublisher):
        with pytest.raises(flyball.ConfigError, match=told):
            kind(url, key=key)
