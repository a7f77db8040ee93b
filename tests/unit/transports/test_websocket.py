"""WebSocket connections on loopback, with a real node. Runs on uvloop and on asyncio."""

import asyncio
import contextlib
import json
import ssl
from pathlib import Path

import pytest
from waiting import until
from wsclient import ACCEPT, UPGRADE, RawClient, client_frame, request

from flyball.core.errors import Disconnect
from flyball.core.session import LINGER
from flyball.testing.clock import TestClock
from flyball.transports.common.websocket.deflate import Deflater, Inflater

GOLDEN = Path(__file__).parents[2] / "golden" / "wire-examples.jsonl"
CONNECT = '{"id":1,"connect":{}}'


def golden(case):
    for line in GOLDEN.read_text().splitlines():
        row = json.loads(line)
        if row.get("case") == case:
            return row
    raise LookupError(case)


# -- handshake


@pytest.mark.parametrize(
    ("case", "origins", "options"),
    [
        (
            "handshake, subprotocol list and permessage-deflate offer",
            ["https://*.example.com"],
            {"compression": True},
        ),
        ("handshake, origin not allowed", ["https://*.example.com"], {}),
        ("plain GET", [], {}),
        ("bad Sec-WebSocket-Key", [], {}),
        ("wrong version", [], {}),
        ("POST upgrade", [], {}),
        ("Origin present while allowed_origins is empty", [], {}),
        ("trailing slash -> 404", [], {}),
        ("connection_limit reached -> 503", [], {"limits": {"limit": 0, "rate_limit": 0}}),
        ("connection_rate_limit 1: first of two", [], {"limits": {"rate_limit": 1}}),
    ],
)
async def test_handshake_as_recorded(serve, case, origins, options):
    row = golden(case)
    sent, (expected, body) = row["sent"][0], row["received"]
    if "503" in case:
        options = {"limits": {"limit": 1}}
    server = await serve(origins=origins, **options)
    if "503" in case:
        first = await RawClient.websocket(server.port)
        first.text(CONNECT)
        await first.frame()
    client = await RawClient.open(server.port)
    client.send(request(sent["path"], sent["headers"], sent["method"]))
    status, lines, content = await client.response()
    assert status == expected["status"]
    assert lines == expected["headers"]
    assert len(client.dates) == (0 if " 101 " in status else 1)
    assert content.decode() == body
    await client.close()
    if "503" in case:
        await first.close()


async def test_rate_limit_answers_503_at_once(serve):
    server = await serve(limits={"rate_limit": 1})
    first = await RawClient.websocket(server.port)
    second = await RawClient.open(server.port)
    second.send(request())
    assert await second.response() == (
        "HTTP/1.1 503 Service Unavailable",
        ["Content-Length: 0"],
        b"",
    )
    await first.close()
    await second.close()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Connection": "keep-alive"}, 400),
        ({"Connection": "keep-alive, UPGRADE"}, 101),
        ({"Upgrade": "h2c"}, 400),
        ({"Upgrade": "WebSocket"}, 101),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=@"}, 400),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
        ({"Content-Length": "5"}, 400),
        ({"Content-Length": "0"}, 101),
        ({"Transfer-Encoding": "chunked"}, 400),
        ({"Origin": "null"}, 403),
    ],
)
async def test_handshake_checks(serve, changes, status):
    server = await serve()
    client = await RawClient.open(server.port)
    client.send(request(headers={**UPGRADE, **changes}))
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (f"Sec-WebSocket-Accept: {ACCEPT}\r\n".encode() in head) is (status == 101)
    await client.close()


async def test_a_refused_connection_goes_on_with_its_next_request(serve):
    server = await serve()
    client = await RawClient.open(server.port)
    client.send(request(headers={}) + request("/elsewhere", headers={}))
    assert (await client.response())[0] == "HTTP/1.1 400 Bad Request"
    assert (await client.response())[0] == "HTTP/1.1 404 Not Found"
    client.send(request())
    assert (await client.head()).startswith(b"HTTP/1.1 101")
    await client.close()


