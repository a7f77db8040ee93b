"""The endpoints of a route table over HTTP/2 and HTTP/3."""

import asyncio
import contextlib
import json
import ssl
import struct
from urllib.parse import quote

import h2.settings
import pytest
from streamclients import dial_h2, dial_h3, trusting
from waiting import PATIENCE, until

from flyball.aio.timers import TimerWheel
from flyball.core import types
from flyball.core.errors import Error
from flyball.core.node import Node, NodeOptions
from flyball.http.http3.listener import Http3Listener, Http3Options
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import HttpLimits, Response
from flyball.http.routes import Route, Routes
from flyball.protocol.messages import Command, ConnectRequest
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.testing import TestClock, settle
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.streaming import endpoint as streaming
from flyball.transports.streaming.emulation import EmulationEndpoint
from flyball.transports.streaming.endpoint import StreamEndpoint, StreamOptions
from flyball.transports.websocket.endpoint import WebSocketEndpoint

ORIGIN = "http://localhost:3000"
CONNECT = b'{"id":1,"connect":{}}'
BOTH = CONNECT + b'\n{"id":2,"subscribe":{"channel":"news"}}'


async def asgi(scope, receive, send):
    """What is not on the fast path: echoes, waits, streams, fails."""
    path = scope["path"]
    if path == "/fails":
        raise ValueError("as asked")
    if path == "/silent":
        return
    if path in ("/waits", "/late"):
        while (await receive())["type"] != "http.disconnect":
            pass
        asgi.disconnects += 1
        if path == "/waits":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"too late"})
        raise AssertionError("nobody is there to answer")
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    await send(
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [(b"x-version", scope["http_version"].encode())],
        }
    )
    if path == "/streams":
        for n in range(100):
            part = b"%d" % n * 5000
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    told = [scope["method"], path, scope["query_string"].decode(), scope["scheme"], len(body)]
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


class Stage:
    def __init__(self, node, routes, tcp, udp):
        self.node, self.routes, self.tcp, self.udp = node, routes, tcp, udp
        self.gate = asyncio.Event()
        """What ``/slow/long`` waits for."""
        self.answered = 0
        """Requests that ``/slow`` answered."""

    def dial(self, version, **options):
        """A client of HTTP/2 or HTTP/3."""
        return (
            dial_h2(self.tcp.port, **options)
            if version == "2"
            else dial_h3(self.udp.port, **options)
        )

    @property
    def sessions(self):
        return list(self.node.hub.sessions.values())


