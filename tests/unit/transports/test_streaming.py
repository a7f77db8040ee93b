"""HTTP streaming, SSE and /emulation over raw sockets."""

import asyncio
import json
from urllib.parse import quote

import pytest
from waiting import PATIENCE, until
from wsclient import RawClient

from flyball.core import types
from flyball.core.errors import Disconnect, Error
from flyball.core.node import Node, NodeOptions
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.routes import Routes
from flyball.protocol.messages import Command, ConnectRequest
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.testing.clock import settle
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.streaming import endpoint as streaming
from flyball.transports.streaming.emulation import EmulationEndpoint
from flyball.transports.streaming.endpoint import StreamEndpoint, StreamOptions

CONNECT = b'{"id":1,"connect":{}}'
ORIGIN = "http://localhost:3000"


class Server:
    def __init__(self, node, listener):
        self.node, self.port = node, listener.port


@pytest.fixture
async def server(request):
    options = getattr(request, "param", {})
    node = Node(NodeOptions(**{"ping_interval": 0.0, **options.get("node", {})}))

    @node.on_connecting
    def connecting(event):
        if event.token == "expired":
            raise Error(109)
        if event.token == "bad":
            raise Disconnect(3500)
        return types.Credentials(user="u")

    node.on_subscribe(lambda event: types.SubscribeOptions())
    node.on_rpc(lambda event: event.data)
    await node.start()
    origins = OriginPolicy([ORIGIN])
    settings = StreamOptions(max_request_body_size=500, **options.get("stream", {}))
    limits = options.get("limits")
    limits = ConnectionLimits(lambda: node.hub.num_clients, **limits) if limits else None
    endpoints = {
        "/http_stream": StreamEndpoint(node, streaming.HTTP_STREAM, origins, settings, limits),
        "/sse": StreamEndpoint(node, streaming.SSE, origins, settings, limits),
        "/uni_http_stream": StreamEndpoint(node, streaming.UNI_HTTP_STREAM, origins, settings),
        "/uni_sse": StreamEndpoint(node, streaming.UNI_SSE, origins, settings),
    }
    emulation = EmulationEndpoint(node, origins, 500)
    rows = [endpoint.route(path) for path, endpoint in endpoints.items()]
    routes = Routes([*rows, emulation.route("/emulation")])
    listener = Listener(ListenerOptions("127.0.0.1"), routes)
    await listener.start()
    yield Server(node, listener)
    while RawClient.opened:
        client = RawClient.opened.pop()
        client.writer.transport.abort()
        await client.close()
    listener.stop_accepting()
    await node.shutdown()
    await listener.close(grace=0.1)
    await asyncio.sleep(0)
    assert not node.hub.sessions
    assert not node.pending_sessions
    assert not node.tasks
    assert not listener.timers.num_armed