async def test_refused_head_requests_have_no_body(serve):
    """A body would be taken for the beginning of the next answer."""
    server = await serve()
    client = await RawClient.open(server.port)
    for path, status in (("/connection/websocket", b"400"), ("/elsewhere", b"404")) * 2:
        client.send(request(path, headers={}, method="HEAD"))
        assert (await client.head()).startswith(b"HTTP/1.1 " + status)
    await client.close()


async def test_cors_headers_echo_what_was_asked(serve):
    server = await serve(origins=["*"])
    client = await RawClient.open(server.port)
    asked = {"Origin": "http://Page.org", "Access-Control-Request-Headers": "X-A"}
    client.send(request(headers=asked))
    _, lines, _ = await client.response()
    assert lines[:3] == [
        "Access-Control-Allow-Credentials: true",
        "Access-Control-Allow-Headers: X-A",
        "Access-Control-Allow-Origin: http://Page.org",
    ]
    await client.close()


async def test_data_before_the_answer_drops_the_connection(serve):
    server = await serve()
    client = await RawClient.open(server.port)
    client.send(request() + client_frame(CONNECT.encode()))
    with contextlib.suppress(ConnectionResetError):
        assert await client.rest() == b""
    await client.close()


async def test_head_byte_by_byte(serve):
    server = await serve()
    client = await RawClient.open(server.port)
    for byte in request():
        client.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await client.head()).startswith(b"HTTP/1.1 101")
    await client.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(headers={**UPGRADE, "X-Big": "x" * 70000}), 431),
        (request(headers={**UPGRADE, **{f"X-{i}": "" for i in range(300)}}), 431),
        (b"GET /connection/websocket HTTP/1.1\r\n\r\n", 400),
        (b"GET /connection/websocket HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /connection/websocket HTTP/1.1\r\nbad header: x\r\n\r\n", 400),
        (b"GET /connection/websocket HTTP/7.1\r\nHost: a\r\n\r\n", 400),
    ],
)
async def test_unacceptable_heads(serve, data, status):
    server = await serve()
    client = await RawClient.open(server.port)
    client.send(data)
    answer, lines, _ = await client.response()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert "Connection: close" in lines
    assert await client.rest() == b""
    await client.close()


# -- messages


@pytest.mark.parametrize(
    "case",
    [
        "unmasked client frame -> close 1002",
        "bad opcode",
        "RSV1 without negotiated compression",
        "client ping frame answered with pong, payload echoed",
    ],
)
async def test_bytes_as_recorded(serve, case):
    row = golden(case)
    sent = row["sent"][0]
    data = bytes.fromhex(sent["raw_hex"] if "raw_hex" in sent else "".join(sent["frames_hex"]))
    expected = bytes.fromhex(row["received"][0]["raw_hex"])
    server = await serve()
    client = await RawClient.websocket(server.port)
    client.send(data)
    assert await client.read(len(expected)) == expected
    if expected[0] == 0x88:
        assert await client.rest() == b""
    await client.close()


async def test_fragmented_connect_as_recorded(serve):
    row = golden("one command in two fragments")
    server = await serve()
    client = await RawClient.websocket(server.port)
    for fragment in row["sent"][0]["frames_hex"]:
        client.send(bytes.fromhex(fragment))
    first, payload = await client.frame()
    assert first == 0x81
    assert json.loads(payload)["connect"]["client"]
    await client.close()


async def test_close_of_the_client_is_echoed_without_the_reason(serve):
    server = await serve()
    client = await RawClient.websocket(server.port)
    client.text(CONNECT)
    await client.frame()
    assert len(server.sessions) == 1
    client.send(client_frame(b"\x03\xe8bye", opcode=8))
    assert await client.rest() == b"\x88\x02\x03\xe8"
    assert server.sessions == []
    await client.close()


