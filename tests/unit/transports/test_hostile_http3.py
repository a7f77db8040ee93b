"""Rude connections of HTTP/3 and WebTransport: nothing raises, nothing stays behind."""

import asyncio
import contextlib
import itertools
import random
import socket
import ssl

import pylsqpack
import pytest
from aioquic.buffer import encode_uint_var as varint
from aioquic.h3.connection import H3_ALPN, encode_frame
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from hostile import CONNECT, WEBTRANSPORT, nothing_stays_behind, tls_server
from quicclient import dial, vanish
from waiting import PATIENCE

LOOPS = ("uvloop",)

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0, 1, 3, 4, 5, 7, 13
"""Frame types."""
LINES = CONNECT + b"\n"


@pytest.fixture
async def server(tmp_path, monkeypatch):
    async with tls_server(tmp_path, monkeypatch) as server:
        yield server


# -- packets


def packets_of(server, until):
    """Packets of a client's handshake that stops at a step, and the socket it came from."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE
    )
    quic = QuicConnection(configuration=configuration)
    address = ("127.0.0.1", server.port)
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.setblocking(False)
    quic.connect(address, now=0.0)

    async def run():
        loop = asyncio.get_running_loop()
        sent = []
        for step in range(until):
            if step:
                async with asyncio.timeout(PATIENCE):
                    quic.receive_datagram(await loop.sock_recv(wire, 65536), address, now=0.0)
            for packet, _ in quic.datagrams_to_send(now=0.0):
                sent.append(packet)
                wire.sendto(packet, address)
        return sent

    return wire, run


async def test_handshakes_that_stop(server, caplog):
    async with nothing_stays_behind(server, caplog):
        for until in range(1, 5):  # the first packet, after the retry, in the keys, done
            wire, run = packets_of(server, until)
            with wire:
                assert await run()


async def test_broken_packets(server, caplog):
    chance = random.Random(7)
    async with nothing_stays_behind(server, caplog):
        wire, run = packets_of(server, 3)
        with wire:
            packets = await run()
            strange = [b"", b"\x00", b"\x40", b"\xff" * 1200, b"\xc0\x00\x00\x00\x00" + bytes(1200)]
            strange += [b"\xc0\x1a\x2a\x3a\x4a" + bytes(1200), bytes(65000)]
            for packet in packets:
                strange += [packet[: len(packet) // part] for part in (2, 10, 100)]
                strange += [packet + packet, packet + b"\xff" * 50, packet[::-1]]
                for _ in range(30):
                    at = chance.randrange(len(packet))
                    strange.append(packet[:at] + bytes((packet[at] ^ 0xFF,)) + packet[at + 1 :])
            strange += [chance.randbytes(chance.randrange(1, 1500)) for _ in range(200)]
            for packet in strange:
                wire.sendto(packet, ("127.0.0.1", server.port))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    other.sendto(packet, ("127.0.0.1", server.port))
            async with dial(server.port) as client:  # its packets come behind these
                assert await client.request() == 200


async def test_packets_seen_again(server, caplog):
    """A recorded handshake makes no connections, wherever it comes from."""
    async with nothing_stays_behind(server, caplog):
        wire, run = packets_of(server, 4)
        with wire:
            packets = await run()
            for _ in range(20):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    for packet in packets:
                        other.sendto(packet, ("127.0.0.1", server.port))
            async with dial(server.port):  # its packets come behind these
                assert len(server.listeners[1].service.connections) <= 2


# -- streams


def bidi(client, data, *, end=False):
    """A stream of both directions with any bytes."""
    stream = client._quic.get_next_available_stream_id()
    client._quic.send_stream_data(stream, data, end)
    return stream


def uni(client, data, *, end=False):
    """A stream of one direction with any bytes."""
    stream = client._quic.get_next_available_stream_id(is_unidirectional=True)
    client._quic.send_stream_data(stream, data, end)
    return stream


def head(*fields, method=b"GET", path=b"/health"):
    """A request head as a frame."""
    pseudo = [(b":method", method), (b":scheme", b"https"), (b":path", path)]
    _, block = pylsqpack.Encoder().encode(0, [*pseudo, (b":authority", b"x"), *fields])
    return encode_frame(HEADERS, block)


def control(client, data, *, end=False):
    """More on the client's control stream."""
    client._quic.send_stream_data(client.http._local_control_stream_id, data, end)


def raw_head(block):
    return encode_frame(HEADERS, block)


def beyond_the_window(client):
    quic = client._quic
    quic._remote_max_data = quic._remote_max_stream_data_uni = 2**40
    stream = quic._streams[uni(client, b"\x21")]
    stream.sender._buffer_start = stream.sender._buffer_stop = stream.sender.highest_offset = 2**30
    stream.sender.write(b"x")


def too_many_streams(client):
    client._quic._remote_max_streams_bidi = 2**40
    client._quic.send_stream_data(4 * 100_000, b"x")


