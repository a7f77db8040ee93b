"""Who comes to a TLS port, and what the log is told of those who do not speak it."""

import asyncio
import logging
import ssl

import pytest
from certificates import self_signed
from waiting import PATIENCE, until

from flyball.aio.timers import TimerWheel
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import Response
from flyball.http.routes import Route, Routes
from flyball.testing.clock import TestClock

REQUEST = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def contexts(tmp_path, *, version=ssl.TLSVersion.TLSv1_3):
    pem, key = self_signed()
    (tmp_path / "pem").write_bytes(pem + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "pem")
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = version
    return server, client


@pytest.fixture
async def port(tmp_path):
    """A TLS port, on a clock that stands."""
    server, _ = contexts(tmp_path)
    timers = TimerWheel(TestClock())
    rows = [Route("/echo", lambda head, body: Response(b"hello"), methods=("GET",))]
    listener = Listener(ListenerOptions("127.0.0.1", ssl_context=server), Routes(rows), timers)
    await listener.start()
    yield listener
    await listener.close()
    assert not listener._doors.open
    assert not listener._doors.handshakes


async def say(port, data, **options):
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        writer.write(data)
        answer = await reader.read()
        writer.close()
        return answer


async def test_tls_in_one_piece_and_byte_by_byte(port, tmp_path):
    _, client = contexts(tmp_path)
    assert (await say(port.port, REQUEST, ssl=client)).endswith(b"hello")
    # A client whose first flight comes in pieces, and whose request comes with its last one.
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client.wrap_bio(incoming, outgoing)
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0)
                incoming.write(await reader.read(65536))
        tls.write(REQUEST)
        writer.write(outgoing.read())
        answer = b""
        while b"hello" not in answer:
            incoming.write(await reader.read(65536))
            try:
                answer += tls.read(65536)
            except ssl.SSLWantReadError:
                continue
    writer.close()


async def test_plain_http_is_answered_and_told(port, caplog):
    caplog.set_level(logging.INFO, "flyball.http")
    answer = await say(port.port, REQUEST)
    assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert b"Client sent an HTTP request to an HTTPS server." in answer
    (line,) = caplog.messages
    assert line.startswith("plain HTTP on a TLS port from 127.0.0.1:")


async def test_lines_are_one_a_second_with_a_count(port, caplog):
    caplog.set_level(logging.INFO, "flyball.http")
    for _ in range(5):
        await say(port.port, REQUEST)
    assert len(caplog.messages) == 1
    port.timers.clock.advance(1.0)
    await say(port.port, REQUEST)
    assert caplog.messages[-1].endswith("(4 more since the last line)")


async def test_what_is_neither(port, caplog):
    caplog.set_level(logging.INFO, "flyball.http")
    assert await say(port.port, b"\x00\x01\x02") == b""
    (line,) = caplog.messages
    assert line.startswith("no TLS on a TLS port from 127.0.0.1:")


async def test_a_handshake_that_fails_is_told_with_the_reason(port, tmp_path, caplog):
    caplog.set_level(logging.INFO, "flyball.http")
    _, old = contexts(tmp_path, version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(OSError):
        await say(port.port, REQUEST, ssl=old)
    await say(port.port, b"\x16\x03\x01\x00\x05hello")
    await until(lambda: caplog.messages)
    assert caplog.messages[0].startswith("a TLS handshake failed from 127.0.0.1:")
    assert ": " in caplog.messages[0].split("127.0.0.1:")[1]


async def test_nobody_waits_for_ever_at_the_door(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    await until(lambda: port._doors.open)
    port.timers.clock.advance(11.0)
    with pytest.raises((ConnectionError, EOFError)):
        async with asyncio.timeout(PATIENCE):
            await reader.readexactly(1)
    writer.close()


async def test_the_end_of_the_port_is_the_end_of_its_doors(port):
    writers = []
    for data in (b"", b"\x16\x03\x01\x02"):
        _, writer = await asyncio.open_connection("127.0.0.1", port.port)
        writer.write(data)
        writers.append(writer)
    await until(lambda: len(port._doors.open) == 2 and port._doors.handshakes)
    await port.close()
    for writer in writers:
        writer.close()