@pytest.mark.parametrize("headers", [{}, {"Sec-WebSocket-Protocol": "centrifuge-json"}])
@pytest.mark.parametrize("query", ["", "?format=protobuf", "?cf_protocol=protobuf&x=1"])
async def test_protobuf_by_query_wins(serve, headers, query):
    server = await serve()
    client = await RawClient.websocket(server.port, "/connection/websocket" + query, headers)
    client.send(client_frame(bytes.fromhex("0408012200") if query else CONNECT.encode(), opcode=2))
    first, payload = await client.frame()
    assert first == (0x82 if query else 0x81)
    assert payload[1:3] == (b"\x08\x01" if query else b'"i')
    await client.close()


async def test_subprotocol_protobuf(serve):
    server = await serve()
    client = await RawClient.open(server.port)
    headers = {**UPGRADE, "Sec-WebSocket-Protocol": "x, centrifuge-protobuf"}
    client.send(request("/connection/websocket?format=json", headers))
    assert b"\r\nSec-WebSocket-Protocol: centrifuge-protobuf\r\n" in await client.head()
    client.send(client_frame(bytes.fromhex("0408012200")))
    assert (await client.frame())[0] == 0x82
    await client.close()


async def test_replies_of_one_chunk_leave_in_one_write(serve):
    server = await serve()
    client = await RawClient.websocket(server.port)
    client.text(CONNECT)
    await client.frame()
    commands = [f'{{"id":{i},"rpc":{{"data":{i}}}}}' for i in range(2, 6)]
    client.send(
        client_frame("\n".join(commands[:2]).encode())
        + client_frame("\n".join(commands[2:]).encode())
    )
    _first, payload = await client.frame()
    assert [json.loads(line)["id"] for line in payload.split(b"\n")] == [2, 3, 4, 5]
    await client.close()


async def test_message_over_the_limit_closes_with_1009(serve):
    server = await serve(message_size_limit=1000)
    client = await RawClient.websocket(server.port)
    client.text("x" * 70000)
    assert await client.read(4) == bytes.fromhex("880203f1")
    assert await client.rest() == b""
    assert server.sessions == []
    assert server.node.metrics.transport_closes == {("websocket", 1009): 1}
    await client.close()


async def test_compression(serve):
    server = await serve(compression=True, compression_min_size=150)
    client = await RawClient.websocket(
        server.port, headers={"Sec-WebSocket-Extensions": "permessage-deflate"}
    )
    deflater = Deflater(1)
    client.send(client_frame(deflater.deflate(CONNECT.encode()), rsv=0x40))
    first, payload = await client.frame()
    assert first == 0x81
    assert b'"connect"' in payload
    data = json.dumps({"text": "again and " * 50})
    client.send(client_frame(f'{{"id":2,"rpc":{{"data":{data}}}}}'.encode()))
    first, payload = await client.frame()
    assert first == 0xC1
    assert len(payload) < 150
    assert Inflater(10000).inflate(payload) == f'{{"id":2,"rpc":{{"data":{data}}}}}'.encode()
    client.send(client_frame(deflater.deflate(b"x" * 655361), rsv=0x40))
    expected = bytes.fromhex(
        golden("small compressed frame inflating over 10 x message_size_limit")["received"][0][
            "raw_hex"
        ]
    )
    assert await client.rest() == expected
    await client.close()


async def test_equal_settings_share_a_framing(serve):
    server = await serve(compression=True)
    deflate = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    clients = [
        await RawClient.websocket(server.port, headers=headers)
        for headers in ({}, {}, deflate, deflate)
    ]
    for client in clients:
        client.text(CONNECT)
        await client.read(2)
    plain, same, compressed, same_compressed = (s.transport.framing for s in server.sessions)
    assert plain is same
    assert compressed is same_compressed
    assert plain is not compressed
    for client in clients:
        await client.close()


