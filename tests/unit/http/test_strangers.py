"""What strangers send without pause, or leave unfinished: work for each turn, and bytes held."""

import asyncio
import struct

import hpack
import pytest
from memorywire import MemoryWire
from waiting import turns_until

from flyball.aio.held import HeldBytes
from flyball.aio.timers import TimerWheel
from flyball.http import http1, http2
from flyball.http.asgi_bridge import serve
from flyball.http.common_headers import CommonHeaders
from flyball.http.http1 import Http1Connection, Http1Service
from flyball.http.http2 import Http2Connection, Http2Options
from flyball.http.messages import HttpLimits, Response
from flyball.http.multiplex import request
from flyball.http.multiplex.service import StreamService
from flyball.http.request_log import RequestLog
from flyball.http.routes import Route, Routes
from flyball.http.streams import StreamingResponse
from flyball.testing.clock import TestClock

ROOM = 100_000
"""Bytes that strangers may fill in these tests."""


class Stage:
    """Connections that share a route table and a room."""

    def __init__(self):
        self.served = []
        self.clock = TestClock()
        self.timers = TimerWheel(self.clock)
        self.held = HeldBytes(self.clock, ROOM)
        self.routes = Routes(
            [
                Route("/", self.serve, max_body_size=65_536),
                Route("/big", self.serve, max_body_size=1 << 20),
                Route("/key", self.serve, admit=lambda head: None),
                Route("/stream", lambda *_: StreamingResponse(self.take)),
            ]
        )
        self.streams = []

    def serve(self, head, body):
        self.served.append(len(body))
        return Response(b"ok")

    def take(self, stream, head):
        self.streams.append(stream)

    def http1(self):
        service = Http1Service(
            self.routes,
            HttpLimits(),
            self.timers,
            CommonHeaders(self.clock),
            lambda wire, data: None,
            self.held,
            RequestLog(self.clock),
        )
        connection, wire = Http1Connection(service), MemoryWire()
        connection.connection_made(wire)
        return connection, wire

    def http2(self):
        common = CommonHeaders(self.clock)
        service = StreamService(
            self.routes, HttpLimits(), self.timers, common, "2", self.held, RequestLog(self.clock)
        )
        connection, wire = Http2Connection(service, Http2Options()), MemoryWire()
        connection.connection_made(wire)
        return connection, wire


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">IBI", 4, 0, 0)
DATA, HEADERS, WINDOW, UNKNOWN = 0, 1, 8, 0xBB


def frame(kind, payload=b"", stream=0, flags=0):
    head = struct.pack(">I", len(payload))[1:] + bytes((kind, flags))
    return head + struct.pack(">I", stream) + payload


def asked(path, stream, *, flags=4):
    fields = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "x"}
    return frame(HEADERS, hpack.Encoder().encode(list(fields.items())), stream, flags)


# -- turns


async def test_pipelined_requests_take_turns():
    stage = Stage()
    connection, wire = stage.http1()
    connection.data_received(GET * 1000)
    assert len(stage.served) == http1.STEPS_A_TURN
    assert not wire.reading
    other, other_wire = stage.http1()
    other.data_received(GET)
    assert other_wire.sent.endswith(b"ok")
    turns = await turns_until(lambda: len(stage.served) == 1001)
    assert turns >= 1000 // http1.STEPS_A_TURN
    assert wire.reading
    assert wire.sent.count(b"HTTP/1.1 200") == 1000


async def test_what_comes_meanwhile_waits_behind_the_rest():
    stage = Stage()
    connection, wire = stage.http1()
    connection.data_received(GET * 40)
    connection.data_received(GET * 3000)
    assert len(stage.served) == http1.STEPS_A_TURN
    await turns_until(lambda: len(stage.served) == 3040)
    assert wire.reading


async def test_chunks_of_a_byte_take_turns():
    stage = Stage()
    stage.held = HeldBytes(stage.clock)
    connection, wire = stage.http1()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.data_received(head + b"1\r\na\r\n" * 60_000 + b"0\r\n\r\n")
    assert not wire.reading
    assert not stage.served
    await turns_until(lambda: stage.served)
    assert stage.served == [60_000]


async def test_a_stream_behind_many_requests_gets_a_wire_that_reads():
    stage = Stage()
    connection, wire = stage.http1()
    connection.data_received(GET * 100 + GET.replace(b"/ ", b"/stream ", 1))
    await turns_until(lambda: stage.streams)
    assert wire.reading


async def test_a_connection_that_is_lost_meanwhile_asks_no_more():
    stage = Stage()
    connection, _ = stage.http1()
    connection.data_received(GET * 1000)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(stage.served) == http1.STEPS_A_TURN


@pytest.mark.parametrize(
    "flood", [frame(WINDOW, b"\0\0\0\1"), frame(UNKNOWN)], ids=["windows", "unknown"]
)
async def test_frames_of_http2_take_turns(flood):
    stage = Stage()
    connection, wire = stage.http2()
    connection.data_received(PREFACE + flood * 900 + asked("/", 1, flags=5))
    assert not wire.reading
    assert not stage.served
    turns = await turns_until(lambda: stage.served)
    assert turns >= 900 * len(flood) // http2.SLICE // 4
    await turns_until(lambda: wire.reading)


async def test_frames_that_come_meanwhile_wait_behind_the_rest():
    stage = Stage()
    connection, wire = stage.http2()
    connection.data_received(PREFACE + frame(WINDOW, b"\0\0\0\1") * 900)
    connection.data_received(asked("/", 1, flags=5))
    assert not stage.served
    await turns_until(lambda: stage.served)
    await turns_until(lambda: wire.reading)


