"""The route table: what is found where, what is refused before the body, and what is counted."""

import asyncio
import contextlib

import pytest
from asking import ask
from certificates import self_signed
from streamclients import dial_h2, dial_h3
from waiting import PATIENCE

from flyball.core.errors import ConfigError
from flyball.core.node import Node
from flyball.http.asgi_bridge import serve
from flyball.http.http3.listener import Http3Listener, Http3Options
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import Response, empty
from flyball.http.routes import Route, RouteClash, Routes
from flyball.server import build
from flyball.testing.clock import settle
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.streaming import endpoint as streaming
from flyball.transports.streaming.endpoint import StreamEndpoint
from flyball.transports.websocket.endpoint import WebSocketEndpoint


def named(name):
    return lambda *_: Response(name.encode())


def route(path, **options):
    return Route(path, named(path), **options)


def found(routes, path):
    endpoint = routes.find(path)
    return None if endpoint is None else endpoint.route.path


# -- paths


def test_paths_match_exactly():
    routes = Routes([route("/health")])
    assert routes.paths == {"/health"}
    assert found(routes, "/health") == "/health"
    for path in ("/", "/health/", "/healthy", "/HEALTH", "/health/x", ""):
        assert found(routes, path) is None


def test_a_subtree_gets_what_nobody_else_has():
    routes = Routes(
        [route("/", subtree=True), route("/health"), route("/a/b", subtree=True), route("/s/*/x")]
    )
    expected = {
        "/": "/",
        "/static/x.js": "/",
        "/health": "/health",
        "/health/x": "/",
        "/a/b": "/a/b",
        "/a/b/c": "/a/b",
        "/a/bc": "/",
        "/s/1/x": "/s/*/x",
        "/s/1.2/x": "/",
    }
    assert {path: found(routes, path) for path in expected} == expected
    narrow = Routes([route("/admin", subtree=True)])
    assert found(narrow, "/admin/x") == "/admin"
    assert found(narrow, "/administrator") is None


def test_two_rows_with_one_path_are_refused():
    rows = [route("/x", option="health.handler_prefix"), route("/x", option="sse.handler_prefix")]
    with pytest.raises(RouteClash, match=r"'/x'.*health\.handler_prefix.*sse\."):
        Routes(rows)
    with pytest.raises(ConfigError, match=r"'/x'.*health\.handler_prefix.*sse\."):
        build.split_routes(rows, split=False)


def test_split_listeners_have_their_own_endpoints():
    rows = [route("/health", internal=True), route("/connection/init")]
    external, internal = build.split_routes(rows, split=True)
    assert external.paths == {"/connection/init"}
    assert internal.paths == {"/health"}
    external, internal = build.split_routes(rows, split=False)
    assert external is internal
    assert external.paths == {"/connection/init", "/health"}


# -- before the body


def refuse(head):
    return None if head.headers.get("key") else empty(401)


STRICT = {"methods": ("POST", "PUT"), "admit": refuse, "max_body_size": 10}


def test_the_order_of_refusals():
    rows = [route("/x", **STRICT)]
    assert ask(rows, "POST", "/y", body=b"x" * 20).body == b"404 page not found\n"
    wrong = ask(rows, "GET", "/x", body=b"x" * 20)
    assert (wrong.status, wrong.headers) == (405, (("Allow", "POST, PUT"),))
    assert ask(rows, "POST", "/x", body=b"x" * 20).status == 413
    assert ask(rows, "POST", "/x", body=b"x").status == 401
    assert ask(rows, "POST", "/x", headers={"key": "k"}, body=b"x").body == b"/x"


def test_a_row_says_what_it_answers_to_long_bodies():
    rows = [route("/x", max_body_size=1, too_large=lambda head: empty(499))]
    answer = ask(rows, "POST", "/x", body=b"xx")
    assert (answer.status, answer.close) == (499, True)


@contextlib.asynccontextmanager
async def listening(routes):
    listener = Listener(ListenerOptions("127.0.0.1"), routes)
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    yield reader, writer
    writer.close()
    await writer.wait_closed()
    await listener.close(0.1)