FRAME_UNEXPECTED, FRAME_ERROR, EXCESSIVE_LOAD, ID_ERROR = 0x105, 0x106, 0x107, 0x108
CREATION_ERROR, CLOSED_CRITICAL_STREAM, SETTINGS_ERROR, MESSAGE_ERROR = 0x103, 0x104, 0x109, 0x10E
QPACK_FAILED, ENCODER_STREAM, DECODER_STREAM = 0x200, 0x201, 0x202
QUIC_FLOW_CONTROL, QUIC_STREAM_LIMIT = 0x3, 0x4

ENDS = {
    "noise": (lambda c: bidi(c, b"\xff" * 5000), None),
    "data before a head": (
        lambda c: bidi(c, encode_frame(DATA, b"x")),
        FRAME_UNEXPECTED,
    ),
    "a broken head": (lambda c: bidi(c, raw_head(b"\xff" * 30)), QPACK_FAILED),
    "a huge frame": (lambda c: bidi(c, varint(HEADERS) + varint(2**30) + bytes(90_000)), None),
    "frames of HTTP/2": (lambda c: bidi(c, encode_frame(6, bytes(8))), FRAME_UNEXPECTED),
    "settings on a request": (lambda c: bidi(c, encode_frame(SETTINGS, b"")), FRAME_UNEXPECTED),
    "a promise": (lambda c: bidi(c, encode_frame(PUSH_PROMISE, b"\0")), FRAME_UNEXPECTED),
    "capitals": (lambda c: bidi(c, head((b"X", b"y"))), MESSAGE_ERROR),
    "a header of HTTP/1": (lambda c: bidi(c, head((b"connection", b"x"))), MESSAGE_ERROR),
    "a line end in a value": (lambda c: bidi(c, head((b"x", b"a\r\nb"))), MESSAGE_ERROR),
    "a path twice": (lambda c: bidi(c, head((b":path", b"/"))), MESSAGE_ERROR),
    "a bad length": (lambda c: bidi(c, head((b"content-length", b"-1"))), MESSAGE_ERROR),
    "another length": (
        lambda c: bidi(c, head((b"content-length", b"9"), method=b"POST"), end=True),
        MESSAGE_ERROR,
    ),
    "three heads": (lambda c: bidi(c, head() * 3), None),
    "a second control stream": (lambda c: uni(c, b"\0" + encode_frame(4, b"")), CREATION_ERROR),
    "a push by the client": (lambda c: uni(c, b"\1\0"), CREATION_ERROR),
    "the control stream ends": (lambda c: control(c, b"", end=True), CLOSED_CRITICAL_STREAM),
    "settings twice": (lambda c: control(c, encode_frame(SETTINGS, b"")), FRAME_UNEXPECTED),
    "data on the control stream": (lambda c: control(c, encode_frame(DATA, b"")), FRAME_UNEXPECTED),
    "a broken push number": (lambda c: control(c, encode_frame(MAX_PUSH_ID, b"")), FRAME_ERROR),
    "junk for the encoder": (
        lambda c: c._quic.send_stream_data(c.http._local_encoder_stream_id, b"\xff" * 100),
        ENCODER_STREAM,
    ),
    "junk for the decoder": (
        lambda c: c._quic.send_stream_data(c.http._local_decoder_stream_id, b"\xff" * 100),
        DECODER_STREAM,
    ),
    "too much data": (beyond_the_window, QUIC_FLOW_CONTROL),
    "too many streams": (too_many_streams, QUIC_STREAM_LIMIT),
    "many requests taken back": (
        lambda c: [c._quic.reset_stream(bidi(c, b""), 0x10C) for _ in range(100)],
        None,
    ),
}
"""What a client does that should end its connection, and the code (None: any, or it goes on)."""

GOES_ON = {
    "a goodbye": lambda c: control(c, encode_frame(GOAWAY, b"\0")),
    "a cancelled push": lambda c: control(c, encode_frame(CANCEL_PUSH, b"\0")),
    "an unknown frame": lambda c: control(c, encode_frame(0x21, b"x" * 100)),
    "an unknown frame of a request": lambda c: bidi(c, encode_frame(0x21, b"x") + head()),
    "an unknown stream": lambda c: uni(c, b"\x21" + bytes(100)),
    "half a stream type": lambda c: uni(c, b"\x40"),
    "half a frame": lambda c: bidi(c, head()[:5]),
    "half a frame that ends": lambda c: bidi(c, head()[:1]),
    "an empty stream": lambda c: bidi(c, b"", end=True),
    "a request without an end": lambda c: bidi(c, head(method=b"POST", path=b"/emulation")),
    "idle streams": lambda c: [
        bidi(c, head(method=b"POST", path=b"/emulation")) for _ in range(60)
    ],
    "a reset without data": lambda c: c._quic.reset_stream(bidi(c, b""), 0),
    "answers not wanted": lambda c: c._quic.stop_stream(bidi(c, head(), end=True), 0x10C),
    "a datagram": lambda c: c._quic.send_datagram_frame(b"\0" + b"x" * 100),
    "half a datagram": lambda c: c._quic.send_datagram_frame(b"\x7f\xff"),
    "a stream of no session": lambda c: bidi(c, varint(0x41) + varint(400) + b"x" * 100),
    "a stream of a request": lambda c: bidi(c, varint(0x41) + varint(bidi(c, head(), end=True))),
    "half a session's stream": lambda c: bidi(c, varint(0x41)),
    "one-way streams of no session": lambda c: uni(c, varint(0x54) + varint(400) + b"x" * 100),
}
"""What is strange, and no reason to end a connection."""


