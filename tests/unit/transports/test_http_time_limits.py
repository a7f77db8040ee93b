"""Nobody makes a server wait for the rest of a request, or for the taking of an answer."""

import asyncio
import ssl

import h2.settings
import pytest
from certificates import self_signed
from streamclients import dial_h2, dial_h3
from waiting import time_flies, until
from wsclient import RawClient

from flyball.aio.timers import TimerWheel
from flyball.http.http3.listener import Http3Listener, Http3Options
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import HttpLimits, Response
from flyball.http.routes import Route, Routes
from flyball.testing.clock import TestClock

LIMITS = HttpLimits(head_timeout=0.2)
"""Handshakes of TLS are limited by the event loop, on the real clock."""


async def app(scope, receive, send):
    if scope["method"] == "POST":
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(100):
        await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Stage:
    def __init__(self, tcp, udp):
        self.tcp, self.udp = tcp, udp

    def dial(self, version):
        """A client of HTTP/2 or HTTP/3 that gives a stream credit for 1000 bytes, once."""
        if version == "2":
            window = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
            return dial_h2(self.tcp.port, settings={window: 1000})
        return dial_h3(self.udp.port, max_stream_data=1000)

    async def until_quiet(self, client):
        """Nothing is kept for the only connection, which lives."""
        service = self.tcp._http2 if self.tcp._http2.connections else self.udp.service
        (connection,) = service.connections
        await until(
            lambda: not (connection.streams or service.tasks or self.kept(connection)),
            "end of what is kept",
        )
        assert not client.lost

    @staticmethod
    def kept(connection):
        if hasattr(connection, "_unsent"):
            return connection._unsent
        own = [stream_id for stream_id in connection._quic._streams if stream_id % 4 == 0]
        return sum(map(connection.unsent, own)) or connection._ending


@pytest.fixture(params=["2", "3"])
def version(request):
    return request.param


@pytest.fixture
async def stage(tmp_path):
    clock = TestClock()
    pem, key = self_signed()
    (tmp_path / "pem").write_bytes(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    routes = Routes([Route("/route", lambda *_: Response(b"x" * 200_000))], app=app)
    options = ListenerOptions("127.0.0.1", ssl_context=context, http=LIMITS)
    tcp = Listener(options, routes, TimerWheel(clock))
    udp = Http3Listener(Http3Options("127.0.0.1", 0, pem, key), routes, timers=TimerWheel(clock))
    await tcp.start()
    await udp.start()
    async with time_flies(clock):
        yield Stage(tcp, udp)
    while RawClient.opened:
        client = RawClient.opened.pop()
        client.writer.transport.abort()
        await client.close()
    for listener in (tcp, udp):
        await listener.close(grace=0.2)
    await until(lambda: not tcp.timers.num_armed and not udp.timers.num_armed, "end of the timers")


@pytest.mark.parametrize("path", ["/route", "/app"])
async def test_bodies_that_drip(stage, version, path):
    async with stage.dial(version) as client:
        stream = client.ask("POST", path, end=False)
        await until(lambda: stream.head, "answer", meanwhile=lambda: stream.send(b"x"))
        assert stream.status == 408
        await stream.complete()
        await stage.until_quiet(client)


@pytest.mark.parametrize("path", ["/route", "/app"])
async def test_answers_that_are_not_taken(stage, version, path):
    async with stage.dial(version) as client:
        client.acknowledges = False
        if version == "3":
            client._quic._write_stream_limits = lambda *_, **__: None
        streams = [client.ask("GET", path) for _ in range(3)]
        for stream in streams:
            await stream.until(lambda stream=stream: stream.was_reset)
        await stage.until_quiet(client)


async def test_chunks_that_drip():
    clock = TestClock()
    routes = Routes([Route("/route", lambda *_: Response())])
    listener = Listener(ListenerOptions("127.0.0.1"), routes, TimerWheel(clock))
    await listener.start()
    client = await RawClient.open(listener.port)
    client.send(b"POST /route HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    head = asyncio.ensure_future(client.head())

    def drip():
        client.send(b"1\r\nx\r\n")
        clock.advance(1.0)

    await until(head.done, "answer", meanwhile=drip)
    assert (await head).startswith(b"HTTP/1.1 408 ")
    client.writer.transport.abort()
    await client.close()
    await listener.close(grace=0.1)


async def test_handshakes_that_do_not_end(stage):
    client = await RawClient.open(stage.tcp.port)
    assert await client.rest() == b""