async def test_unknown_frames_without_end_are_too_many():
    stage = Stage()
    connection, wire = stage.http2()
    connection.data_received(PREFACE + frame(UNKNOWN) * 1100)
    await turns_until(lambda: wire.closed)
    assert wire.sent[-4:] == b"\0\0\0\x0b"  # ENHANCE_YOUR_CALM


@pytest.mark.parametrize("said", [b"", PREFACE[:10], PREFACE[:24]])
async def test_who_does_not_finish_the_greeting_has_the_time_of_a_head(said):
    stage = Stage()
    connection, wire = stage.http2()
    connection.data_received(said)
    stage.clock.advance(HttpLimits().head_timeout + 1.1)
    assert wire.closed


async def test_who_greeted_may_stay():
    stage = Stage()
    connection, wire = stage.http2()
    connection.data_received(PREFACE)
    stage.clock.advance(HttpLimits().head_timeout + 1.1)
    assert not wire.closed


# -- bytes held


def unfinished(path, size, *, chunked=False):
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size + 1}"
    body = b"%x\r\n%b" % (size + 1, b"x" * size) if chunked else b"x" * size
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode() + body


@pytest.mark.parametrize("chunked", [False, True])
async def test_unfinished_bodies_fill_a_common_room(chunked):
    stage = Stage()
    stages = [stage.http1() for _ in range(5)]
    for connection, _ in stages:
        connection.data_received(unfinished("/", 30_000, chunked=chunked))
    await asyncio.sleep(0)
    assert [wire.closed for _, wire in stages] == [True, True, False, False, False]
    assert stage.held.size <= ROOM
    for connection, _ in stages:
        connection.connection_lost(None)
    assert stage.held.size == 0


async def test_unfinished_heads_do_too():
    stage = Stage()
    stages = [stage.http1() for _ in range(3)]
    for connection, _ in stages:
        connection.data_received(b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000)
    assert [wire.closed for _, wire in stages] == [True, False, False]


async def test_a_body_that_ends_leaves_the_room():
    stage = Stage()
    connection, _ = stage.http1()
    connection.data_received(unfinished("/", 30_000))
    assert stage.held.size == 30_000
    connection.data_received(b"x")
    assert stage.served == [30_001]
    assert stage.held.size == 0


async def test_who_has_a_key_is_no_stranger():
    stage = Stage()
    connection, wire = stage.http1()
    connection.data_received(unfinished("/key", 300_000))
    assert stage.held.size == 0
    assert not wire.closed
    http2, h2_wire = stage.http2()
    http2.data_received(PREFACE + asked("/key", 1) + frame(DATA, b"x" * 16_000, 1) * 10)
    assert stage.held.size == 0
    assert not h2_wire.closed


async def test_streams_of_http2_fill_the_same_room():
    stage = Stage()
    first, first_wire = stage.http1()
    first.data_received(unfinished("/", 60_000))
    second, _ = stage.http2()
    second.data_received(PREFACE + asked("/", 1) + frame(DATA, b"x" * 16_000, 1) * 3)
    assert first_wire.closed
    assert stage.held.size == 48_000
    second.data_received(frame(DATA, b"x", 1, 1))
    assert stage.served == [48_001]
    assert stage.held.size == 0


async def test_the_streams_of_one_connection_have_a_room_of_their_own():
    stage = Stage()
    stage.held = HeldBytes(stage.clock)
    connection, _ = stage.http2()
    connection.data_received(PREFACE)
    full = frame(DATA, b"x" * 16_000, 1)
    sent = 0
    for stream in range(1, 100, 2):
        connection.data_received(asked("/", stream))
        for _ in range(4):
            connection.data_received(full[:5] + struct.pack(">I", stream) + full[9:])
            sent += 16_000
        assert connection.held <= request.MAX_HELD
    assert sent > 3 * request.MAX_HELD
    connection.connection_lost(None)
    assert (connection.held, stage.held.size) == (0, 0)


class Asgi:
    """One request through an ASGI server."""

    def __init__(self, stage, path):
        self.inbox = asyncio.Queue()
        self.sent = []
        scope = {"type": "http", "method": "POST", "path": path, "headers": []}

        async def send(event):
            self.sent.append(event)

        app = serve(stage.routes, scope, self.inbox.get, send, held=stage.held)
        self.task = asyncio.ensure_future(app)

    def give(self, body, *, more=True):
        self.inbox.put_nowait({"type": "http.request", "body": body, "more_body": more})

    @property
    def status(self):
        return self.sent[0]["status"] if self.sent else None


async def test_bodies_through_an_asgi_server_fill_the_same_room():
    stage = Stage()
    first, second, keyed = Asgi(stage, "/"), Asgi(stage, "/"), Asgi(stage, "/key")
    for asgi in (first, second, keyed):
        asgi.give(b"x" * 60_000)
        await turns_until(asgi.inbox.empty)
        await asyncio.sleep(0)
    await first.task
    assert first.status == 503
    assert stage.held.size == 60_000
    second.give(b"x", more=False)
    keyed.give(b"x", more=False)
    await asyncio.gather(second.task, keyed.task)
    assert stage.served == [60_001, 60_001]
    assert stage.held.size == 0


async def test_a_server_that_gives_a_request_up_is_obeyed():
    stage = Stage()
    asgi = Asgi(stage, "/")
    asgi.give(b"x" * 5000)
    await turns_until(lambda: stage.held.size)
    asgi.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asgi.task
    assert stage.held.size == 0