class Stream(RawClient):
    """A streaming response."""

    async def ask(self, path, body=None, headers="", method=None, version="1.1"):
        method = method or ("GET" if body is None else "POST")
        body = body or b""
        self.send(
            f"{method} {path} HTTP/{version}\r\nHost: x\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await self.head()).decode()
        self.headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        self.date = self.headers.pop("Date", "")
        self.status = int(head.split(" ")[1])
        return self

    async def chunk(self):
        size = int(await asyncio.wait_for(self.reader.readline(), PATIENCE), 16)
        data = await self.read(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def line(self):
        data = await self.chunk()
        assert data.endswith(b"\n")
        return [json.loads(line) for line in data.splitlines()]

    async def event(self):
        data = await self.chunk()
        events = data.decode().split("\n\n")
        assert events.pop() == ""
        return [json.loads(e.removeprefix("data: ")) for e in events]


async def stream(server, path, body=None, headers="", **kwargs):
    client = await Stream.open(server.port)
    return await client.ask(path, body, headers, **kwargs)


def emulated(connect, data, **changes):
    node, session = connect["node"], connect["session"]
    return json.dumps({"node": node, "session": session, "data": data} | changes).encode()


STREAM_HEADERS = {
    "Cache-Control": "private, no-cache, no-store, no-transform, must-revalidate, max-age=0",
    "Connection": "keep-alive",
    "Content-Encoding": "identity",
    "Expire": "0",
    "Pragma": "no-cache",
    "X-Accel-Buffering": "no",
    "Transfer-Encoding": "chunked",
    "Access-Control-Allow-Credentials": "true",
}


async def test_http_stream(server):
    client = await stream(
        server,
        "/http_stream",
        CONNECT + b'\n{"id":2,"subscribe":{"channel":"a"}}',
        f"Origin: {ORIGIN}\r\n",
    )
    assert client.status == 200
    assert client.date.endswith(" GMT")
    assert client.headers == {
        **STREAM_HEADERS,
        "Access-Control-Allow-Origin": ORIGIN,
        "Content-Type": "text/plain; charset=utf-8",
    }
    connect, subscribe = await client.line()
    assert subscribe == {"id": 2, "subscribe": {}}
    await server.node.publish("a", {"x": 1})
    assert await client.line() == [{"push": {"channel": "a", "pub": {"data": {"x": 1}}}}]
    other = await stream(
        server,
        "/emulation",
        emulated(connect["connect"], '{"id":3,"rpc":{"method":"m"}}'),
        f"Origin: {ORIGIN}\r\n",
    )
    assert other.status == 204
    assert other.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert await client.line() == [{"id": 3, "rpc": {}}]
    assert server.node.metrics.actions["survey"] == 1
    assert server.node.metrics.survey_duration["centrifuge_emulation"].count == 1


async def test_protobuf(server):
    body = PROTOBUF.encode_command(Command(id=1, connect=ConnectRequest()))
    binary = "Content-Type: application/octet-stream\r\n"
    client = await stream(server, "/http_stream", body, binary)
    assert client.headers["Content-Type"] == "application/octet-stream"
    (reply,) = PROTOBUF.decode_replies(await client.chunk())
    assert reply.connect.node == server.node.id
    command = PROTOBUF.encode_command(Command(id=0))
    assert command == b"\x00"


async def test_sse(server):
    path = f"/sse?cf_connect={quote(CONNECT.decode())}"
    client = await stream(server, path)
    assert client.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert await client.chunk() == b"\r\n"
    (connect,) = await client.event()
    commands = '{"id":2,"subscribe":{"channel":"a"}}\n{"id":3,"rpc":{"method":"m","data":1}}'
    assert (
        await stream(server, "/emulation", emulated(connect["connect"], commands))
    ).status == 204
    assert await client.event() == [{"id": 2, "subscribe": {}}, {"id": 3, "rpc": {"data": 1}}]
    await server.node.publish("a", b'{"x":\r1}')
    assert await client.event() == [{"push": {"channel": "a", "pub": {"data": {"x": 1}}}}]


async def test_sse_by_post(server):
    client = await stream(server, "/sse", CONNECT)
    assert await client.chunk() == b"\r\n"
    assert "connect" in (await client.event())[0]


async def test_unidirectional(server):
    client = await stream(server, "/uni_http_stream", b"{}")
    (push,) = await client.line()
    assert set(push["connect"]) == {"client", "session"}
    session = push["connect"]["session"]
    await server.node.subscribe_user("u", "a", types.SubscribeOptions(), session=session)
    await server.node.publish("a", 1)
    assert await client.line() == [{"channel": "a", "subscribe": {}}]
    assert await client.line() == [{"channel": "a", "pub": {"data": 1}}]
    refused = await stream(
        server, "/emulation", emulated({"node": server.node.id, "session": session}, "{}")
    )
    assert refused.status == 204
    await server.node.disconnect_user("u")
    assert await client.line() == [{"disconnect": {"code": 3503, "reason": "force disconnect"}}]
    assert await client.chunk() == b""


async def test_uni_sse_without_a_request(server):
    client = await stream(server, "/uni_sse")
    assert await client.chunk() == b"\r\n"
    assert "connect" in (await client.event())[0]


@pytest.mark.parametrize("body", [b"", b"zz", b'{"id":1,"connect":5}'])
async def test_bad_commands_end_the_stream_and_the_connection_goes_on(server, body):
    client = await stream(server, "/http_stream", body)
    assert client.status == 200
    bad = {"push": {"disconnect": {"code": 3501, "reason": "bad request"}}}
    assert await client.line() == [bad]
    assert await client.chunk() == b""
    again = await client.ask("/http_stream", CONNECT)
    assert "connect" in (await again.line())[0]


async def test_bytes_within_a_stream_end_the_connection_with_it(server):
    smuggled = b"POST /emulation HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
    client = await stream(server, "/http_stream", CONNECT)
    await client.line()
    client.send(smuggled[:30])
    await settle()
    await server.node.disconnect_user("u")
    await client.line()
    client.send(smuggled[30:])
    assert await client.rest() == b"0\r\n\r\n"


async def test_refused_connect_waits_for_its_end(server):
    client = await stream(server, "/http_stream", b'{"id":1,"connect":{"token":"expired"}}')
    assert (await client.line())[0]["error"]["code"] == 109
    (session,) = server.node.pending_sessions
    session._stale_deadline = 0.0
    session.arm()
    stale = {"push": {"disconnect": {"code": 3502, "reason": "stale"}}}
    assert await client.line() == [stale]
    assert await client.chunk() == b""


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/http_stream", None, 405),
        ("PUT", "/sse", b"x", 405),
        ("OPTIONS", "/sse", None, 405),
        ("GET", "/sse", None, 400),
        ("GET", "/uni_http_stream", None, 405),
        ("POST", "/uni_http_stream", b"", 400),
        ("POST", "/uni_http_stream", b"zz", 400),
        ("GET", "/uni_sse?cf_connect=zz", None, 400),
        ("POST", "/http_stream", b"x" * 501, 413),
        ("POST", "/emulation", b"x" * 501, 413),
        ("POST", "/emulation", b"zz", 400),
        ("POST", "/emulation", b'{"node":"nobody","session":"x","data":"{}"}', 404),
        ("GET", "/emulation", None, 405),
    ],
)
async def test_refusals(server, method, path, body, status):
    client = await stream(server, path, body, method=method)
    assert client.status == status
    assert client.headers["Content-Length"] == "0"
    assert client.headers["Access-Control-Allow-Origin"] == ""
    if status == 413:
        assert client.headers["Connection"] == "close"
        assert await client.rest() == b""
    assert not server.node.pending_sessions


