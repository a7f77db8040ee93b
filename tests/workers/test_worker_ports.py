"""Every port of a server of two workers, with real clients: TLS, GRPC, QUIC, SockJS and streams."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl

import aiohttp
import grpc
import pytest
from certificates import self_signed
from factproto import compiled
from grpc import aio
from manyworkers import KEY, Workers
from ports import free_port
from quicclient import dial
from waiting import PATIENCE, until, wait_for

CLIENTS = 16
"""Connections: of so many not all go to one worker."""
SUBS = {"audit:1": {}}
CONSUME = "/centrifugal.centrifugo.unistream.CentrifugoUniStream/Consume"
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@pytest.fixture(scope="module")
def certificate():
    return self_signed()


@pytest.fixture(scope="module")
def workers(tmp_path_factory, certificate):
    folder = tmp_path_factory.mktemp("workers")
    tls = {
        "enabled": True,
        "cert_pem": certificate[0].decode(),
        "key_pem": certificate[1].decode(),
    }
    found = Workers(
        folder,
        http_server={"tls": tls, "http3": {"enabled": True}},
        webtransport={"enabled": True},
        sockjs={"enabled": True},
        sse={"enabled": True},
        uni_grpc={"enabled": True, "port": free_port(), "tls": tls},
        grpc_api={"enabled": True, "port": free_port(), "key": KEY, "tls": tls},
    )
    found.wait_until_all_know_each_other()
    yield found
    assert found.program.stop() == 0


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """Stubs of the server API."""
    return compiled(tmp_path_factory.mktemp("stubs"))


@pytest.fixture
async def web():
    """Each request has a connection of its own; the end of TLS is waited for."""
    trusting, sockets = ssl._create_unverified_context(), []

    def opened(info):
        sockets.append(socket.socket(*info[:3]))
        return sockets[-1]

    connector = aiohttp.TCPConnector(force_close=True, limit=0, ssl=trusting, socket_factory=opened)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session
    await until(lambda: all(each.fileno() < 0 for each in sockets), "ends of connections")


async def spread(workers, clients=CLIENTS):
    """Waits until the workers know of all clients; each has some."""

    def told():
        numbers = workers.clients()
        return sum(numbers) == clients and len(numbers) == 2 and min(numbers) > 0

    await asyncio.to_thread(wait_for, told, "clients on both workers")


async def publish(workers, text):
    await asyncio.to_thread(workers.call, "publish", channel="audit:1", data={"say": text})


async def test_websocket_over_tls(workers, web):
    url = f"wss://127.0.0.1:{workers.port}/connection/websocket"
    async with contextlib.AsyncExitStack() as stack:
        sockets = []
        for _ in range(CLIENTS):
            each = await stack.enter_async_context(web.ws_connect(url))
            await each.send_str('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"audit:1"}}')
            sockets.append(each)
        for each in sockets:
            told = ""
            while '"id":2' not in told:
                told += await each.receive_str(timeout=PATIENCE)
        await spread(workers)
        await publish(workers, "over tls")
        for each in sockets:
            assert "over tls" in await each.receive_str(timeout=PATIENCE)


async def test_grpc(workers, certificate, api):
    trusting = grpc.ssl_channel_credentials(certificate[0])
    messages, stubs = api

    def channel(port):
        return aio.secure_channel(f"localhost:{port}", trusting, OWN_CONNECTION)

    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for _ in range(CLIENTS):
            port = workers.config["uni_grpc"]["port"]
            each = await stack.enter_async_context(channel(port))
            request = b"\x1a\x0b\x0a\x07audit:1\x12\x00"  # subs
            streams.append(each.unary_stream(CONSUME)(request))
        for stream in streams:
            assert b"audit:1" in await asyncio.wait_for(stream.read(), PATIENCE)  # connect
        await spread(workers)
        for number in range(6):  # by either worker
            port = workers.config["grpc_api"]["port"]
            async with channel(port) as each:
                stub = stubs.CentrifugoApiStub(each)
                asked = messages.PublishRequest(channel="audit:1", data=b'"grpc %d"' % number)
                metadata = (("authorization", f"apikey {KEY}"),)
                assert not (await stub.Publish(asked, metadata=metadata)).error.code
        for stream in streams:
            for number in range(6):
                pushed = await asyncio.wait_for(stream.read(), PATIENCE)
                assert b'"grpc %d"' % number in pushed


async def move(client, wires):
    """The client sends from another address from now on, as behind a router that forgot it."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    old = client._transport
    client._transport, _ = await loop.create_datagram_endpoint(lambda: Elsewhere(client), sock=sock)
    wires.callback(client._transport.close)
    old.close()


class Elsewhere(asyncio.DatagramProtocol):
    """Hands a client what comes to its new address."""

    def __init__(self, client):
        self.client = client

    def datagram_received(self, data, addr):
        self.client.datagram_received(data, addr)


async def subscribed(stack, port):
    client = await stack.enter_async_context(dial(port))
    await client.open()
    client.send(b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"audit:1"}}\n')
    await client.until(lambda: '"id":2' in client.text)
    return client


