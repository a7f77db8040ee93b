"""One connection of HTTP/1.1 on a wire that a test holds: states, switches, the end."""

import asyncio

import pytest

from flyball.aio.held import HeldBytes
from flyball.aio.timers import TimerWheel
from flyball.http.common_headers import CommonHeaders
from flyball.http.head import BadRequestHead, parse_head, split_target
from flyball.http.http1 import ConnectionState, HeadCache, Http1Connection, Http1Service
from flyball.http.messages import HttpLimits, Response, empty
from flyball.http.request_log import RequestLog
from flyball.http.routes import Route, Routes
from flyball.http.streams import StreamingResponse
from flyball.testing.clock import TestClock

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Wire:
    """What a connection sees of asyncio's transport."""

    def __init__(self, alpn=None):
        self.sent = b""
        self.events = []
        self.protocol = None
        self.unsent = 0
        self.alpn = alpn

    def write(self, data):
        self.sent += data

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_extra_info(self, name, default=None):
        return self if name == "ssl_object" and self.alpn else default

    def selected_alpn_protocol(self):
        return self.alpn

    def get_write_buffer_size(self):
        return self.unsent

    def is_closing(self):
        return bool({"abort", "close"} & set(self.events))

    def can_write_eof(self):
        return True

    def __getattr__(self, name):
        if name in ("abort", "close", "pause_reading", "resume_reading", "write_eof"):
            return lambda: self.events.append(name)
        raise AttributeError(name)

    @property
    def statuses(self):
        return [int(part[:3]) for part in self.sent.decode("latin-1").split("HTTP/1.1 ")[1:]]

    @property
    def last(self):
        return self.sent.rpartition(b"\r\n\r\n")[2]


class Stage:
    """A connection with rows for every way to answer."""

    def __init__(self, *, alpn=None, has_app=False, h2c=False):
        self.asked = []
        self.opened = []
        self.switched = []
        self.taken_back = []
        self.clock = TestClock()
        self.timers = TimerWheel(self.clock)
        rows = [
            Route("/echo", lambda head, body: Response(body or b"-")),
            Route("/later", self.later),
            Route("/stream", lambda *_: StreamingResponse(self.take)),
            Route("/up", upgrade=self),
        ]
        self.service = Http1Service(
            Routes(rows),
            HttpLimits(max_head_size=300),
            self.timers,
            CommonHeaders(self.clock),
            lambda wire, data: self.taken_back.append(data),
            HeldBytes(self.clock, 4096),
            RequestLog(self.clock),
            alpn=alpn is not None,
            h2c=h2c,
            switch_to_http2=lambda wire, data: self.switched.append(("h2", data)),
            switch_to_app=(lambda wire, data: self.switched.append(("app", data)))
            if has_app
            else None,
        )
        self.wire = Wire(alpn)
        self.connection = Http1Connection(self.service)
        self.connection.connection_made(self.wire)

    def later(self, head, body):
        future = asyncio.get_running_loop().create_future()
        self.asked.append(future)
        return future

    def take(self, stream, head):
        stream.wire.set_protocol(self)
        self.stream = stream

    def answer(self, head, protocol=None):
        return empty(400) if head.query == "no" else "accepted"

    def open(self, head, acceptance, wire):
        self.opened.append(acceptance)

    def send(self, *parts):
        for part in parts:
            self.connection.data_received(part)

    @property
    def state(self):
        return self.connection._state


def get(path, body=b"", headers=""):
    size = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}{size}\r\n".encode() + body


# -- states


def test_a_connection_goes_round():
    stage = Stage()
    assert stage.state is ConnectionState.HEAD
    whole = get("/echo", b"abc")
    stage.send(whole[:10])
    assert stage.state is ConnectionState.HEAD
    stage.send(whole[10:-1])
    assert stage.state is ConnectionState.BODY
    stage.send(whole[-1:])
    assert stage.state is ConnectionState.IDLE
    stage.send(whole)
    stage.send(b"\r\n" + whole + b"\r\n")
    assert stage.state is ConnectionState.IDLE
    assert stage.wire.statuses == [200] * 3


