"""Rude clients on every endpoint of one server: nothing raises, nothing stays behind."""

import asyncio

import pytest
from hostile import (
    CONFIG,
    CONNECT,
    ENDPOINTS,
    WRAPPED,
    frame,
    make_server,
    nothing_stays_behind,
    send,
)

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def request(method, path, body=b"", headers=""):
    """An HTTP/1.1 request."""
    size = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}{size}\r\n".encode() + body


def rude(path):
    """What rude clients send to an endpoint, each on a connection of its own."""
    method = ENDPOINTS[path]
    yield b""
    yield b"\x00\xff\x00\xff" * 100
    yield b"GET " + path.encode()
    yield request("BREW", path)
    for verb in ("GET", "POST", "PUT", "OPTIONS", "HEAD", "DELETE", "PATCH", "CONNECT"):
        yield request(verb, path)
    yield request(method, path + "/", b"{}")
    yield request(
        method, path + ("&" if "?" in path else "?") + "cf_connect=%00%ff&format=%zz", b"{}"
    )
    for body in (b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"id":1}', b'{"id":-1,"connect":7}'):
        yield request(method, path, body)
        yield request(method, path, body, "Content-Type: application/octet-stream\r\n")
    yield request(method, path, CONNECT)
    yield request(method, path, WRAPPED)
    yield request(method, path, b"x" * 70000)
    yield f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n".encode()
    yield f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".encode()
    yield f"{method} {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
    yield f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + b"A: b\r\n" * 20000 + b"\r\n"
    yield f"{method} {path} HTTP/9.9\r\nHost: x\r\n\r\n".encode()
    upgrade = request("GET", path, headers=UPGRADE)
    yield upgrade
    yield upgrade + frame(CONNECT)
    yield (upgrade, frame(WRAPPED))
    for bad in (frame(b"{"), frame(CONNECT), frame(b"", 8), frame(b"\x00", 8), frame(b"x", 5)):
        yield (upgrade, bad)
    yield (upgrade, b"\x81\x05hello")
    yield (upgrade, b"\x81\xff" + b"\xff" * 12)
    yield (upgrade, frame(CONNECT)[:9])


@pytest.fixture
async def server(tmp_path):
    server = make_server(tmp_path, CONFIG)
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_nothing_stays_behind(server, path, caplog):
    async with nothing_stays_behind(server, caplog):
        for reset in (False, True):
            await asyncio.gather(*(send(server.port, parts, reset=reset) for parts in rude(path)))
    answer = await send(server.port, request("GET", "/health"), reset=False)
    assert answer.startswith(b"HTTP/1.1 200"), "the server lives"
