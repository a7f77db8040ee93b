"""SockJS over TLS: HTTP/1.1 keeps its connection from poll to poll, HTTP/2 and HTTP/3 serve too."""

import asyncio
import json
import ssl

import pytest
from streamclients import dial_h2, dial_h3, trusting
from waiting import PATIENCE, until
from wsclient import RawClient, client_frame

from flyball.core import types
from flyball.core.node import Node, NodeOptions
from flyball.http.http3.listener import Http3Listener, Http3Options
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.relay import OtherProcess
from flyball.http.routes import Route, Routes
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.sockjs.endpoint import SockJsEndpoint
from flyball.transports.sockjs.sessions import SockJsOptions
from flyball.transports.sockjs.websocket import SockJsWebSocketEndpoint

CONNECT = '{"id":1,"connect":{}}'
SUBSCRIBE = '{"id":2,"subscribe":{"channel":"a"}}'
S = "/s/000/session"


class Stage:
    def __init__(self, node, sessions, tcp, udp):
        self.node, self.sessions, self.tcp, self.udp = node, sessions, tcp, udp

    def dial(self, version):
        return dial_h2(self.tcp.port) if version == "2" else dial_h3(self.udp.port)


@pytest.fixture(params=["here", "elsewhere"])
def folder(request, tmp_path):
    """Where another process has the sessions, if one has."""
    return tmp_path if request.param == "elsewhere" else None