@pytest.fixture
async def stage(request, certificate, tmp_path):
    options = getattr(request, "param", {})
    node = Node(NodeOptions(**{"ping_interval": 0.0, **options.get("node", {})}))

    @node.on_connecting
    def connecting(event):
        if event.token == "expired":
            raise Error(109)
        return types.Credentials(user="u")

    node.on_subscribe(lambda event: types.SubscribeOptions())
    node.on_rpc(lambda event: event.data)
    await node.start()

    async def slow(head, body):
        await (stage.gate.wait() if head.path == "/slow/long" else settle())
        if head.path == "/slow/fails":
            raise ValueError("as asked")
        stage.answered += 1
        return Response(body.upper())

    origins = OriginPolicy([ORIGIN])
    settings = StreamOptions(max_request_body_size=500)
    limits = options.get("limits")
    limits = ConnectionLimits(lambda: node.hub.num_clients, **limits) if limits else None
    kinds = {
        "/http_stream": streaming.HTTP_STREAM,
        "/sse": streaming.SSE,
        "/uni_http_stream": streaming.UNI_HTTP_STREAM,
        "/uni_sse": streaming.UNI_SSE,
    }
    websocket = WebSocketEndpoint(node, origins, WebSocketOptions(compression=True), limits)
    rows = [
        *(
            StreamEndpoint(node, kind, origins, settings, limits).route(path)
            for path, kind in kinds.items()
        ),
        EmulationEndpoint(node, origins, 500).route("/emulation"),
        Route("/slow", slow, subtree=True),
        Route("/websocket", upgrade=websocket),
    ]
    routes = Routes(rows, app=asgi)
    pem, key = certificate
    (tmp_path / "pem").write_bytes(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    http = HttpLimits(**options.get("http", {}))
    tcp = Listener(
        ListenerOptions("127.0.0.1", ssl_context=context, http=http, websocket_streams=True),
        routes,
        TimerWheel(options["clock"]) if "clock" in options else None,
    )
    udp = Http3Listener(Http3Options("127.0.0.1", 0, pem, key, http=http), routes)
    await tcp.start()
    await udp.start()
    asgi.disconnects = 0
    stage = Stage(node, routes, tcp, udp)
    yield stage
    for listener in (tcp, udp):
        listener.stop_accepting()
    await node.shutdown()
    for listener in (tcp, udp):
        await listener.close(grace=0.2)
    await until(lambda: not tcp.timers.num_armed and not udp.timers.num_armed, "end of the timers")
    assert not node.hub.sessions
    assert not node.pending_sessions
    assert not node.tasks
    assert not tcp._http2.connections
    assert not tcp._http2.tasks
    assert not udp.service.connections
    assert not udp.service.tasks


@pytest.fixture(params=["2", "3"])
def version(request):
    return request.param


def data_lines(stream):
    return [json.loads(line) for line in stream.text.split("\n")[:-1]]


def events(stream):
    assert stream.text.startswith("\r\n")
    return [json.loads(part.removeprefix("data: ")) for part in stream.text[2:].split("\n\n")[:-1]]


async def test_http_stream_and_emulation(stage, version):
    async with stage.dial(version) as client:
        stream = await client.request("POST", "/http_stream", {"origin": ORIGIN}, BOTH)
        assert stream.status == 200
        assert stream.headers["access-control-allow-origin"] == ORIGIN
        assert stream.headers["content-type"] == "text/plain; charset=utf-8"
        assert not {"connection", "transfer-encoding"} & set(stream.headers)
        await stream.until(lambda: '"id":2' in stream.text)
        connect = data_lines(stream)[0]["connect"]
        (session,) = stage.sessions
        assert session.transport.name == "http_stream"
        assert session.remote_addr.startswith("127.0.0.1:")
        rpc = {"node": connect["node"], "session": connect["session"]}
        rpc["data"] = '{"id":3,"rpc":{"data":"hello"}}'
        answer = client.ask("POST", "/emulation", {}, json.dumps(rpc).encode())
        assert (await answer.complete()).status == 204
        await stream.until(lambda: '"hello"' in stream.text)
        for n in range(100):
            await stage.node.publish("news", n)
        await stream.until(lambda: len(data_lines(stream)) == 103)
        await stage.node.disconnect_user("u")
        await stream.complete()
        assert data_lines(stream)[-1]["push"]["disconnect"]["code"] == 3503


async def test_protobuf_stream(stage, version):
    async with stage.dial(version) as client:
        body = PROTOBUF.join((PROTOBUF.encode_command(Command(id=1, connect=ConnectRequest())),))
        headers = {"content-type": "application/octet-stream"}
        stream = await client.request("POST", "/http_stream", headers, body)
        assert stream.headers["content-type"] == "application/octet-stream"
        await stream.until(lambda: stream.body)
        (reply,) = PROTOBUF.decode_replies(stream.body)
        assert reply.id == 1
        assert reply.connect.client


async def test_many_streams_share_a_connection(stage, version):
    async with stage.dial(version) as client:
        command = quote(BOTH)
        streams = [client.ask("GET", f"/sse?cf_connect={command}") for _ in range(60)]
        for stream in streams:
            await stream.until(lambda stream=stream: '"id":2' in stream.text)
        framings = {id(session.transport.framing) for session in stage.sessions}
        assert len(framings) == 1
        await stage.node.publish("news", {"to": "all"})
        for stream in streams:
            await stream.until(lambda stream=stream: len(events(stream)) == 3)
        for stream in streams[:30]:
            stream.cancel()
        await until(lambda: stage.node.hub.num_clients == 30)
        await stage.node.publish("news", {"to": "the rest"})
        for stream in streams[30:]:
            await stream.until(lambda stream=stream: len(events(stream)) == 4)
    await until(lambda: not stage.node.hub.num_clients)


async def test_unidirectional(stage, version):
    async with stage.dial(version) as client:
        stream = await client.request("GET", "/uni_sse")
        await stream.until(lambda: '"connect"' in stream.text)
        stream = await client.request("POST", "/uni_http_stream", {}, b'{"token":"expired"}')
        await stream.complete()
        assert (
            data_lines(stream) == [{"disconnect": {"code": 3504, "reason": "unauthorized"}}]
            or data_lines(stream)[-1]["disconnect"]
        )


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/http_stream", b"", 405),
        ("POST", "/http_stream", b"x" * 501, 413),
        ("OPTIONS", "/http_stream", b"", 204),
        ("GET", "/sse", b"", 400),
        ("POST", "/uni_sse", b"{", 400),
        ("POST", "/emulation", b"{", 400),
        ("GET", "/websocket", b"", 405),
        ("POST", "/slow/fails", b"", 500),
        ("GET", "/fails", b"", 500),
        ("GET", "/silent", b"", 500),
    ],
)
async def test_statuses(stage, version, method, path, body, status):
    async with stage.dial(version) as client:
        stream = await client.request(method, path, {}, body)
        await stream.complete()
        assert stream.status == status
        again = await client.request("POST", "/slow", {}, b"abc")
        await again.complete()
        assert (again.status, again.body) == (200, b"ABC")


