"""Rude requests that are streams, of HTTP/2 and HTTP/3: nothing raises, nothing stays behind."""

import asyncio
import contextlib
import socket
import struct
from urllib.parse import quote

import pytest
from hostile import (
    CONNECT,
    ENDPOINTS,
    SOCKET,
    WEBTRANSPORT,
    WRAPPED,
    frame,
    nothing_stays_behind,
    tls_server,
)
from quicclient import vanish
from streamclients import H2Client, Stream, dial_h2, dial_h3

LOOPS = ("uvloop",)

VERBS = ("GET", "POST", "PUT", "OPTIONS", "HEAD", "DELETE", "PATCH", "BREW")
BODIES = (
    b"",
    b"null",
    b"[]",
    b"{",
    b"\xff\xfe",
    b'{"id":1}',
    b'{"id":-1,"connect":7}',
    CONNECT,
    WRAPPED,
)
BINARY = {"content-type": "application/octet-stream"}
FEW_FRAMES = (
    frame(b"{"),
    frame(CONNECT),
    frame(WRAPPED),
    frame(CONNECT) + frame(b"", 8),
    frame(b"\x00", 8),
    frame(b"x", 5),
    b"\x81\x05hello",
    b"\x81\xff" + b"\xff" * 12,
    frame(CONNECT)[:9],
)


