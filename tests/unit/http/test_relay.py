"""Requests that another process answers: what becomes of them when it, or the client, does not."""

import asyncio
import contextlib

import pytest
from waiting import PATIENCE, until

from flyball.aio.lines import RepeatedLines
from flyball.aio.timers import TimerWheel
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import RequestHead
from flyball.http.relay import HAD, OtherProcess, encode_request, had_at_once, relayed
from flyball.http.routes import Route, Routes
from flyball.http.streams import StreamingResponse
from flyball.testing.clock import TestClock

REQUEST = b"POST /x?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"


class Other:
    """The other process: a test says what it answers."""

    def __init__(self):
        self.connections = []
        self.requests = b""
        self.ended = 0

    async def serve(self, reader, writer):
        self.connections.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.requests += data
        self.ended += 1
        writer.close()
        await writer.wait_closed()

    def say(self, data):
        self.connections[-1].write(data)


class Stage:
    """A port, the other process, and the way between them."""

    def __init__(self, path, clock):
        self.clock = clock
        self.path, self.other = path, Other()
        self.timers = TimerWheel(clock)
        self.lines = RepeatedLines(self.timers)
        self.clients = []
        self.wires = []
        self.head = None
        """In place of the one that came."""
        rows = [Route("/x", self.relay)]
        self.listener = Listener(ListenerOptions("127.0.0.1"), Routes(rows), self.timers)

    def relay(self, _head, body):
        answer = relayed(OtherProcess("worker 2", self.path), self.timers, self.lines, body)

        def take(stream, head):
            self.wires.append(stream.wire)
            answer.take(stream, self.head or head)

        return StreamingResponse(take)

    @property
    def half_closed(self):
        """The last client is known to send no more."""
        return self.wires[-1].get_protocol()._is_half_closed

    async def dial(self, request=REQUEST):
        """Asks; returns the client's reader and writer once the other process was asked."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port, limit=2**24)
        self.clients.append(writer)
        known = len(self.other.requests)
        writer.write(request)
        await until(lambda: len(self.other.requests) > known or not self.server)
        return reader, writer


@pytest.fixture
async def stage(tmp_path):
    stage = Stage(tmp_path / "sock", TestClock())
    stage.server = await asyncio.start_unix_server(stage.other.serve, str(stage.path))
    await stage.listener.start()
    yield stage
    if stage.server:
        stage.server.close()
    for writer in (*stage.clients, *stage.other.connections):
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    await stage.listener.close(grace=0.1)
    await until(lambda: stage.other.ended == len(stage.other.connections), "end of all relays")
    await until(
        lambda: not stage.timers.num_armed,
        "end of all time limits",
        meanwhile=lambda: stage.clock.advance(20),
    )


async def answer(reader):
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode()
    return head, dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])


def test_what_belongs_to_a_connection_stays_there():
    headers = {"host": "h", "connection": "x", "x-flyball-peer": "lie", "te": "t", "a": "b"}
    sent = encode_request(RequestHead("GET", "/p", "q=1", headers), b"", "1.2.3.4:5")
    assert sent == (
        b"GET /p?q=1 HTTP/1.1\r\nhost: h\r\na: b\r\nx-flyball-peer: 1.2.3.4:5\r\n"
        b"connection: close\r\ncontent-length: 0\r\n\r\n"
    )


async def test_a_whole_answer_leaves_the_connection_for_the_next_request(stage):
    reader, writer = await stage.dial()
    assert stage.other.requests.startswith(b"POST /x?q=1 HTTP/1.1\r\nhost: h\r\n")
    assert stage.other.requests.endswith(b"\r\n\r\nhi")
    stage.other.say(b"HTTP/1.1 201 Created\r\nContent-Type: text/x\r\nX-Y: z\r\nDate: old\r\n")
    stage.other.say(b"Content-Length: 3\r\nConnection: close\r\n\r\nyes")
    head, fields = await answer(reader)
    assert head.startswith("HTTP/1.1 201 ")
    assert fields.pop("Date") != "old"
    assert fields == {"Content-Type": "text/x", "X-Y": "z", "Content-Length": "3"}
    assert await reader.readexactly(3) == b"yes"
    stage.other.connections[-1].close()
    known = len(stage.other.connections)
    writer.write(REQUEST)
    await until(lambda: len(stage.other.connections) > known)
    stage.other.say(b"HTTP/1.1 204 No Content\r\n\r\n")
    head, fields = await answer(reader)
    assert head.startswith("HTTP/1.1 204 ")


async def test_a_stream_comes_as_it_is_made(stage):
    reader, _ = await stage.dial()
    stage.other.say(STREAM)
    _, fields = await answer(reader)
    assert fields["Transfer-Encoding"] == "chunked"
    assert fields["Content-Type"] == "text/x"
    assert await reader.readexactly(7) == b"2\r\nab\r\n"
    stage.other.say(b"3\r\ncde\r\n0\r\n\r\n")
    assert await reader.readexactly(13) == b"3\r\ncde\r\n0\r\n\r\n"
    stage.other.connections[-1].close()


async def test_a_client_of_http_1_0_gets_no_chunks(stage):
    reader, _ = await stage.dial(REQUEST.replace(b"1.1", b"1.0", 1))
    stage.other.say(STREAM + b"0\r\n\r\n")
    await answer(reader)
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b"ab"


async def test_a_process_that_is_not_there(stage, caplog):
    stage.server.close()
    await stage.server.wait_closed()
    stage.server = None
    stage.path.unlink(missing_ok=True)
    reader, _ = await stage.dial()
    head, _ = await answer(reader)
    assert head.startswith("HTTP/1.1 503 ")
    assert "worker 2 cannot be reached: No such file or directory" in caplog.text


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_a_process_that_ends_before_it_answers(stage, caplog, said):
    reader, _ = await stage.dial()
    stage.other.say(said)
    stage.other.connections[-1].close()
    head, _ = await answer(reader)
    assert head.startswith("HTTP/1.1 503 ")
    (record,) = caplog.records
    reason = "gives an answer that cannot be read" if b"nonsense" in said else "ended before"
    assert record.getMessage().startswith(f"worker 2 {reason}")


async def test_a_process_that_ends_within_a_stream(stage):
    reader, _ = await stage.dial()
    stage.other.say(STREAM)
    await answer(reader)
    stage.other.connections[-1].close()
    # Without a last chunk: the client can tell it from a whole answer.
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b"2\r\nab\r\n"


async def test_a_client_that_leaves_ends_the_request(stage):
    _, writer = await stage.dial()
    stage.other.say(HAD)
    writer.transport.abort()
    await until(lambda: stage.other.ended == 1)


async def test_what_comes_before_the_answer_ends_the_connection_after_it(stage):
    reader, writer = await stage.dial()
    writer.write(REQUEST)
    await asyncio.sleep(0)
    stage.other.say(STREAM)
    await answer(reader)
    await reader.readexactly(7)
    stage.other.say(b"0\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b"0\r\n\r\n"


async def test_a_client_that_takes_nothing_slows_the_process_down(stage):
    reader, writer = await stage.dial()
    writer.transport.pause_reading()
    stage.other.say(STREAM)
    piece = b"10000\r\n" + bytes(65536) + b"\r\n"
    source = stage.other.connections[-1]
    sent = 0
    while source.transport.get_write_buffer_size() < 4 * len(piece):  # it is not read from
        source.write(piece)
        sent += 65536
        await asyncio.sleep(0)
    writer.transport.resume_reading()
    source.write(b"0\r\n\r\n")
    await answer(reader)
    received = await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), PATIENCE)  # all of it
    assert len(received) > sent
    writer.close()


async def test_a_client_that_takes_nothing_for_long_is_given_up(stage):
    _, writer = await stage.dial()
    writer.transport.pause_reading()
    stage.other.say(STREAM)
    piece = b"10000\r\n" + bytes(65536) + b"\r\n"
    source = stage.other.connections[-1]
    while source.transport.get_write_buffer_size() < 4 * len(piece):  # it is not read from
        source.write(piece)
        await asyncio.sleep(0)
    await until(
        source.transport.is_closing,
        "end of the relay",
        meanwhile=lambda: stage.clock.advance(1),
    )


async def test_a_process_is_left_once_its_answer_is_there(stage):
    reader, writer = await stage.dial()
    writer.transport.pause_reading()
    stage.other.say(STREAM)
    source = stage.other.connections[-1]
    while not stage.wires[-1].get_write_buffer_size():
        source.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        await asyncio.sleep(0)
    source.write(b"18000\r\n" + bytes(0x18000) + b"\r\n0\r\n\r\n")  # fills the wire, and is the end
    source.write_eof()
    await until(lambda: stage.wires[-1].get_write_buffer_size() > 0x18000)
    writer.transport.resume_reading()
    await answer(reader)
    await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), PATIENCE)
    await until(lambda: stage.other.ended == 1, "end of the relay")


async def test_a_client_without_a_host_is_heard(stage):
    await stage.dial(b"POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
    assert b"\r\nhost: \r\n" in stage.other.requests
    stage.other.connections[-1].close()


async def test_a_process_that_stands_still(stage, caplog):
    reader, _ = await stage.dial()
    told = asyncio.ensure_future(answer(reader))
    await until(told.done, "an answer", meanwhile=lambda: stage.clock.advance(1))
    assert told.result()[0].startswith("HTTP/1.1 504 Gateway Timeout")
    assert "worker 2 does not answer a request within 10 s" in caplog.text
    await until(lambda: stage.other.ended == 1, "end of the relay")


async def test_a_process_that_has_the_request_may_take_its_time(stage):
    reader, _ = await stage.dial()
    stage.other.say(HAD)
    told = asyncio.ensure_future(answer(reader))
    await until(lambda: not stage.timers.num_armed, meanwhile=lambda: stage.clock.advance(1))
    stage.clock.advance(100)
    assert not told.done()
    stage.other.say(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
    assert (await told)[0].startswith("HTTP/1.1 200 ")
    assert await reader.readexactly(3) == b"yes"
    stage.other.connections[-1].close()


@pytest.mark.parametrize("when", ["at once", "later", "never"])
async def test_a_process_says_that_it_has_a_request(when):
    class Stream:
        def __init__(self):
            self.written, self.listeners, self.wire = [], [], self
            self.tell_status, self.write = self.listeners.append, self.written.append

        def is_closing(self):
            return when == "never"

    def take(stream, _head):
        if when == "at once":
            stream.listeners[0](200)

    stream = Stream()
    had_at_once(StreamingResponse(take)).take(stream, None)
    assert stream.written == ([HAD] if when == "later" else [])


async def test_a_client_that_sends_no_more_is_answered(stage):
    reader, writer = await stage.dial()
    writer.write_eof()
    await until(lambda: stage.half_closed, "its end")
    stage.other.say(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
    head, fields = await answer(reader)
    assert head.startswith("HTTP/1.1 200 ")
    assert fields["Connection"] == "close"
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b"yes"


async def test_a_client_that_sends_no_more_gets_what_a_stream_begins_with(stage):
    reader, writer = await stage.dial()
    writer.write_eof()
    await until(lambda: stage.half_closed, "its end")
    stage.other.say(STREAM)
    await answer(reader)
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b"2\r\nab\r\n"
    await until(lambda: stage.other.ended == 1, "end of the relay")


@pytest.mark.parametrize("first", ["client", "process"])
async def test_a_client_that_sends_no_more_waits_for_nothing(stage, first):
    """A page that is closed ends so: what comes later must not be lost with it."""
    reader, writer = await stage.dial()
    if first == "process":
        stage.other.say(HAD)
        await until(lambda: not stage.timers.num_armed, meanwhile=lambda: stage.clock.advance(1))
    writer.write_eof()
    if first == "client":
        await until(lambda: stage.half_closed, "its end")
        stage.other.say(HAD)
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    await until(lambda: stage.other.ended == 1, "end of the relay")


HOSTILE = "a\r\nX: y", "a\nX: y", "a\rb", "a\x00b", "a\x7fb"
"""What would end a line, or be read in two ways."""


@pytest.mark.parametrize(
    "head",
    [
        *(RequestHead("GET", f"/{text}", headers={"host": "h"}) for text in (*HOSTILE, "a b")),
        *(RequestHead("GET", "/p", text, headers={"host": "h"}) for text in (*HOSTILE, "a b")),
        *(RequestHead(text, "/p", headers={"host": "h"}) for text in (*HOSTILE, "G /x", "")),
        *(RequestHead("GET", "/p", headers={"x": text}) for text in HOSTILE),
        *(RequestHead("GET", "/p", headers={text: "x"}) for text in (*HOSTILE, "a b", "a:b", "")),
    ],
    ids=repr,
)
def test_a_head_that_would_be_another(head):
    with pytest.raises(ValueError, match="no head"):
        encode_request(head, b"", "1.2.3.4:5")


async def test_a_head_that_would_be_another_is_refused(stage):
    stage.head = RequestHead("POST", "/x\r\n\r\nGET /y", headers={"host": "h"})
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.listener.port)
    stage.clients.append(writer)
    writer.write(REQUEST)
    assert (await answer(reader))[0].startswith("HTTP/1.1 400 ")
    assert not stage.other.requests


async def test_a_process_that_does_not_take_the_request(stage, tmp_path):
    ends = []
    stage.path = tmp_path / "stands"
    stands = await asyncio.start_unix_server(lambda _, writer: ends.append(writer), stage.path)
    body = bytes(2**20)
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.listener.port)
    writer.write(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await until(lambda: ends, "the request")
    told = asyncio.ensure_future(answer(reader))
    await until(told.done, "an answer", meanwhile=lambda: stage.clock.advance(1))
    assert told.result()[0].startswith("HTTP/1.1 504 ")
    for each in (writer, *ends):
        each.close()
        await asyncio.gather(each.wait_closed(), return_exceptions=True)
    stands.close()