async def test_later_answers_hold_up_what_follows():
    stage = Stage()
    stage.send(get("/later") + get("/echo"))
    assert stage.state is ConnectionState.HANDLING
    stage.send(get("/echo") * 8)
    stage.send(get("/echo"))
    assert stage.wire.events == ["pause_reading"]
    stage.asked[0].set_result(Response(b"late"))
    await asyncio.sleep(0)
    assert stage.wire.statuses == [200] * 11
    assert stage.wire.events == ["pause_reading", "resume_reading"]
    assert stage.state is ConnectionState.IDLE


async def test_an_answer_that_nobody_waits_for_is_thrown_away():
    stage = Stage()
    stage.send(get("/later"))
    assert stage.connection.eof_received()
    stage.connection.connection_lost(None)
    stage.asked[0].set_result(Response(b"late"))
    await asyncio.sleep(0)
    assert stage.wire.sent == b""
    assert stage.state is ConnectionState.GONE
    assert not stage.service.connections
    assert not stage.timers.num_armed


async def test_a_client_that_sends_no_more_gets_its_answer():
    stage = Stage()
    stage.send(get("/later"))
    assert stage.connection.eof_received()
    stage.asked[0].set_result(Response(b"late"))
    await asyncio.sleep(0)
    assert b"Connection: close" in stage.wire.sent
    assert stage.state is ConnectionState.ENDING
    assert not Stage().connection.eof_received()