@pytest.fixture
async def server(tmp_path, monkeypatch):
    async with tls_server(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture(params=["2", "3"])
def version(request):
    return request.param


def connect(server, version, **options):
    return dial_h2(server.port, **options) if version == "2" else dial_h3(server.port, **options)


# -- statuses


STATUSES = [
    ("GET", "/connection/websocket", b"", 405),
    ("POST", "/connection/websocket", b"", 405),
    ("GET", "/connection/uni_websocket", b"", 405),
    ("GET", "/connection/http_stream", b"", 405),
    ("OPTIONS", "/connection/http_stream", b"", 204),
    ("POST", "/connection/http_stream", b"{", 200),
    ("POST", "/connection/http_stream", b"x" * 65537, 413),
    ("GET", "/connection/sse", b"", 400),
    ("OPTIONS", "/connection/sse", b"", 405),
    ("PUT", "/connection/sse", b"{", 405),
    ("POST", "/connection/sse", b"", 200),
    ("POST", "/connection/sse", b"x" * 65537, 413),
    ("GET", "/connection/uni_http_stream", b"", 405),
    ("OPTIONS", "/connection/uni_http_stream", b"", 204),
    ("POST", "/connection/uni_http_stream", b"", 400),
    ("POST", "/connection/uni_http_stream", b"x" * 65537, 413),
    ("OPTIONS", "/connection/uni_sse", b"", 405),
    ("POST", "/connection/uni_sse", b"{", 400),
    ("GET", "/connection/uni_sse?cf_connect=%00%ff", b"", 400),
    ("GET", "/emulation", b"", 405),
    ("OPTIONS", "/emulation", b"", 204),
    ("POST", "/emulation", b"{", 400),
    ("POST", "/emulation", b'{"node":"nobody","session":"x","data":"{}"}', 404),
    ("POST", "/emulation", b"x" * 65537, 413),
    ("GET", "/connection/init", b"", 200),
    ("POST", "/connection/init", b"", 405),
    ("POST", "/api/publish", b"{}", 401),
    ("GET", "/health", b"", 200),
    ("GET", "/metrics", b"", 200),
    ("GET", "/nothing", b"", 404),
    ("POST", "/connection/http_stream/", b"{}", 404),
]


async def test_statuses(server, version, caplog):
    async with nothing_stays_behind(server, caplog), connect(server, version) as client:
        for method, path, body, status in STATUSES:
            answer = await (await client.request(method, path, {}, body)).complete()
            assert (method, path, answer.status) == (method, path, status)
        proxy = client.begin([(":method", "CONNECT"), (":authority", "x:1")], end=True)
        answer = client.streams[proxy] = Stream(client, proxy)
        assert (await answer.complete()).status == 400


async def test_webtransport_statuses(server, caplog):
    wrong = [
        ("GET", None, {}, 405),
        ("CONNECT", None, {}, 400),
        ("CONNECT", "websocket", {}, 400),
        ("CONNECT", "webtransport", {"origin": "http://evil.example"}, 400),
    ]
    async with nothing_stays_behind(server, caplog):
        async with dial_h3(server.port) as client:
            for method, protocol, headers, status in wrong:
                answer = await client.request(method, WEBTRANSPORT, headers, protocol=protocol)
                assert answer.status == status
        async with dial_h2(server.port) as client:
            answer = await client.request("CONNECT", WEBTRANSPORT, protocol="webtransport")
            assert (await answer.complete()).status == 501


# -- streams of all kinds, on one connection


def whole_requests(client, path):
    """Requests that should be answered, whatever is in them."""
    for verb in VERBS:
        if verb == "HEAD" and not isinstance(client, H2Client):
            continue  # the library takes the length of a body that does not come for a lie
        yield client.ask(verb, path)
    yield client.ask("POST", path + "/", {}, b"{}")
    for body in BODIES:
        yield client.ask("POST", path, {}, body)
        yield client.ask("POST", path, BINARY, body)
    more = "&" if "?" in path else "?"
    yield client.ask("GET", f"{path}{more}cf_connect=%00%ff&format=%zz")
    yield client.ask("GET", f"{path}{more}cf_connect={quote(CONNECT)}")
    yield client.ask("POST", path, {f"x-{n}": "y" for n in range(250)})
    yield client.ask("POST", path, {"x": "y" * 20_000})


def half_requests(client, path):
    """Requests that do not come to their end."""
    yield client.ask("POST", path, end=False)
    yield client.ask("POST", path, {}, CONNECT, end=False)
    yield client.ask("POST", path, {"content-length": "99999999999"}, b"{}", end=False)
    for body in (None, CONNECT, b"x" * 70_000):
        stream = client.ask("POST", path, end=False)
        if body:
            stream.send(body)
        stream.cancel()
    for verb in ("GET", "POST"):
        client.ask(verb, path).cancel()
    for protocol in ("websocket", "webtransport", "other", "\x7f"):
        yield client.ask("CONNECT", path, SOCKET, end=False, protocol=protocol)
    for data in FEW_FRAMES:
        stream = client.ask("CONNECT", path, SOCKET, end=False, protocol="websocket")
        stream.send(data)
        yield stream
    client.ask("CONNECT", path, SOCKET, end=False, protocol="websocket").cancel()
    stream = client.ask("CONNECT", path, SOCKET, end=False, protocol="websocket")
    stream.send(frame(CONNECT), end=True)
    yield stream


async def polite(client):
    """Leaves as it should."""


async def sudden(client):
    """Ends the connection at once."""
    if isinstance(client, H2Client):
        linger = struct.pack("ii", 1, 0)
        wire = client.transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.transport.abort()
    else:
        client._quic.close(0x1FF, reason_phrase="bye")
        client.transmit()


async def silent(client):
    """Is not heard of again, or says goodbye in the middle of everything."""
    if isinstance(client, H2Client):
        client.h2.close_connection()
        client.flush()
    else:
        vanish(client)


LEAVES = (polite, sudden, silent)


@pytest.mark.parametrize("leave", LEAVES)
async def test_rude_streams(server, version, leave, caplog):
    async with nothing_stays_behind(server, caplog):
        paths = (*ENDPOINTS, WEBTRANSPORT)
        await asyncio.gather(*(visit(server, version, path, leave) for path in paths))
    async with connect(server, version) as client:
        assert (await client.request("GET", "/health")).status == 200


async def visit(server, version, path, leave):
    """One client: asks for much, waits for a moment, takes half of it back, and leaves."""
    async with connect(server, version) as client:
        await client.request("GET", "/health")  # the server's settings are known now
        streams = [*whole_requests(client, path), *half_requests(client, path)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                for stream in streams:
                    await stream.answered()
        for stream in streams:
            assert not stream.head or 200 <= stream.status < 600
        for stream in streams[::2]:
            with contextlib.suppress(Exception):
                stream.cancel()
        await leave(client)