async def test_broadcast_is_one_bytes_object_for_all(serve):
    server = await serve()
    clients = [await RawClient.websocket(server.port) for _ in range(3)]
    for client in clients:
        client.text(CONNECT + '\n{"id":2,"subscribe":{"channel":"c"}}')
        await client.frame()
    await server.node.publish("c", b'{"n":1}')
    for client in clients:
        assert await client.frame() == (0x81, b'{"push":{"channel":"c","pub":{"data":{"n":1}}}}')
        await client.close()


# -- the end


async def test_close_by_the_server_waits_for_the_client(serve):
    server = await serve()
    client = await RawClient.websocket(server.port)
    client.text(CONNECT)
    await client.frame()
    (session,) = server.sessions
    session.disconnect(Disconnect(4001, "é" * 100))
    first, payload = await client.frame()
    assert (first, payload[:2]) == (0x88, (4001).to_bytes(2, "big"))
    assert payload[2:].decode() == "é" * 61
    client.text('{"id":9,"rpc":{}}')  # too late, ignored
    client.send(client_frame(payload[:2], opcode=8))
    assert await client.rest() == b""
    await client.close()


async def test_close_by_the_server_gives_up_after_a_while(serve):
    clock = TestClock()
    server = await serve(clock=clock)
    client = await RawClient.websocket(server.port)
    client.text(CONNECT)
    await client.frame()
    server.sessions[0].disconnect(Disconnect(3503))
    assert (await client.frame())[1] == b"\x0d\xafforce disconnect"
    clock.advance(4.9)
    assert server.node.timers.num_armed == 1
    clock.advance(0.2)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.read(1)
    await client.close()


async def test_a_client_that_ignores_its_close_frame_is_dropped_after_shutdown_too(serve):
    clock = TestClock()
    server = await serve(clock=clock)
    client = await RawClient.websocket(server.port)
    client.text(CONNECT)
    await client.frame()
    server.listener.stop_accepting()
    await server.node.shutdown()
    await server.listener.close(grace=0.1)
    assert (await client.frame())[1] == b"\x0b\xb9shutdown"
    clock.advance(5.1)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.read(1)
    assert not server.node.timers.num_armed
    await client.close()


async def test_code_3000_has_no_close_frame(serve):
    server = await serve()
    client = await RawClient.websocket(server.port)
    client.text(CONNECT)
    await client.frame()
    server.sessions[0].disconnect(Disconnect(3000))
    assert await client.rest() == b""
    await client.close()


async def test_shutdown_of_the_node_closes_with_3001(serve):
    server = await serve()
    client = await RawClient.websocket(server.port)
    client.text(CONNECT)
    await client.frame()
    stopping = asyncio.create_task(server.node.shutdown())
    assert (await client.frame())[1] == b"\x0b\xb9shutdown"
    client.send(client_frame(b"\x0b\xb9", opcode=8))
    assert await client.rest() == b""
    await stopping
    await client.close()


async def test_refused_connect_lingers_and_drops(serve):
    clock = TestClock()
    server = await serve(clock=clock)
    client = await RawClient.websocket(server.port)
    client.text('{"id":1,"connect":{"token":"expired"}}\n{"id":2,"rpc":{}}')
    assert json.loads((await client.frame())[1])["error"]["code"] == 109
    client.text('{"id":3,"rpc":{}}')
    client.send(client_frame(b"x", opcode=9))
    assert await client.read(3) == b"\x8a\x01x"
    clock.advance(LINGER + 1)  # the wheel is coarse
    assert await client.rest() == b""
    await client.close()


async def test_end_of_the_connection_frees_everything(serve):
    server = await serve()
    client = await RawClient.websocket(server.port)
    client.text(CONNECT)
    await client.frame()
    (session,) = server.sessions
    transport = session.transport
    seen = []
    server.node.on_disconnected(lambda event: seen.append(event.connection.client_id))
    await client.close()
    await until(lambda: not server.sessions)
    assert seen == [session.client_id]
    await until(lambda: transport.session is None)
    assert not server.node.timers.num_armed