BEFORE = {
    "new": ((), 10, "abort"),
    "in a head": ((b"GET /ec",), 10, "abort"),
    "in a body": ((b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12",), 30, None),
    "idle": ((b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n",), 60, "close"),
    "ending": ((b"nonsense\r\n\r\n",), 10, "abort"),
}
"""What was sent, the seconds that a client has from there, and what becomes of the wire."""


@pytest.mark.parametrize("name", BEFORE)
def test_each_state_has_its_time(name):
    parts, seconds, end = BEFORE[name]
    stage = Stage()
    stage.clock.advance(1.0)
    stage.send(*parts)
    already = len(stage.wire.events)
    passed = 1.0 if name in ("new", "in a head") else 0.0  # a head's time begins with its wire
    stage.clock.advance(seconds - passed - 0.1)
    assert stage.wire.events[already:] == []
    stage.clock.advance(0.2)
    if end is None:
        assert stage.wire.statuses == [408]
        assert stage.state is ConnectionState.ENDING
    else:
        assert stage.wire.events[already:] == [end]


def test_a_handler_has_any_time_and_a_reader_has_not():
    async def main():
        stage = Stage()
        stage.send(get("/later"))
        stage.clock.advance(10_000)
        assert stage.wire.events == []
        stage.connection.pause_writing()
        stage.clock.advance(9.9)
        assert stage.wire.events == ["pause_reading"]
        stage.clock.advance(0.2)
        assert stage.wire.events == ["pause_reading", "abort"]

    asyncio.run(main())


async def test_the_end_of_a_listener():
    new, idle, busy = Stage(), Stage(), Stage()
    new.send(b"GET /ec")
    idle.send(get("/echo"))
    busy.send(get("/later"))
    for stage in (new, idle, busy):
        stage.connection.shutdown()
    assert new.wire.events == ["close"]
    assert idle.wire.events == ["close"]
    assert busy.wire.events == []
    busy.asked[0].set_result(Response(b"late"))
    await asyncio.sleep(0)
    assert b"Connection: close" in busy.wire.sent
    assert busy.wire.events == ["write_eof"]
    idle.send(get("/echo"))
    assert idle.wire.statuses == [200]


def test_heads_are_remembered_within_bounds():
    cache = HeadCache()
    head, endpoint = parse_head(get("/echo")), Routes([]).find("/")
    for n in range(HeadCache.MAX_ENTRIES + 1):
        cache.add(b"%d" % n, head, endpoint)
    assert cache.get(b"0") is None
    assert cache.get(b"%d" % HeadCache.MAX_ENTRIES) == (head, endpoint)
    cache.add(b"x" * (HeadCache.MAX_SIZE + 1), head, endpoint)
    assert cache.get(b"x" * (HeadCache.MAX_SIZE + 1)) is None


# -- to other protocols


def test_an_upgrade_takes_the_wire():
    stage = Stage()
    stage.send(get("/up?no") + get("/echo"))
    assert stage.wire.statuses == [400, 200]
    stage.send(get("/up"))
    assert stage.opened == ["accepted"]
    assert stage.state is ConnectionState.GONE
    assert not stage.service.connections
    assert not stage.timers.num_armed


def test_frames_before_the_answer_are_not_answered():
    stage = Stage()
    stage.send(get("/up") + b"\x81\x80")
    assert stage.opened == []
    assert stage.wire.events == ["abort"]


@pytest.mark.parametrize("path", ["/up", "/elsewhere"])
def test_nobody_takes_a_wire_that_is_full(path):
    stage = Stage(has_app=True)
    write = stage.wire.write

    def fill(data):
        write(data)
        stage.connection.pause_writing()

    stage.wire.write = fill
    stage.send(get("/echo", b"a") + get(path))
    assert stage.wire.statuses == [200]
    assert not stage.opened
    assert not stage.switched
    stage.connection.resume_writing()
    assert len(stage.opened) + len(stage.switched) == 1


def test_what_no_row_has_goes_to_the_app_with_all_that_was_read():
    stage = Stage(has_app=True)
    data = get("/elsewhere", b"abc") + get("/echo")
    stage.send(data)
    assert stage.switched == [("app", data)]
    assert stage.state is ConnectionState.GONE


def test_http2_is_spoken_only_where_it_may_be():
    allowed, denied = Stage(h2c=True), Stage()
    allowed.send(PREFACE + b"more")
    denied.send(PREFACE)
    assert allowed.switched == [("h2", PREFACE + b"more")]
    assert denied.wire.statuses[0] in (400, 505)
    assert Stage(alpn="h2").switched == [("h2", b"")]
    assert Stage(alpn="http/1.1").switched == []


def test_a_stream_gives_the_connection_back():
    stage = Stage()
    stage.send(get("/stream"))
    assert stage.state is ConnectionState.GONE
    stage.stream.start(200, [("X-A", "1")], b"0\r\n\r\n")
    stage.stream.finish()
    assert stage.stream.release()
    assert stage.taken_back == [b""]
    assert not stage.stream.release()


@pytest.mark.parametrize(
    ("request_bytes", "ending"),
    [
        (get("/stream") + b"x", "close"),
        (get("/stream", headers="Connection: close\r\n"), "close"),
        (b"POST /stream HTTP/1.0\r\n\r\n", "close"),
    ],
)
def test_streams_after_which_nothing_can_follow(request_bytes, ending):
    stage = Stage()
    stage.send(request_bytes)
    stage.stream.start(200, [])
    assert f"Connection: {ending}".encode() in stage.wire.sent
    assert not stage.stream.release()


def test_a_stream_does_not_take_a_full_wire():
    stage = Stage()
    write = stage.wire.write

    def fill(data):
        write(data)
        stage.connection.pause_writing()

    stage.wire.write = fill
    stage.send(get("/echo", b"a") + get("/stream"))
    assert stage.wire.events == ["pause_reading", "abort"]


# -- heads


def test_repeated_headers_are_joined():
    head = parse_head(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\n\r\n")
    assert (head.path, head.query) == ("/a", "b=c")
    assert head.headers == {"host": "x", "x-a": "1, 3", "x-b": "2"}


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("Host: x\r\nHost: y\r\n", 400),
        ("", 400),
        ("Host: x\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("Host: x\r\nContent-Length: 99999999999999999999\r\n", 400),
    ],
)
def test_heads_that_are_refused(lines, status):
    with pytest.raises(BadRequestHead) as caught:
        parse_head(f"POST / HTTP/1.1\r\n{lines}\r\n".encode())
    assert caught.value.status == status


@pytest.mark.parametrize("body", [b"", b"x"])
@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", "", True),
        ("1.1", "close", False),
        ("1.1", "Upgrade, Close", False),
        ("1.1", "Upgrade", True),
        ("1.0", "", False),
        ("1.0", "Keep-Alive", True),
    ],
)
def test_whether_another_request_may_follow(version, connection, kept, body):
    headers = f"Connection: {connection}\r\n" if connection else ""
    stage = Stage()
    stage.send(get("/echo", body, headers).replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
    assert stage.wire.statuses == [200]
    assert stage.state is (ConnectionState.IDLE if kept else ConnectionState.ENDING)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/a/b?c?d", ("/a/b", "c?d")),
        ("http://x/a?b", ("/a", "b")),
        ("http://x?b", ("/", "b")),
        ("*", ("*", "")),
        ("x:443", ("x:443", "")),
        ("/a://b", ("/a://b", "")),
    ],
)
def test_targets(target, found):
    assert split_target(target) == found
