"""Rude clients of the GRPC port: nothing raises, nothing stays behind."""

import asyncio
import contextlib

import grpc
import hpack
import pytest
from grpc import aio
from hostile import make_server, nothing_stays_behind, send
from waiting import PATIENCE

METHOD = "/centrifugal.centrifugo.unistream.CentrifugoUniStream/Consume"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
DATA, HEADERS, RST, PING, GOAWAY, WINDOW = 0, 1, 3, 6, 7, 8
END_STREAM, END_HEADERS = 1, 4
CONFIG = {
    "client": {
        "allow_anonymous_connect_without_token": True,
        "token": {"hmac_secret_key": "secret"},
    },
    "uni_grpc": {"enabled": True, "address": "127.0.0.1", "max_receive_message_size": 1000},
}


@pytest.fixture
async def server(tmp_path):
    server = make_server(tmp_path, CONFIG, **{"uni_grpc.port": "0"})
    await server.start()
    await answers(server)  # threads and files that GRPC keeps are there now
    yield server
    await server.stop()


def port_of(server):
    return server.listeners[-1].port


async def answers(server):
    """A well-behaved client is served."""
    async with aio.insecure_channel(f"127.0.0.1:{port_of(server)}") as channel:
        call = channel.unary_stream(METHOD)(b"")
        push = await asyncio.wait_for(call.read(), PATIENCE)
        assert push is not aio.EOF
        call.cancel()


def h2_frame(kind, flags=0, stream=0, payload=b""):
    size = len(payload).to_bytes(3, "big")
    return size + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def call(*more, flags=END_HEADERS, stream=1, **changed):
    """The head of a call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": "x",
        "content-type": "application/grpc",
        "te": "trailers",
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    given = [(n, v) for n, v in fields.items() if v is not None]
    return h2_frame(HEADERS, flags, stream, hpack.Encoder().encode([*given, *more]))


def message(data, *, size=None, flag=0, stream=1, end=END_STREAM):
    size = len(data) if size is None else size
    return h2_frame(DATA, end, stream, bytes((flag,)) + size.to_bytes(4, "big") + data)


RUDE = {
    "nothing": b"",
    "noise": b"\x00\xff" * 1000,
    "HTTP/1.1": b"POST " + METHOD.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "half a preface": PREFACE[:9],
    "a preface": PREFACE,
    "half a head": PREFACE + call()[:30],
    "a head": PREFACE + call(),
    "a head alone": PREFACE + call(flags=END_HEADERS | END_STREAM),
    "half a message": PREFACE + call() + message(b"x", size=500, end=0),
    "a lie about the length": PREFACE + call() + message(b"x", size=500),
    "a huge length": PREFACE + call() + message(b"x", size=2**32 - 1),
    "too long": PREFACE + call() + message(b"x" * 2000),
    "an unknown compression": PREFACE + call(grpc_encoding="lzma") + message(b"x", flag=1),
    "not compressed": PREFACE + call(grpc_encoding="gzip") + message(b"junk", flag=1),
    "two messages": PREFACE + call() + message(b"", end=0) + message(b""),
    "noise for a message": PREFACE + call() + message(b"\xff" * 100),
    "a call": PREFACE + call() + message(b""),
    "a call taken back": PREFACE + call() + message(b"") + h2_frame(RST, 0, 1, b"\0\0\0\x08"),
    "a head taken back": PREFACE + call() + h2_frame(RST, 0, 1, b"\0\0\0\x08"),
    "a call and goodbye": PREFACE + call() + message(b"") + h2_frame(GOAWAY, 0, 0, bytes(8)),
    "another method": PREFACE + call(**{":method": "GET"}) + message(b""),
    "another path": PREFACE + call(**{":path": "/x/Y"}) + message(b""),
    "another content": PREFACE + call(content_type="text/plain") + message(b""),
    "no content type": PREFACE + call(content_type=None) + message(b""),
    "no time": PREFACE + call(grpc_timeout="1n") + message(b""),
    "a strange time": PREFACE + call(grpc_timeout="xyz") + message(b""),
    "noise in metadata": PREFACE + call(("x-bin", "$$$"), ("x", "\xff")) + message(b""),
    "pings": PREFACE + h2_frame(PING, 0, 0, bytes(8)) * 200,
    "many calls": PREFACE
    + b"".join(call(stream=n) + message(b"", stream=n) for n in range(1, 201, 2)),
    "no window": PREFACE
    + b"\0\0\6\4\0\0\0\0\0\0\4\0\0\0\0"
    + call()
    + message(b"")
    + h2_frame(WINDOW, 0, 1, bytes(4)),
}
"""What clients send before they leave."""


async def test_rude_connections(server, caplog):
    async with nothing_stays_behind(server, caplog):
        for reset in (False, True):
            await asyncio.gather(
                *(send(port_of(server), data, reset=reset) for data in RUDE.values())
            )
    await answers(server)


async def status(server, method, request):
    """How a call ends."""
    async with aio.insecure_channel(f"127.0.0.1:{port_of(server)}") as channel:
        call = channel.unary_stream(method)(request)
        with pytest.raises(aio.AioRpcError):
            await call.read()
        return await call.code()


async def test_statuses(server, caplog):
    wrong = {
        (METHOD, b"\xff\xff"): grpc.StatusCode.INVALID_ARGUMENT,
        (METHOD, b"\x0a\x05x"): grpc.StatusCode.INVALID_ARGUMENT,
        (METHOD, b"x" * 2000): grpc.StatusCode.RESOURCE_EXHAUSTED,
        ("/some.other/Method", b""): grpc.StatusCode.UNIMPLEMENTED,
        (METHOD.replace("Consume", "Produce"), b""): grpc.StatusCode.UNIMPLEMENTED,
    }
    async with nothing_stays_behind(server, caplog):
        for (method, request), code in wrong.items():
            assert await status(server, method, request) is code


async def cancelled(channel, request, turns):
    """A call that is taken back after some turns of the loop; without turns, after its answer."""
    call = channel.unary_stream(METHOD)(request)
    if not turns:
        assert await call.read() is not aio.EOF
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call.read()


@pytest.mark.parametrize("request_", [b"", b"\x0a\x03bad"], ids=["joined", "refused"])
async def test_calls_cancelled_anywhere(server, caplog, request_):
    address = f"127.0.0.1:{port_of(server)}"
    async with nothing_stays_behind(server, caplog), aio.insecure_channel(address) as channel:
        calls = (cancelled(channel, request_, turns) for turns in (0, *range(30)))
        await asyncio.gather(*calls)
