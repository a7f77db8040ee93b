"""Rude connections of HTTP/2, their frames made by hand: nothing raises, nothing stays behind."""

import asyncio
import contextlib
import struct

import hpack
import pytest
from hostile import CONNECT, nothing_stays_behind, send, tls_server
from streamclients import dial_h2, trusting
from waiting import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32
"""Frame types and flags."""


@pytest.fixture
async def server(tmp_path, monkeypatch):
    async with tls_server(tmp_path, monkeypatch) as server:
        yield server


def h2_frame(kind, flags=0, stream=0, payload=b"", *, size=None):
    """A frame; ``size`` may be a lie."""
    size = len(payload) if size is None else size
    return struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def head_of(*fields, method="POST", path="/connection/http_stream", scheme="https"):
    """An encoded request head. Pseudo-headers that are None are left out."""
    pseudo = {":method": method, ":scheme": scheme, ":path": path, ":authority": "x"}
    given = [(name, value) for name, value in pseudo.items() if value is not None]
    return hpack.Encoder().encode([*given, *fields])


def asked(*fields, stream=1, flags=END_HEADERS | END_STREAM, **pseudo):
    return h2_frame(HEADERS, flags, stream, head_of(*fields, **pseudo))


def in_parts(head, size=16_000):
    """A head in a frame and its continuations."""
    first, *others = (head[i : i + size] for i in range(0, len(head), size))
    parts = [h2_frame(HEADERS, END_STREAM, 1, first)]
    parts += [h2_frame(CONTINUATION, 0, 1, part) for part in others]
    return b"".join(parts) + h2_frame(CONTINUATION, END_HEADERS, 1)


PADDING = b"\xff" + head_of(method="GET", path="/health") + bytes(255)
ANSWERS_STATUS = {
    "no path": (asked(method="CONNECT", path=None, scheme=None), 400),
    "too many headers": (asked(*((f"x-{n}", "y") for n in range(250))), 400),
    "a path with a space": (asked(path="/a HTTP/1.1"), 400),
    "a path with a control character": (asked(path="/a\x01"), 400),
    "a method with a space": (asked(method="GET /a"), 400),
    "a control character in a value": (asked(("x", "a\x0bb")), 400),
    "a name that is none": (asked(("x(", "y")), 400),
    "padding": (h2_frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, PADDING), 200),
    "unknown frames": (
        h2_frame(0xBB, 0xFF, 0, b"x" * 100) + asked(method="GET", path="/health"),
        200,
    ),
    "unknown setting": (
        h2_frame(SETTINGS, 0, 0, b"\xff\xff" + bytes(4)) + asked(method="GET", path="/health"),
        200,
    ),
}
"""What is strange but no error, and the status of the answer."""

