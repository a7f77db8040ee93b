"""What tests with rude clients have in common: the server, and a look at what they left."""

import asyncio
import contextlib
import gc
import json
import os
import socket
import struct

from certificates import self_signed
from waiting import time_flies, until

from flyball.server.app import Server
from flyball.server.config import check, load_config
from flyball.testing import TestClock
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

WRAPPED = rb'["{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"x\"}}"]'
CONNECT = b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"x"}}'

WEBTRANSPORT = "/connection/webtransport"
SOCKET = {"sec-websocket-version": "13"}
"""Headers of an extended CONNECT."""


def frame(payload, opcode=1):
    """A masked WebSocket frame (mask 0)."""
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else b""
    if not head:
        head = bytes((0x80 | opcode, 0xFE)) + struct.pack(">H", size)
    return head + bytes(4) + payload


async def send(port, parts, *, reset, ssl=None):
    """Sends, looks at what comes first, and leaves: politely or not."""
    if isinstance(parts, bytes):
        parts = (parts,)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ssl)
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
    return len(files())


def sockjs_sessions():
    """Sessions and their ends, which are remembered for seconds."""
    return sum(type(o) is sockjs_transport.SockJsTransport for o in gc.get_objects())


def files():
    """What the process has open, by number."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


async def until_at_most(count, wanted, what):
    """Waits until ``count()`` is ``wanted`` again, or less: what was there may have ended."""

    def text():
        return f"end of {what() if callable(what) else what}: {count()} in place of {wanted}"

    await until(lambda: count() <= wanted, text, meanwhile=gc.collect)


def make_server(tmp_path, config, **flags):
    """A server with ``config`` on ports of its own choice."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    flags = {"http_server.port": "0", "http_server.address": "127.0.0.1", **flags}
    loaded = load_config(str(file), environ={}, flags=flags).config
    check(loaded)
    return Server(loaded, clock=TestClock())


@contextlib.asynccontextmanager
async def tls_server(tmp_path, monkeypatch):
    """Every endpoint over TLS and QUIC; QUIC connections that fall silent are forgotten soon."""
    monkeypatch.setenv("GODEBUG", "http2xconnect=1")
    pem, key = map(bytes.decode, self_signed())
    config = {
        **CONFIG,
        "http_server": {
            "tls": {"enabled": True, "cert_pem": pem, "key_pem": key},
            "http3": {"enabled": True},
        },
        "webtransport": {"enabled": True},
        "uni_grpc": {"enabled": True, "address": "127.0.0.1"},
    }
    server = make_server(tmp_path, config, **{"uni_grpc.port": "0"})
    await server.start()
    server.listeners[1]._server._configuration.idle_timeout = 1.0
    yield server
    await server.stop()


@contextlib.contextmanager
def only_new_objects():
    """The collector looks at what is made meanwhile: not again and again at all that other tests
    have left, which takes so long that the loop, and time, hardly go on.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.asynccontextmanager
async def nothing_stays_behind(server, caplog):
    """Whatever clients do meanwhile: the server is as before, and has nothing to complain of.

    The server's time stands still until the clients are gone, and flies then.
    """
    node = server.node
    wheels = [port.timers for port in server.listeners if hasattr(port, "timers")]
    quic = [port._server._protocols for port in server.listeners if hasattr(port, "service")]
    tasks, known = len(asyncio.all_tasks()), files()
    with only_new_objects():
        yield
        async with time_flies(node.clock):
            # One task moves the clock.
            await everything_ends(node, wheels, quic, tasks + 1, known)
    assert not [r for r in caplog.records if r.exc_info or r.levelname in ("ERROR", "CRITICAL")]


async def everything_ends(node, wheels, quic, tasks, known):
    """Waits until no more is there than there was."""
    for wheel in wheels:
        await until_at_most(lambda wheel=wheel: wheel.num_armed, 0, "connections")
    for protocols in quic:
        await until_at_most(lambda protocols=protocols: len(protocols), 0, "QUIC connections")
    await until_at_most(lambda: len(node.hub.sessions) + len(node.pending_sessions), 0, "sessions")
    await until_at_most(sockjs_sessions, 0, "SockJS sessions")
    await until_at_most(lambda: node.hub.num_subscriptions, 0, "subscriptions")
    await until_at_most(lambda: len(asyncio.all_tasks()), tasks, "tasks")
    await until_at_most(count_files, len(known), lambda: {*files().items()} - {*known.items()})