async def test_unknown_sessions_are_no_error(server):
    body = emulated({"node": server.node.id, "session": "nobody"}, '{"id":1,"rpc":{}}')
    assert (await stream(server, "/emulation", body)).status == 204
    assert (
        await stream(server, "/emulation", body.replace(b'"{', b"{").replace(b'}"', b"}"))
    ).status in (204, 400)


async def test_preflight(server):
    asked = f"Origin: {ORIGIN}\r\nAccess-Control-Request-Headers: content-type\r\n"
    for path in ("/http_stream", "/uni_http_stream", "/emulation"):
        client = await stream(server, path, headers=asked, method="OPTIONS")
        assert client.status == 204
        assert client.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
        assert client.headers["Access-Control-Allow-Headers"] == "content-type"
        assert client.headers["Access-Control-Max-Age"] == "300"


async def test_other_pages_get_no_cors_headers(server):
    client = await stream(server, "/http_stream", CONNECT, "Origin: http://evil.example\r\n")
    assert client.status == 200
    assert not [h for h in client.headers if h.startswith("Access-Control")]


async def test_http_1_0(server):
    client = await stream(server, "/http_stream", b"zz", version="1.0")
    assert "Transfer-Encoding" not in client.headers
    assert client.headers["Connection"] == "close"
    bad = {"push": {"disconnect": {"code": 3501, "reason": "bad request"}}}
    assert json.loads(await client.rest()) == bad


@pytest.mark.parametrize(
    "server",
    [{"stream": {"connect_statuses": {109: (401, ""), 3500: (403, "go away")}}}],
    indirect=True,
)
@pytest.mark.parametrize(
    ("token", "status", "text"), [("expired", 401, b"token expired"), ("bad", 403, b"go away")]
)
async def test_connect_errors_as_statuses(server, token, status, text):
    body = json.dumps({"token": token}).encode()
    client = await stream(server, "/uni_http_stream", body)
    assert (client.status, await client.read(len(text))) == (status, text)
    again = await client.ask("/uni_http_stream", b"{}")
    assert again.status == 200
    assert "connect" in (await again.line())[0]


@pytest.mark.parametrize("server", [{"limits": {"limit": 1}}], indirect=True)
async def test_connection_limit(server):
    first = await stream(server, "/http_stream", CONNECT)
    await first.line()
    second = await stream(server, "/sse", CONNECT)
    assert second.status == 503
    assert second.headers.keys() <= {"Content-Length"}


async def test_a_client_that_goes_away_frees_its_session(server):
    client = await stream(server, "/http_stream", CONNECT)
    await client.line()
    assert len(server.node.hub.sessions) == 1
    client.writer.transport.abort()
    await until(lambda: not server.node.hub.sessions, "end of the session")


@pytest.mark.parametrize("server", [{"node": {"queue_max_size": 10000}}], indirect=True)
@pytest.mark.parametrize("path", ["/http_stream", "/sse"])
async def test_slow_readers_are_cut_with_bounded_memory(server, path):
    client = await stream(server, path, CONNECT + b'\n{"id":2,"subscribe":{"channel":"a"}}')
    client.writer.transport.pause_reading()
    await until(lambda: server.node.hub.sessions, "session")
    (session,) = server.node.hub.sessions.values()
    async with asyncio.timeout(PATIENCE):
        while server.node.hub.sessions:
            await server.node.publish("a", "x" * 50_000)
            assert session.transport.queued_bytes <= 10000
            await asyncio.sleep(0)
    assert server.node.metrics.server_disconnects[3008] == 1


async def test_shutdown_says_so(server):
    client = await stream(server, "/sse", CONNECT)
    await client.chunk()
    await client.event()
    await server.node.shutdown()
    shutdown = {"push": {"disconnect": {"code": 3001, "reason": "shutdown"}}}
    assert await client.event() == [shutdown]
    assert await client.chunk() == b""


async def test_the_log_says_why_a_request_is_refused(server, caplog):
    caplog.set_level("DEBUG", "flyball.transports")
    for method, path in (("GET", "/uni_sse?cf_connect=zz"), ("GET", "/sse"), ("PUT", "/sse")):
        client = await stream(server, path, method=method)
        assert client.status in (400, 405)
    told = [line for line in caplog.messages if "refuses" in line]
    assert told[0].startswith("uni_sse refuses a request: 400 malformed message")
    assert "zz" not in told[0]
    assert told[1:] == [
        "sse refuses a request: 400 no cf_connect in the URL",
        "sse refuses a request: 405 Method Not Allowed",
    ]