async def test_webtransport(workers):
    port = workers.port
    async with contextlib.AsyncExitStack() as wires, contextlib.AsyncExitStack() as stack:
        clients = [await subscribed(stack, port) for _ in range(CLIENTS)]
        await spread(workers)
        await publish(workers, "first")
        for client in clients:
            await client.until(lambda client=client: "first" in client.text)
        # From other addresses: ids lead to the worker that has the connection.
        for client in clients:
            await move(client, wires)
        for number, client in enumerate(clients):
            client.send(b'{"id":%d,"history":{"channel":"audit:1"}}\n' % (100 + number))
        for number, client in enumerate(clients):
            await client.until(
                lambda client=client, number=number: f'"id":{100 + number}' in client.text
            )
        await publish(workers, "moved")
        for client in clients:
            await client.until(lambda client=client: "moved" in client.text)
        await a_worker_ends(workers, stack, clients)


async def a_worker_ends(workers, stack, clients):
    """Connections of the other live on, and the one that takes its place has new ones."""
    victim = workers.pid_of(1)
    known = len(workers.pids)
    os.kill(victim, signal.SIGKILL)
    await until(lambda: len(workers.pids) > known, "a new worker")
    await asyncio.to_thread(workers.wait_until_all_know_each_other)
    (left,) = (
        node["num_clients"] for node in workers.call("info")["nodes"] if node["name"].endswith("_2")
    )
    assert 0 < left < CLIENTS
    await publish(workers, "one has ended")
    heard = [client for client in clients if "one has ended" in client.text]

    def hear():
        heard[:] = [client for client in clients if "one has ended" in client.text]
        return len(heard) == left

    await until(hear, "clients of the other worker")
    more = [await subscribed(stack, workers.port) for _ in range(CLIENTS)]
    await publish(workers, "all are here")
    for client in (*heard, *more):
        await client.until(lambda client=client: "all are here" in client.text)


RECEIVERS = {
    "xhr": ("POST", ""),
    "xhr_streaming": ("POST", ""),
    "eventsource": ("GET", ""),
    "htmlfile": ("GET", "?c=f"),
    "jsonp": ("GET", "?c=f"),
}


class SockJs:
    """One session; each request has a connection of its own."""

    def __init__(self, web, workers, kind, name):
        self.web = web
        self.base = f"https://127.0.0.1:{workers.port}/connection/sockjs/000/{name}"
        self.kind, self.method, self.query = kind, *RECEIVERS[kind]
        self.text = ""

    async def read(self):
        """Asks for frames again and again."""
        while True:
            url = f"{self.base}/{self.kind}{self.query}"
            async with self.web.request(self.method, url) as answer:
                assert answer.status == 200
                async for data, _ in answer.content.iter_chunks():
                    self.text += data.decode()

    async def say(self, *commands):
        async with self.web.post(f"{self.base}/xhr_send", data=json.dumps(commands)) as answer:
            assert answer.status == 204, await answer.text()


@pytest.mark.parametrize("kind", RECEIVERS)
async def test_sockjs(workers, web, kind):
    sessions = [SockJs(web, workers, kind, f"{kind}-{n}") for n in range(CLIENTS)]
    tasks = [asyncio.ensure_future(session.read()) for session in sessions]
    try:
        for session in sessions:
            await until(lambda session=session: "o" in session.text.replace("document", ""))
        for session in sessions:
            await session.say('{"id":1,"connect":{}}')
            await session.say('{"id":2,"subscribe":{"channel":"audit:1"}}')
        for session in sessions:
            await until(lambda session=session: "subscribe" in session.text)
        await spread(workers)
        await publish(workers, f"to {kind}")
        for session in sessions:
            await until(lambda session=session: f"to {kind}" in session.text)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_sockjs_session_that_nobody_has(workers, web):
    for number in range(CLIENTS):
        url = f"https://127.0.0.1:{workers.port}/connection/sockjs/000/none-{number}/xhr_send"
        async with web.post(url, data='["x"]') as answer:
            assert answer.status == 404


@pytest.mark.parametrize("kind", ["http_stream", "sse"])
async def test_emulation(workers, web, kind):
    base = f"https://127.0.0.1:{workers.port}"
    for number in range(CLIENTS):
        connect = '{"id":1,"connect":{}}'
        if kind == "sse":
            request = web.get(f"{base}/connection/sse", params={"cf_connect": connect})
        else:
            request = web.post(f"{base}/connection/http_stream", data=connect)
        async with request as stream:
            connected = json.loads(await line(stream))["connect"]
            command = {"id": number + 2, "subscribe": {"channel": "audit:1"}}
            said = {
                "session": connected["session"],
                "node": connected["node"],
                "data": json.dumps(command),
            }
            async with web.post(f"{base}/emulation", json=said) as answer:
                assert answer.status == 204
            assert json.loads(await line(stream))["id"] == number + 2


async def line(stream):
    """The next message of a stream."""
    while True:
        found = await asyncio.wait_for(stream.content.readline(), PATIENCE)
        found = found.removeprefix(b"data: ").strip()
        if found.startswith(b"{"):
            return found
