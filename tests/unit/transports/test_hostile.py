"""Rude clients on every endpoint of one server: nothing raises, nothing stays behind."""

import asyncio
import gc
import json
import os
import socket
import struct

import pytest

from flyball.server.app import Server
from flyball.server.config import check, load_config
from flyball.transports.sockjs import transport as sockjs_transport

ENDPOINTS = {
    "/connection/websocket": "GET",
    "/connection/uni_websocket": "GET",
    "/connection/http_stream": "POST",
    "/connection/sse": "POST",
    "/connection/uni_http_stream": "POST",
    "/connection/uni_sse": "POST",
    "/connection/sockjs/000/rude/websocket": "GET",
    "/connection/sockjs/000/rude/xhr": "POST",
    "/connection/sockjs/000/rude/xhr_streaming": "POST",
    "/connection/sockjs/000/rude/xhr_send": "POST",
    "/connection/sockjs/000/rude/eventsource": "GET",
    "/connection/sockjs/000/rude/htmlfile": "GET",
    "/connection/sockjs/000/rude/htmlfile?c=c": "GET",
    "/connection/sockjs/000/rude/jsonp?c=c": "GET",
    "/connection/sockjs/000/rude/jsonp_send": "POST",
    "/connection/sockjs/info": "GET",
    "/connection/sockjs/iframe.html": "GET",
    "/emulation": "POST",
    "/connection/init": "GET",
    "/api/publish": "POST",
    "/health": "GET",
    "/metrics": "GET",
}
"""Path to its method."""

CONFIG = {
    "client": {
        "allow_anonymous_connect_without_token": True,
        "stale_close_delay": "1s",
        "ping_interval": "1s",
        "pong_timeout": "0.5s",
    },
    "http_api": {"key": "k"},
    "health": {"enabled": True},
    "prometheus": {"enabled": True},
    "init": {"enabled": True},
    **{
        section: {"enabled": True}
        for section in (
            *("http_stream", "sse", "sockjs", "uni_http_stream", "uni_sse", "uni_websocket"),
        )
    },
    "channel": {
        "without_namespace": {
            "allow_subscribe_for_client": True,
            "allow_subscribe_for_anonymous": True,
            "presence": True,
            "history_size": 10,
            "history_ttl": "60s",
        }
    },
}

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
WRAPPED = rb'["{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"x\"}}"]'
CONNECT = b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"x"}}'


def request(method, path, body=b"", headers=""):
    """An HTTP/1.1 request."""
    size = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}{size}\r\n".encode() + body


def frame(payload, opcode=1):
    """A masked WebSocket frame (mask 0)."""
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else b""
    if not head:
        head = bytes((0x80 | opcode, 0xFE)) + struct.pack(">H", size)
    return head + bytes(4) + payload


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


async def send(port, parts, *, reset):
    """Sends, looks at what comes first, and leaves: politely or not."""
    if isinstance(parts, bytes):
        parts = (parts,)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        for number, part in enumerate(parts):
            writer.write(part)
            await writer.drain()
            if number + 1 < len(parts) or not reset:
                answer += await asyncio.wait_for(reader.read(1000), 0.05)
    except (TimeoutError, ConnectionError):
        pass
    if reset:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()
    return answer


def count_files():
    return len(os.listdir("/proc/self/fd"))


def sockjs_sessions():
    """Sessions and their ends, which are remembered for seconds."""
    return sum(type(o) is sockjs_transport.SockJsTransport for o in gc.get_objects())


async def until_equal(count, wanted, what):
    """Waits until ``count()`` is ``wanted`` again."""
    try:
        async with asyncio.timeout(10):
            while count() != wanted:
                gc.collect()
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what}: {count()} in place of {wanted}") from None


@pytest.fixture
async def server(tmp_path, monkeypatch):
    monkeypatch.setattr(sockjs_transport, "DISCONNECT_DELAY", 0.5)  # for the test's time
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    flags = {"http_server.port": "0", "http_server.address": "127.0.0.1"}
    config = load_config(str(file), environ={}, flags=flags).config
    check(config)
    server = Server(config)
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_nothing_stays_behind(server, path, caplog):
    node, watch = server.node, server.listeners[0].watch
    tasks, files = len(asyncio.all_tasks()), count_files()
    for reset in (False, True):
        await asyncio.gather(*(send(server.port, parts, reset=reset) for parts in rude(path)))
    await until_equal(lambda: len(watch.members), 0, "connections")
    await until_equal(lambda: len(node.hub.sessions) + len(node._newcomers), 0, "sessions")
    await until_equal(sockjs_sessions, 0, "SockJS sessions")
    await until_equal(lambda: node.hub.num_subscriptions, 0, "subscriptions")
    await until_equal(lambda: len(asyncio.all_tasks()), tasks, "tasks")
    await until_equal(count_files, files, "files")
    assert not [r for r in caplog.records if r.exc_info or r.levelname in ("ERROR", "CRITICAL")]
    answer = await send(server.port, request("GET", "/health"), reset=False)
    assert answer.startswith(b"HTTP/1.1 200"), "the server lives"