@pytest.mark.parametrize(("path", "status"), [("/websocket", 405), ("/fails", 500), ("/sse", 405)])
async def test_answers_to_head_have_no_body(stage, path, status):
    async with stage.dial("2") as client:  # that of HTTP/3 takes the length for a lie
        stream = await client.ask("HEAD", path).complete()
        assert (stream.status, stream.body) == (status, b"")


async def test_asgi(stage, version):
    async with stage.dial(version) as client:
        stream = (
            client.ask("POST", "/some%20where?a=b", {}, b"x" * 150_000, end=True) if 0 else None
        )
        stream = await client.request("POST", "/some%20where?a=b", {}, b"x" * 15_000)
        await stream.complete()
        assert stream.status == 201
        assert stream.headers["x-version"] == version
        assert json.loads(stream.body) == ["POST", "/some where", "a=b", "https", 15_000]
        head = await client.request("HEAD", "/x")
        await head.complete()
        assert head.body == b""
        stream = await client.request("GET", "/streams")
        await stream.complete()
        assert len(stream.body) == sum(len(b"%d" % n) * 5000 for n in range(100))


async def test_asgi_hears_of_a_client_that_leaves(stage, version):
    async with stage.dial(version) as client:
        stream = client.ask("GET", "/waits")
        other = client.ask("GET", "/waits")
        await (await client.request("GET", "/x")).complete()
        stream.cancel()
        await until(lambda: asgi.disconnects == 1)
        other.cancel()
        await until(lambda: asgi.disconnects == 2)


async def test_answering_a_client_that_left_is_no_failure(stage, version, caplog):
    async with stage.dial(version) as client:
        stream = client.ask("GET", "/late")
        await (await client.request("GET", "/x")).complete()
        stream.cancel()
        await until(lambda: asgi.disconnects == 1)
        await (await client.request("GET", "/x")).complete()
    assert not [r for r in caplog.records if r.name.startswith("flyball")]


async def test_a_late_answer_to_a_client_that_left_leaves_nothing(stage):
    async with stage.dial("3") as client:
        stream = client.ask("POST", "/slow/long", {}, b"abc")
        await (await client.request("POST", "/slow", {}, b"x")).complete()
        stream.cancel()
        (connection,) = stage.udp.service.connections
        await until(lambda: not connection.streams)
        stage.gate.set()
        await until(lambda: stage.answered == 2, "answer of the handler")
        await settle()
        assert stream.id not in connection._http._stream