async def test_connections_that_break_the_rules(server, caplog):
    wrong = {}

    async def visit(name, act, code):
        async with dial(server.port) as client:
            act(client)
            client.transmit()
            with contextlib.suppress(AssertionError):
                await client.until(lambda: client.terminated or code is None, "end")
            found = client.terminated and client.terminated.error_code
            if code is not None and found != code:
                wrong[name] = found

    async with nothing_stays_behind(server, caplog):
        await asyncio.gather(*(visit(name, *rude) for name, rude in ENDS.items()))
    assert not wrong


async def test_connections_that_are_strange(server, caplog):
    async def visit(name, act):
        async with dial(server.port) as client:
            act(client)
            client.transmit()
            with contextlib.suppress(AssertionError):
                await client.request()
            if client.session not in client.answers:
                wrong[name] = client.terminated

    wrong = {}
    async with nothing_stays_behind(server, caplog):
        await asyncio.gather(*(visit(name, act) for name, act in GOES_ON.items()))
    assert not wrong


# -- WebTransport sessions


async def requested(client):
    assert await client.request() == 200


async def opened(client):
    await client.open()


async def half(client):
    await client.open()
    client.send(CONNECT[:30])


async def joined(client):
    await client.open()
    client.send(LINES)
    await client.until(lambda: '"id":2' in client.text, "replies")


STAGES = (requested, opened, half, joined)


def says(data, *, end=False):
    """Sends on the stream of the session's commands."""

    def act(client):
        if not hasattr(client, "stream"):
            client.new_stream()
        client.send(data, end=end)

    return act


RUDE_SESSIONS = {
    "silence": lambda c: None,
    "noise": says(b"\xff\x00" * 1000),
    "noise in a line": says(b"\xff\x00" * 1000 + b"\n"),
    "empty lines": says(b"\n" * 1000),
    "a line too long": says(b"x" * 70_000),
    "many commands": says(LINES * 200),
    "the end": says(b"", end=True),
    "half a command and the end": says(b'{"id":1', end=True),
    "a stream reset": lambda c: c._quic.reset_stream(getattr(c, "stream", c.session), 0),
    "a stream not wanted": lambda c: c._quic.stop_stream(getattr(c, "stream", c.session), 0),
    "the session reset": lambda c: c._quic.reset_stream(c.session, 0),
    "the session not wanted": lambda c: c._quic.stop_stream(c.session, 0),
    "the session ends": lambda c: c.http.send_data(c.session, b"", end_stream=True),
    "noise in the session": lambda c: c.http.send_data(c.session, b"\xff" * 500, end_stream=False),
    "a close": lambda c: c.http.send_data(c.session, b"\x68\x43\x04\0\0\0\x07", end_stream=True),
    "more streams": lambda c: [c.new_stream() for _ in range(20)],
    "one-way streams": lambda c: [
        uni(c, varint(0x54) + varint(c.session) + CONNECT) for _ in range(20)
    ],
    "datagrams": lambda c: [c._quic.send_datagram_frame(b"\0" + CONNECT) for _ in range(20)],
    "all at once": lambda c: (
        c._quic.reset_stream(c.session, 0),
        says(LINES)(c),
        c._quic.reset_stream(c.stream, 0),
    ),
}


LEAVES = (lambda c: None, lambda c: c._quic.close(0x1FF), vanish)
"""How a client ends: politely, at once, not at all."""


async def visit(server, stage, act, leave):
    """One session: comes to a stage, is rude, leaves."""
    async with dial(server.port) as client:
        await stage(client)
        with contextlib.suppress(AssertionError, ValueError):
            act(client)  # some is beyond the library
        client.transmit()
        with contextlib.suppress(ConnectionError):  # some acts end it
            await client.ping()
        leave(client)


async def test_rude_sessions(server, caplog):
    async with nothing_stays_behind(server, caplog):
        for leave, stage in itertools.product(LEAVES, STAGES):
            visits = (visit(server, stage, act, leave) for act in RUDE_SESSIONS.values())
            await asyncio.gather(*visits)


async def test_protobuf_noise(server, caplog):
    noises = (b"\xff" * 100, b"\x80\x80\x80\x80\x80\x01", b"\x05\xff\xff\xff\xff\xff", b"\0" * 1000)
    async with nothing_stays_behind(server, caplog):
        for noise in noises:
            async with dial(server.port) as client:
                await client.open(f"{WEBTRANSPORT}?cf_protocol=protobuf")
                client.send(noise)
                await client.until(lambda client=client: client.stream in client.ended, "end")


async def test_many_sessions_on_a_connection(server, caplog):
    async with nothing_stays_behind(server, caplog), dial(server.port) as client:
        statuses = [await client.request() for _ in range(20)]
        assert statuses == [200] * 16 + [503] * 4