STREAM_ERRORS = {
    "a stream twice": (asked() + asked(), 5),
    "the window of a stream overflows": (
        asked(path="/emulation", flags=END_HEADERS)
        + h2_frame(WINDOW, 0, 1, b"\x7f\xff\xff\xff") * 2,
        3,
    ),
}
"""What resets a stream, and the code."""

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
COMPRESSION_ERROR = 9
CONNECTION_ERRORS = {
    "no scheme": (asked(scheme=None), {PROTOCOL_ERROR}),
    "no method": (asked(method=None), {PROTOCOL_ERROR}),
    "a path for a proxy": (asked(method="CONNECT"), {PROTOCOL_ERROR}),
    "capitals": (asked(("X-Y", "z")), {PROTOCOL_ERROR}),
    "a header of HTTP/1": (asked(("connection", "keep-alive")), {PROTOCOL_ERROR}),
    "a line end in a value": (asked(("x", "a\r\nb")), {PROTOCOL_ERROR}),
    "a pseudo-header too late": (asked(("x", "y"), (":path", "/")), {PROTOCOL_ERROR}),
    "an unknown pseudo-header": (asked((":x", "y")), {PROTOCOL_ERROR}),
    "a bad length": (asked(("content-length", "-1"), flags=END_HEADERS), {PROTOCOL_ERROR}),
    "a longer body": (
        asked(("content-length", "5"), flags=END_HEADERS) + h2_frame(0, END_STREAM, 1, b"x" * 9),
        {PROTOCOL_ERROR},
    ),
    "a shorter body": (
        asked(("content-length", "5"), flags=END_HEADERS) + h2_frame(0, END_STREAM, 1, b"x"),
        {PROTOCOL_ERROR},
    ),
    "garbage for a head": (
        h2_frame(HEADERS, END_HEADERS, 1, b"\xff" * 50),
        {PROTOCOL_ERROR, COMPRESSION_ERROR},
    ),
    "a large table": (
        h2_frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\x7f"),
        {PROTOCOL_ERROR, COMPRESSION_ERROR},
    ),
    "a huge head": (in_parts(head_of(*((f"x-{n}", "y" * 2000) for n in range(100)))), {11}),
    "headers without a stream": (asked(stream=0), {PROTOCOL_ERROR}),
    "a stream of the server": (asked(stream=2), {PROTOCOL_ERROR}),
    "going back": (asked(stream=5) + asked(stream=3), {PROTOCOL_ERROR, STREAM_CLOSED}),
    "data without a stream": (h2_frame(0, 0, 0, b"x"), {PROTOCOL_ERROR}),
    "data of no request": (h2_frame(0, 0, 1, b"x"), {PROTOCOL_ERROR, STREAM_CLOSED}),
    "more padding than data": (
        asked(flags=END_HEADERS) + h2_frame(0, PADDED, 1, b"\xffxx"),
        {PROTOCOL_ERROR},
    ),
    "a continuation of nothing": (h2_frame(CONTINUATION, END_HEADERS, 1), {PROTOCOL_ERROR}),
    "an interrupted head": (
        asked(flags=END_STREAM) + h2_frame(PING, 0, 0, bytes(8)),
        {PROTOCOL_ERROR},
    ),
    "endless continuations": (
        asked(flags=END_STREAM) + h2_frame(CONTINUATION, 0, 1, b"\x00") * 1000,
        {PROTOCOL_ERROR, 11},
    ),
    "no window": (h2_frame(WINDOW, 0, 0, bytes(4)), {PROTOCOL_ERROR}),
    "a window too wide": (
        h2_frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 2,
        {PROTOCOL_ERROR, FLOW_CONTROL_ERROR},
    ),
    "a short window": (h2_frame(WINDOW, 0, 0, b"x"), {PROTOCOL_ERROR, FRAME_SIZE_ERROR}),
    "a broken setting": (h2_frame(SETTINGS, 0, 0, b"\0\2\0\0\0\7"), {PROTOCOL_ERROR}),
    "an initial window too wide": (
        h2_frame(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"),
        {PROTOCOL_ERROR, FLOW_CONTROL_ERROR},
    ),
    "half a setting": (h2_frame(SETTINGS, 0, 0, b"\0\4"), {PROTOCOL_ERROR, FRAME_SIZE_ERROR}),
    "settings of a stream": (h2_frame(SETTINGS, 0, 1), {PROTOCOL_ERROR}),
    "a short ping": (h2_frame(PING, 0, 0, b"x"), {PROTOCOL_ERROR, FRAME_SIZE_ERROR}),
    "a ping of a stream": (h2_frame(PING, 0, 1, bytes(8)), {PROTOCOL_ERROR}),
    "a promise": (
        asked() + h2_frame(PUSH, END_HEADERS, 1, bytes(4) + head_of()),
        {PROTOCOL_ERROR},
    ),
    "a reset of no request": (h2_frame(RST, 0, 7, bytes(4)), {PROTOCOL_ERROR}),
    "a reset of everything": (h2_frame(RST, 0, 0, bytes(4)), {PROTOCOL_ERROR}),
    "a dependency on itself": (
        h2_frame(HEADERS, END_HEADERS | PRIORITY, 1, b"\0\0\0\1\0" + head_of()),
        {PROTOCOL_ERROR},
    ),
    "a frame too long": (h2_frame(0xBB, 0, 0, b"x" * 17_000), {FRAME_SIZE_ERROR}),
    "a frame that says it is too long": (
        h2_frame(0xBB, 0, 0, b"x" * 17_000, size=0xFFFFFF),
        {FRAME_SIZE_ERROR},
    ),
}
"""What ends a connection, and the codes that may be told."""

SILENT_ENDS = {
    "nothing": b"",
    "half a preface": PREFACE[:10],
    "a preface": PREFACE,
    "another preface": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + bytes(100),
    "HTTP/1.1": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "noise": b"\x00\xff" * 5000,
    "half a frame": PREFACE + h2_frame(SETTINGS) + asked()[:20],
    "half a head": PREFACE + h2_frame(SETTINGS) + asked(flags=0),
    "half a body": PREFACE
    + h2_frame(SETTINGS)
    + asked(flags=END_HEADERS)
    + h2_frame(0, 0, 1, CONNECT),
    "a stream": PREFACE
    + h2_frame(SETTINGS)
    + asked(flags=END_HEADERS)
    + h2_frame(0, END_STREAM, 1, CONNECT),
    "no windows": PREFACE
    + h2_frame(SETTINGS, 0, 0, b"\0\4" + bytes(4))
    + asked(flags=END_HEADERS)
    + h2_frame(0, END_STREAM, 1, CONNECT)
    + asked(stream=3, method="GET", path="/metrics"),
    "many idle streams": PREFACE
    + h2_frame(SETTINGS)
    + b"".join(asked(stream=n, flags=END_HEADERS) for n in range(1, 501, 2)),
    "more streams than allowed": PREFACE
    + h2_frame(SETTINGS)
    + b"".join(asked(stream=n, flags=END_HEADERS) for n in range(1, 601, 2)),
    "many streams taken back": PREFACE
    + h2_frame(SETTINGS)
    + b"".join(
        asked(stream=n, method="GET", path="/metrics") + h2_frame(RST, 0, n, b"\0\0\0\x08")
        for n in range(1, 401, 2)
    ),
    "goodbye in a request": PREFACE
    + h2_frame(SETTINGS)
    + asked(flags=END_HEADERS)
    + h2_frame(GOAWAY, 0, 0, bytes(8))
    + h2_frame(0, END_STREAM, 1, CONNECT),
    "pings": PREFACE + h2_frame(SETTINGS) + h2_frame(PING, 0, 0, bytes(8)) * 900,
    "settings": PREFACE + h2_frame(SETTINGS) * 900,
}
"""What clients send before they leave, answered or not."""


def frames_of(data):
    """Frames of the server: kind, stream, payload."""
    found = []
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        found.append((data[3], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return found


async def converse(server, data):
    """Sends ``data`` after a proper beginning; frames until a decision, or the end."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=trusting("h2"), limit=2**20
    )
    writer.write(PREFACE + h2_frame(SETTINGS) + data)
    found = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            while not {HEADERS, RST, GOAWAY} & {kind for kind, *_ in frames_of(found)}:
                more = await reader.read(65536)
                if not more:
                    break
                found += more
    writer.transport.abort()
    return frames_of(found)


async def test_strange_but_allowed(server, caplog):
    async with nothing_stays_behind(server, caplog):
        for name, (data, status) in ANSWERS_STATUS.items():
            heads = [p for kind, _, p in await converse(server, data) if kind == HEADERS]
            assert heads, name
            assert (name, dict(hpack.Decoder().decode(heads[0]))[":status"]) == (name, str(status))


async def test_stream_errors(server, caplog):
    async with nothing_stays_behind(server, caplog):
        for name, (data, code) in STREAM_ERRORS.items():
            resets = [p for kind, _, p in await converse(server, data) if kind == RST]
            assert [(name, int.from_bytes(p, "big")) for p in resets] == [(name, code)]


async def test_connection_errors(server, caplog):
    async with nothing_stays_behind(server, caplog):
        wrong = {}
        for name, (data, codes) in CONNECTION_ERRORS.items():
            frames = await converse(server, data)
            told = {int.from_bytes(p[4:8], "big") for kind, _, p in frames if kind == GOAWAY}
            if not told or not told <= codes:
                wrong[name] = told or frames
        assert not wrong
    async with dial_h2(server.port) as client:
        assert (await client.request("GET", "/health")).status == 200


async def test_connections_that_end_anywhere(server, caplog):
    async with nothing_stays_behind(server, caplog):
        for reset in (False, True):
            await asyncio.gather(
                *(
                    send(server.port, data, reset=reset, ssl=trusting("h2"))
                    for data in SILENT_ENDS.values()
                )
            )
    async with dial_h2(server.port) as client:
        assert (await client.request("GET", "/health")).status == 200
