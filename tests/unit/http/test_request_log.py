"""What the log is told of requests."""

import asyncio
import logging

import pytest
from waiting import PATIENCE

from flyball.aio.timers import TimerWheel
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import Response, empty
from flyball.http.request_log import MAX_KINDS, RequestLog
from flyball.http.routes import Route, Routes
from flyball.http.streams import StreamingResponse
from flyball.testing.clock import TestClock

GET = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def stream(stream, head):
    stream.start(200, ())
    stream.finish()
    stream.wire.close()


@pytest.fixture
async def port():
    refusal = Response(b"", 401, "", why="a wrong API key")
    rows = [
        Route("/echo", lambda head, body: Response(b"hello")),
        Route("/stream", lambda head, body: StreamingResponse(stream)),
        Route("/key", lambda head, body: empty(200), admit=lambda head: refusal),
    ]
    counts = {}
    routes = Routes(rows, counts=counts)
    listener = Listener(ListenerOptions("127.0.0.1"), routes, TimerWheel(TestClock()))
    await listener.start()
    yield listener.port
    await listener.close()


async def ask(port, data):
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        answer = await reader.read()
        writer.close()
        return answer


async def test_one_line_a_request_at_debug(port, caplog):
    caplog.set_level(logging.DEBUG, "flyball.http")
    for path in (b"/echo", b"/echo", b"/stream", b"/none"):
        await ask(port, GET % path)
    told = [line.rsplit(":", 1)[0] for line in caplog.messages]
    assert told == [
        "GET /echo 200 from 127.0.0.1",
        "GET /echo 200 from 127.0.0.1",
        "GET /stream 200 from 127.0.0.1",
        "GET /none 404 from 127.0.0.1",
    ]
    assert all(line.endswith(" ms") for line in caplog.messages)


async def test_none_at_info(port, caplog):
    caplog.set_level(logging.INFO, "flyball.http")
    await ask(port, GET % b"/echo")
    assert not caplog.messages


async def test_a_request_without_the_key_is_told_with_the_reason(port, caplog):
    caplog.set_level(logging.INFO, "flyball.http")
    await ask(port, GET % b"/key")
    await ask(port, GET % b"/key")
    (line,) = caplog.messages
    assert line.startswith("HTTP 401 from 127.0.0.1:")
    assert line.endswith(": a wrong API key: GET /key")


async def test_what_is_not_http_is_told(port, caplog):
    caplog.set_level(logging.INFO, "flyball.http")
    await ask(port, b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
    (line,) = caplog.messages
    assert line.startswith("a request that is not HTTP from 127.0.0.1:")


def test_kinds_are_bounded(caplog):
    caplog.set_level(logging.INFO, "flyball.http")
    log = RequestLog(TestClock())

    class Wire:
        def get_extra_info(self, name):
            return None

    for number in range(MAX_KINDS + 10):
        log.refused(f"kind {number}", Wire())
    assert len(caplog.messages) == MAX_KINDS