async def test_body_in_pieces_and_trailing_silence(stage, version):
    async with stage.dial(version) as client:
        stream = client.ask("POST", "/slow", end=False)
        for _ in range(5):
            stream.send(b"abc")
            await settle()
        stream.send(b"", end=True)
        await stream.complete()
        assert stream.body == b"ABC" * 5


@pytest.mark.parametrize("stage", [{"http": {"request_timeout": 0.5}}], indirect=True)
async def test_a_body_that_does_not_come(stage, version):
    async with stage.dial(version) as client:
        stream = client.ask("POST", "/slow", end=False)
        await stream.complete()
        assert stream.status == 408


@pytest.mark.parametrize("stage", [{"limits": {"limit": 1}}], indirect=True)
async def test_connection_limit(stage, version):
    async with stage.dial(version) as client:
        stream = await client.request("POST", "/http_stream", {}, CONNECT)
        await stream.until(lambda: stream.text)
        other = await client.request("POST", "/http_stream", {}, CONNECT)
        assert other.status == 503
        socket = await client.request(
            "CONNECT",
            "/websocket",
            {"sec-websocket-version": "13"},
            end=False,
            protocol="websocket",
        )
        assert socket.status == 503


def frame(payload, opcode=1):
    """A masked WebSocket frame (mask 0)."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes((0x80 | opcode,)) + length + bytes(4) + payload


async def websocket(client, **headers):
    return await client.request(
        "CONNECT",
        "/websocket",
        {"sec-websocket-version": "13", **headers},
        end=False,
        protocol="websocket",
    )


async def test_websocket_as_a_stream(stage, version):
    async with stage.dial(version) as client:
        headers = {"sec-websocket-protocol": "centrifuge-json", "origin": ORIGIN}
        stream = await websocket(client, **headers)
        assert stream.status == 200
        assert stream.headers["sec-websocket-protocol"] == "centrifuge-json"
        assert stream.headers["access-control-allow-origin"] == ORIGIN
        stream.send(frame(BOTH))
        await stream.until(lambda: b'"id":2' in stream.body)
        await stage.node.publish("news", "x" * 100_000)
        await stream.until(lambda: b"x" * 100_000 in stream.body)
        stream.send(frame(b"\x03\xe8", 8))
        await stream.complete()
        assert stream.body.endswith(b"\x88\x02\x03\xe8")
        assert not stage.node.hub.num_clients
        stream = await websocket(client)
        stream.send(frame(CONNECT))
        await stream.until(lambda: b'"id":1' in stream.body)
        await stage.node.disconnect_user("u")
        await stream.until(lambda: b"\x0d\xafforce disconnect" in stream.body)
        stream.send(frame(b"\x0d\xaf", 8), end=True)
        await stream.complete()


async def test_compressed_websocket_as_a_stream(stage, version):
    async with stage.dial(version) as client:
        stream = await websocket(client, **{"sec-websocket-extensions": "permessage-deflate"})
        assert stream.headers["sec-websocket-extensions"].startswith("permessage-deflate;")


@pytest.mark.parametrize(
    ("headers", "protocol", "status"),
    [
        ({"origin": "http://evil.example"}, "websocket", 403),
        ({"sec-websocket-version": "12"}, "websocket", 400),
        ({}, "other", 400),
    ],
)
async def test_refused_websockets(stage, version, headers, protocol, status):
    async with stage.dial(version) as client:
        headers = {"sec-websocket-version": "13", **headers}
        stream = await client.request(
            "CONNECT", "/websocket", headers, end=False, protocol=protocol
        )
        await stream.complete()
        assert stream.status == status
        assert stream.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("stage", [{"node": {"queue_max_size": 200_000}}], indirect=True)
async def test_slow_readers_are_cut_with_bounded_memory(stage):
    async with stage.dial("2") as client, stage.dial("2") as other:
        client.acknowledges = False
        slow = await client.request("POST", "/http_stream", {}, BOTH)
        fast = await other.request("POST", "/http_stream", {}, BOTH)
        await fast.until(lambda: '"id":2' in fast.text)
        await slow.until(lambda: '"id":2' in slow.text)
        for _ in range(60):
            await stage.node.publish("news", "x" * 10_000)
            await settle(2)
        await until(lambda: stage.node.hub.num_clients == 1)
        assert stage.node.metrics.server_disconnects[3008] == 1
        await fast.until(lambda: len(data_lines(fast)) == 62)


async def test_a_stuck_reader_meets_the_write_timeout(stage):
    async with stage.dial("2", settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000}) as c:
        c.acknowledges = False
        stream = await c.request("POST", "/http_stream", {}, BOTH)
        await stream.until(lambda: '"id":2' in stream.text)
        await stage.node.publish("news", "x" * 2000)
        await until(lambda: not stage.node.hub.num_clients)
        assert stage.node.metrics.server_disconnects[3009] == 1
        await stream.until(lambda: stream.was_reset)


async def test_window_updates_let_answers_go_on(stage):
    async with stage.dial("2", settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000}) as c:
        stream = await c.request("GET", "/streams")
        await stream.complete()
        assert len(stream.body) == sum(len(b"%d" % n) * 5000 for n in range(100))


async def test_settings_may_widen_windows_later(stage):
    async with stage.dial("2", settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10}) as c:
        c.acknowledges = False
        stream = c.ask("POST", "/slow", {}, b"x" * 100)
        await stream.until(lambda: len(stream.body) == 10)
        c.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 50_000})
        c.flush()
        await stream.complete()
        assert stream.body == b"X" * 100


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize(
    ("rude", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (PREFACE + b"\xff\xff\xff\x01\x00\x00\x00\x00\x01" + b"x" * 20_000, 6),
        (PREFACE + b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + bytes(4), 1),
        (PREFACE + b"\x00\x00\x01\x01\x05\x00\x00\x00\x02\x88", 1),
        (PREFACE + b"\x00\x00\x04\x01\x05\x00\x00\x00\x01\x3f\xff\xff\xff", 1),
    ],
)
async def test_broken_frames(stage, rude, code, caplog):
    context = trusting("h2")
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tcp.port, ssl=context)
    writer.write(rude)
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    goaway = answer.find(b"\x00\x00\x08\x07")
    if code is None:
        assert goaway < 0
    else:
        assert int.from_bytes(answer[goaway + 13 : goaway + 17], "big") == code
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    assert not [r for r in caplog.records if r.exc_info]


@pytest.mark.parametrize("name", ["a", ":path"])
async def test_lines_within_a_field_are_refused(stage, name):
    """Who sends the request on as HTTP/1.1 would send two of them."""
    async with stage.dial("2") as client:
        client.h2.config.validate_outbound_headers = False
        client.h2.config.normalize_outbound_headers = False
        fields = {":method": "GET", ":path": "/x", ":scheme": "https", ":authority": "x"}
        fields |= {name: "/x\r\n\r\nGET /y HTTP/1.1\r\nhost: x"}
        client.begin(list(fields.items()), end=True)
        await client.until(lambda: client.goaway == 1)


@pytest.mark.parametrize("path", ["/http_stream", "/uni_http_stream", "/emulation", "/x"])
async def test_nothing_is_said_on_streams_taken_back_at_once(stage, path):
    async with stage.dial("2") as client:
        pseudo = [(":scheme", "https"), (":authority", "x")]
        stream_id = client.h2.get_next_available_stream_id()
        fields = [(":method", "POST"), (":path", path), *pseudo]
        client.h2.send_headers(stream_id, fields, end_stream=True)
        client.h2.reset_stream(stream_id)
        frames = client.tap()
        client.flush()  # all of it in one packet, without another request behind it
        await settle()
        await (await client.request("POST", "/slow", {}, b"x")).complete()
        assert stream_id not in {other for _, other in frames}


@pytest.mark.parametrize("stage", [{"clock": TestClock()}], indirect=True)  # all in one second
@pytest.mark.parametrize("frame", ["reset", "ping", "settings"])
async def test_control_frames_are_limited(stage, frame):
    async with stage.dial("2") as client:
        for _ in range(1500):
            if frame == "reset":
                client.begin(
                    [
                        (":method", "GET"),
                        (":scheme", "https"),
                        (":path", "/waits"),
                        (":authority", "x"),
                    ],
                    end=True,
                )
                client.h2.reset_stream(client.h2.highest_outbound_stream_id)
            elif frame == "ping":
                client.h2.ping(b"12345678")
            else:
                client.h2.update_settings({4: 65535})
        client.flush()
        await client.until(lambda: client.lost, "end")
        assert client.goaway == 11  # ENHANCE_YOUR_CALM
    await until(lambda: not stage.tcp._http2.tasks)


async def test_http3_bounds_frames(stage):
    async with stage.dial("3") as client:
        stream_id = client._quic.get_next_available_stream_id()
        client._quic.send_stream_data(stream_id, b"\x01\x80\x10\x00\x00" + b"x" * 100_000)
        client.transmit()
        await client.until(lambda: client.lost, "end")


async def test_shutdown_lets_requests_end(stage):
    async with stage.dial("2") as client, stage.dial("2") as idle:
        await (await idle.request("POST", "/slow", {}, b"x")).complete()
        stream = client.ask("POST", "/slow/long", {}, b"abc")
        await (await client.request("POST", "/slow", {}, b"x")).complete()
        stage.tcp.stop_accepting()
        closing = asyncio.ensure_future(stage.tcp.close(grace=PATIENCE))
        await idle.until(lambda: idle.lost, "end of the idle connection")
        await client.until(lambda: client.goaway == 0, "GOAWAY")
        assert not stream.ended
        stage.gate.set()
        await stream.complete()
        assert stream.body == b"ABC"
        await client.until(lambda: client.lost, "end of the connection")
        await asyncio.wait_for(closing, PATIENCE)


@pytest.mark.parametrize("stage", [{"http": {"head_timeout": 0.3}}], indirect=True)
@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"])
async def test_tls_handshakes_must_come_in_time(stage, hello, caplog):
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tcp.port)
    writer.write(hello)
    try:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
    finally:
        writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    assert not [r for r in caplog.records if r.exc_info]


async def test_http1_is_still_spoken_over_tls(stage):
    context = trusting("http/1.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tcp.port, ssl=context)
    writer.write(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert await reader.readexactly(3) == b"ABC"
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_http3_is_announced(stage):
    told = Listener(ListenerOptions("127.0.0.1", h2c=True, announce_http3=True), stage.routes)
    await told.start()
    value = f'h3=":{told.port}"; ma=2592000'
    async with dial_h2(told.port, tls=False) as client:
        for method, path in (("POST", "/slow"), ("GET", "/x"), ("GET", "/websocket")):
            stream = await client.request(method, path)
            assert stream.headers["alt-svc"] == value
    reader, writer = await asyncio.open_connection("127.0.0.1", told.port)
    writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        assert f"alt-svc: {value}".encode() in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    await told.close(grace=0.1)


async def test_h2c_by_prior_knowledge(stage):
    plain = Listener(ListenerOptions("127.0.0.1", h2c=True), stage.routes)
    closed = Listener(ListenerOptions("127.0.0.1"), stage.routes)
    await plain.start()
    await closed.start()
    async with dial_h2(plain.port, tls=False) as client:
        stream = await client.request("GET", "/x")
        await stream.complete()
        assert json.loads(stream.body)[3] == "http"
        assert not client.h2.remote_settings.enable_connect_protocol
    reader, writer = await asyncio.open_connection("127.0.0.1", closed.port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        assert (await reader.read()).startswith(b"HTTP/1.1 ")
    writer.close()
    await writer.wait_closed()
    for listener in (plain, closed):
        await listener.close(grace=0.1)