@pytest.fixture
async def stage(certificate, tmp_path, folder):
    node = Node(NodeOptions(ping_interval=0.0))
    node.on_connecting(lambda event: types.Credentials(user="u"))
    node.on_subscribe(lambda event: types.SubscribeOptions())
    await node.start()
    endpoint, keeper = SockJsEndpoint(node), None
    socket = SockJsWebSocketEndpoint(node, OriginPolicy())
    front = endpoint
    if folder is not None:
        path = folder / "sock"
        endpoint = SockJsEndpoint(node, options=SockJsOptions(relay_socket=str(path)))
        front = SockJsEndpoint(
            node, options=SockJsOptions(elsewhere=lambda _id: OtherProcess("other", path))
        )
        rows = Routes(endpoint.relayed_routes("/s"))
        keeper = Listener(ListenerOptions(path=str(path)), rows, node.timers)
        await keeper.start()
    routes = Routes([Route("/s/*/*/websocket", upgrade=socket), *front.routes("/s")])
    pem, key = certificate
    (tmp_path / "pem").write_bytes(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    tcp = Listener(
        ListenerOptions("127.0.0.1", ssl_context=context, websocket_streams=True), routes
    )
    udp = Http3Listener(Http3Options("127.0.0.1", 0, pem, key), routes)
    await tcp.start()
    await udp.start()
    yield Stage(node, endpoint.sessions, tcp, udp)
    while RawClient.opened:
        client = RawClient.opened.pop()
        client.writer.transport.abort()
        await client.close()
    for listener in (tcp, udp):
        listener.stop_accepting()
    await node.shutdown()
    for listener in (tcp, udp, keeper):
        if listener is not None:
            await listener.close(grace=0.2)
    await until(lambda: not tcp.timers.num_armed, "end of the connections")
    assert not node.hub.sessions
    assert not node.pending_sessions
    assert not node.tasks


async def poll(client):
    """The frame that one poll brings."""
    stream = await client.ask("POST", f"{S}/xhr").complete()
    assert stream.status == 200
    assert stream.headers["content-length"] == str(len(stream.body))
    return stream.text.removesuffix("\n")


@pytest.mark.parametrize("version", ["2", "3"])
async def test_polls(stage, version):
    async with stage.dial(version) as client:
        assert await poll(client) == "o"
        body = json.dumps([CONNECT, SUBSCRIBE]).encode()
        assert (await client.ask("POST", f"{S}/xhr_send", (), body).complete()).status == 204
        assert '\\"connect\\"' in await poll(client)
        (session,) = stage.node.hub.sessions.values()
        assert session.remote_addr.startswith("127.0.0.1:")
        waiting = asyncio.ensure_future(poll(client))
        await until(lambda: stage.sessions.get("session").is_attached)
        assert await poll(client) == 'c[2010,"Another connection still open"]'
        await stage.node.publish("a", "x" * 300_000)
        assert len(await waiting) > 300_000
        gone = client.ask("POST", f"{S}/xhr")
        await until(lambda: stage.sessions.get("session").is_attached)
        gone.cancel()
        await until(lambda: not stage.node.hub.sessions)
        assert await poll(client) == 'c[1002,"Connection interrupted"]'
        page = await client.ask("GET", "/s/iframe.html").complete()
        same = {"if-none-match": page.headers["etag"]}
        page = await client.ask("GET", "/s/iframe.html", same).complete()
        assert (page.status, page.body) == (304, b"")
        assert "content-length" not in page.headers


@pytest.mark.parametrize("version", ["2", "3"])
async def test_streams(stage, version):
    async with stage.dial(version) as client:
        stream = await client.request("POST", f"{S}/xhr_streaming")
        await stream.until(lambda: stream.text == "h" * 2048 + "\no\n")
        body = json.dumps([CONNECT, SUBSCRIBE]).encode()
        await client.ask("POST", f"{S}/xhr_send", (), body).complete()
        await stream.until(lambda: '\\"subscribe\\"' in stream.text)
        sent = 0
        while not stream.ended or sent < 20:  # it ends after 128 KiB
            await stage.node.publish("a", [sent, "x" * 10_000])
            await stream.until(lambda sent=sent: stream.ended or f"[{sent}," in stream.text)
            sent += 1
        await stage.node.publish("a", ["the end"])
        other = await client.request("POST", f"{S}/xhr_streaming")
        await other.until(lambda: "the end" in other.text)
        seen = stream.text + other.text
        assert [n for n in range(sent) if seen.count(f"[{n},") == 1] == list(range(sent))
        await stage.node.disconnect_user("u")
        await other.complete()
        assert other.text.endswith('\nc[3503,"force disconnect"]\n')


@pytest.mark.parametrize("version", ["2", "3"])
async def test_websocket(stage, version):
    async with stage.dial(version) as client:
        headers = {"sec-websocket-version": "13"}
        stream = await client.request(
            "CONNECT", f"{S}/websocket", headers, end=False, protocol="websocket"
        )
        assert stream.status == 200
        await stream.until(lambda: stream.body == b"\x81\x01o")
        stream.send(client_frame(json.dumps([CONNECT]).encode()))
        await stream.until(lambda: b'a["{\\"id\\":1,\\"connect\\":' in stream.body)
        await stage.node.disconnect_user("u")
        await stream.until(lambda: b'c[3503,"force disconnect"]' in stream.body)


async def test_http_1_keeps_its_connection(stage):
    client = await RawClient.open(stage.tcp.port, ssl=trusting())

    async def ask(name, body=""):
        client.send(
            f"POST {S}/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        return await client.response()

    assert (await ask("xhr"))[2] == b"o\n"
    await ask("xhr_send", json.dumps([CONNECT, SUBSCRIBE]))
    assert b"connect" in (await ask("xhr"))[2]
    for size in (10, 1000, 900_000, 10):
        waiting = asyncio.ensure_future(ask("xhr"))
        await until(lambda: stage.sessions.get("session").is_attached)
        await stage.node.publish("a", "x" * size)
        assert len((await waiting)[2]) > size


async def test_http_1_streams_take_what_waited(stage):
    sender = await RawClient.open(stage.tcp.port, ssl=trusting())
    client = await RawClient.open(stage.tcp.port, ssl=trusting())

    async def ask(client, name, body=""):
        client.send(
            f"POST {S}/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )

    async def seen_until(what):
        nonlocal seen
        while what not in seen:
            data = await asyncio.wait_for(client.reader.read(65536), PATIENCE)
            assert data, "the connection is kept"
            seen += data
        seen = seen.partition(what)[2]

    seen = b""

    await ask(client, "xhr")
    await client.response()
    await ask(sender, "xhr_send", json.dumps([CONNECT, SUBSCRIBE]))
    await sender.response()
    for n in range(30):
        await stage.node.publish("a", [n, "x" * 1000])
    await ask(client, "xhr_streaming")
    await seen_until(b"[29,")
    for n in range(30, 60):
        await stage.node.publish("a", [n, "x" * 1000])
    await seen_until(b"[59,")
    while stage.sessions.get("session").is_attached:
        await stage.node.publish("a", "x" * 10_000)
    await seen_until(b"\r\n0\r\n\r\n")
    await ask(client, "xhr_streaming")
    await seen_until(b"h" * 2048 + b"\n\r\n")
    await stage.node.disconnect_user("u")
    await seen_until(b'c[3503,"force disconnect"]\n\r\n0\r\n\r\n')