async def status_of(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    lines = head.decode().split("\r\n")
    sizes = [line for line in lines if line.startswith("Content-Length: ")]
    await reader.readexactly(int(sizes[0].split()[1]))
    return int(lines[0].split()[1]), "Connection: close" in lines


def request(path, size, *, headers="", verb="POST"):
    return f"{verb} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {size}\r\n\r\n".encode()


@pytest.mark.parametrize(("path", "status"), [("/x", 401), ("/nothing", 404)])
async def test_the_body_of_a_refused_request_is_skipped(path, status):
    async with listening(Routes([route("/x", methods=("POST",), admit=refuse)])) as (
        reader,
        writer,
    ):
        for known in (False, True):  # heads are remembered
            writer.write(request(path, 5) + (b"abcde" if known else b"ab"))
            if not known:
                await settle()
                writer.write(b"cde")
            assert await status_of(reader) == (status, False)
        writer.write(request("/x", 5, headers="key: k\r\n") + b"abcde")
        assert await status_of(reader) == (200, False)
        chunked = request(path, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        writer.write(chunked + b"3\r\nabc\r\n")
        await settle()
        writer.write(b"0\r\n\r\n")
        assert await status_of(reader) == (status, False)
        writer.write(chunked + b"40001\r\n" + b"x" * 0x40001)
        assert await status_of(reader) == (status, True)
        assert await reader.read() == b""


@pytest.mark.parametrize("headers", ["", "Expect: 100-continue\r\n"])
async def test_refusals_do_not_wait_for_long_or_unsent_bodies(headers):
    async with listening(Routes([route("/x", admit=refuse)])) as (reader, writer):
        writer.write(request("/x", 5 if headers else 1_000_000, headers=headers))
        assert await status_of(reader) == (401, True)
        assert await reader.read() == b""


async def test_absolute_targets_are_paths_of_this_server():
    async with listening(Routes([route("/x")])) as (reader, writer):
        writer.write(request("http://x/x?a=b", 0, verb="GET") * 2)
        assert await status_of(reader) == (200, False)
        assert await status_of(reader) == (200, False)
        writer.write(request("http://x", 0, verb="GET"))
        assert await status_of(reader) == (404, False)


# -- counting


async def later(head, _body):
    await asyncio.sleep(0)
    if head.query == "fails":
        raise ValueError("as asked")
    return empty(201)


def fails(head, _body):
    raise ValueError("as asked")


@pytest.fixture
async def node():
    node = Node(clients=False)
    await node.start()
    yield node
    await node.shutdown()


def everything(node):
    origins = OriginPolicy()
    return [
        Route("/plain", named("plain"), methods=("GET",)),
        Route("/later", later),
        Route("/fails", fails),
        Route("/strict", named("strict"), **STRICT),
        Route("/tree", named("tree"), subtree=True),
        Route("/websocket", upgrade=WebSocketEndpoint(node, origins)),
        StreamEndpoint(node, streaming.UNI_SSE, origins).route("/uni_sse"),
        StreamEndpoint(node, streaming.SSE, origins).route("/sse"),
    ]


ASKED = [
    ("GET", "/plain"),
    ("GET", "/plain"),
    ("POST", "/plain"),
    ("GET", "/later"),
    ("GET", "/later?fails"),
    ("GET", "/fails"),
    ("POST", "/strict"),
    ("GET", "/tree/of/paths"),
    ("GET", "/websocket"),
    ("GET", "/sse"),
    ("GET", "/nothing"),
]
COUNTED = {
    ("/plain", "GET", 200): 2,
    ("/plain", "POST", 405): 1,
    ("/later", "GET", 201): 1,
    ("/later", "GET", 500): 1,
    ("/fails", "GET", 500): 1,
    ("/strict", "POST", 401): 1,
    ("/tree", "GET", 200): 1,
    ("/sse", "GET", 400): 1,
}


async def test_requests_are_counted_over_http1(node):
    counts = {}
    async with listening(Routes(everything(node), counts=counts)) as (reader, writer):
        for method, path in ASKED:
            writer.write(request(path, 0, verb=method))
            await status_of(reader)
        assert counts == {**COUNTED, ("/websocket", "GET", 400): 1}
        counts.clear()
        writer.write(request("/strict", 11))
        assert await status_of(reader) == (413, True)
        assert counts == {("/strict", "POST", 413): 1}


async def test_upgrades_and_streams_are_counted(node):
    counts = {}
    node.on_connecting(lambda event: None)
    routes = Routes(everything(node), counts=counts)
    handshake = (
        b"GET /websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    stream = b"GET /uni_sse HTTP/1.1\r\nHost: x\r\n\r\n"
    for asked, key in (
        (handshake, ("/websocket", "GET", 101)),
        (stream, ("/uni_sse", "GET", 200)),
    ):
        async with listening(routes) as (reader, writer):
            writer.write(asked)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            assert counts.pop(key) == 1
            assert not counts


@contextlib.asynccontextmanager
async def dialled_to(routes, version):
    """A client of HTTP/2 or HTTP/3."""
    if version == "2":
        listener = Listener(ListenerOptions("127.0.0.1", h2c=True), routes)
        await listener.start()
        dialled = dial_h2(listener.port, tls=False)
    else:
        pem, key = self_signed()
        listener = Http3Listener(Http3Options("127.0.0.1", 0, pem, key), routes)
        await listener.start()
        dialled = dial_h3(listener.port)
    async with dialled as client:
        yield client
    await listener.close(0.1)


@pytest.mark.parametrize("version", ["2", "3"])
async def test_requests_are_counted_over_streams(node, version):
    counts = {}
    async with dialled_to(Routes(everything(node), counts=counts), version) as client:
        for method, path in [*ASKED, ("BREW", "/plain")]:
            stream = await client.request(method, path)
            await stream.complete()
        assert counts == {
            **COUNTED,
            ("/websocket", "GET", 405): 1,
            ("/plain", "unknown", 405): 1,
        }


async def test_requests_are_counted_through_asgi(node):
    counts = {}
    routes = Routes(everything(node), counts=counts)

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        pass

    for method, target in ASKED:
        path, _, query = target.partition("?")
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        await serve(routes, {**scope, "query_string": query.encode()}, receive, send)
    assert counts == COUNTED


async def test_a_request_that_an_asgi_server_gives_up_is_given_up_by_its_handler():
    ended = []

    async def waits(_head, _body):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def receive():
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/waits", "headers": []}
    request = asyncio.ensure_future(serve(Routes([Route("/waits", waits)]), scope, receive, None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.sleep(0)
    assert ended


# -- who asks


def who_asks():
    """A row whose handler is told addresses, and the addresses it was told."""
    told = []

    def answer(_head, _body, address):
        told.append(address)
        return Response(b"")

    return Routes([Route("/who", peer_handler=answer)], counts={}), told


async def test_a_handler_is_told_the_address_over_http1():
    routes, told = who_asks()
    async with listening(routes) as (reader, writer):
        for _ in range(2):  # the second head is known already
            writer.write(request("/who", 0))
            assert (await status_of(reader))[0] == 200
    assert told == ["127.0.0.1"] * 2


@pytest.mark.parametrize("version", ["2", "3"])
async def test_a_handler_is_told_the_address_over_streams(version):
    routes, told = who_asks()
    async with dialled_to(routes, version) as client:
        await (await client.request("POST", "/who")).complete()
    assert told == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("client", "address"),
    [(("::ffff:192.0.2.1", 5), "192.0.2.1"), (["2001:db8::1", 5], "2001:db8::1"), (None, "")],
)
async def test_a_handler_is_told_the_address_through_asgi(client, address):
    routes, told = who_asks()

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        pass

    scope = {"type": "http", "method": "POST", "path": "/who", "headers": [], "client": client}
    await serve(routes, scope, receive, send)
    assert told == [address]