# -- flow control


async def slow_client(server, channel="c"):
    client = await RawClient.websocket(server.port)
    client.text(CONNECT + f'\n{{"id":2,"subscribe":{{"channel":"{channel}"}}}}')
    await client.frame()
    client.writer.transport.pause_reading()
    return client


def is_closed_with(server, code):
    return any(c == code for (_, c), n in server.node.metrics.transport_closes.items() if n)


async def test_slow_readers_are_closed_with_3008(serve):
    server = await serve(write_timeout=0, node_options={"queue_max_size": 100_000})
    client = await slow_client(server)
    (session,) = server.sessions
    data = b'"' + b"x" * 10_000 + b'"'
    highest = 0
    for _ in range(2000):
        await server.node.publish("c", data)
        highest = max(highest, session.transport.queued_bytes)
        await asyncio.sleep(0)
        if session.closed:
            break
    assert session.closed
    assert highest <= 100_000 + 20_000
    client.writer.transport.resume_reading()
    frame = (0, b"")
    while frame[0] != 0x88:
        frame = await client.frame()
    assert frame[1] == b"\x0b\xc0slow"
    await client.close()


async def test_a_slow_reader_that_catches_up_gets_everything_in_order(serve):
    server = await serve(write_timeout=0, node_options={"queue_max_size": 100_000_000})
    client = await slow_client(server)
    (session,) = server.sessions
    filler = "x" * 10_000
    count = 0
    while session.transport.queued_bytes < 500_000:
        await server.node.publish("c", f'{{"n":{count},"x":"{filler}"}}'.encode())
        count += 1
    client.writer.transport.resume_reading()
    for n in range(count):
        _, payload = await client.frame()
        assert json.loads(payload)["push"]["pub"]["data"]["n"] == n
    assert session.transport.queued_bytes == 0
    await client.close()


async def test_a_blocked_wire_is_given_up(serve):
    server = await serve(write_timeout=0.1, node_options={"queue_max_size": 100_000_000})
    client = await slow_client(server)
    (session,) = server.sessions
    while session.transport.queued_bytes < 500_000:
        await server.node.publish("c", b'"' + b"x" * 10_000 + b'"')
    seen = []
    server.node.on_disconnected(lambda event: seen.append(event.code))
    await until(lambda: session.closed)
    await until(lambda: session.transport.session is None)
    assert seen == [3009]
    client.writer.transport.abort()


async def test_frame_pings(serve):
    server = await serve(node_options={"ping_interval": 0.2, "pong_timeout": 0.1})
    client = await RawClient.websocket(
        server.port, "/connection/websocket?cf_ws_frame_ping_pong=true"
    )
    client.text(CONNECT)
    assert "ping" not in json.loads((await client.frame())[1])["connect"]
    assert await client.read(2) == b"\x89\x00"
    client.send(client_frame(b"", opcode=10))
    assert await client.read(2) == b"\x89\x00"
    assert await client.rest() == b""  # no pong, no close frame
    await until(lambda: not server.sessions)
    await client.close()


# -- TLS


async def test_tls(serve, tmp_path):
    server_context, client_context = tls_contexts(tmp_path)
    server = await serve(listener={"ssl_context": server_context}, message_size_limit=100)
    client = await RawClient.websocket(server.port, ssl=client_context)
    client.text(CONNECT + '\n{"id":2,"subscribe":{"channel":"c"}}')
    await client.frame()
    big = b'"' + b"x" * 300_000 + b'"'
    await server.node.publish("c", big)
    assert big in (await client.frame())[1]
    client.text("x" * 200)
    assert await client.rest() == bytes.fromhex("880203f1")
    await client.close()


def tls_contexts(directory):
    import subprocess

    certificate, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(certificate)
    client.check_hostname = False
    return server, client
