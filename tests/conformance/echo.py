"""Servers that the conformance suites talk to: an echo over WebSocket, and pages over HTTP/2."""

import contextlib
import ssl
import tempfile
from collections import deque
from pathlib import Path

from certificates import self_signed

from flyball.core.node import Node, NodeOptions
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import TEXT_TYPE, HttpLimits, Response
from flyball.http.routes import Route, Routes
from flyball.protocol.json_codec import JSON
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.common.websocket import frames, violations
from flyball.transports.common.websocket.endpoint import SocketEndpoint, WebSocketOptions
from flyball.transports.common.websocket.frames import FrameParser
from flyball.transports.common.websocket.transport import WebSocketTransport
from flyball.transports.websocket.framing import socket_framing

MESSAGE_LIMIT = 32 * 1024 * 1024
"""Bytes; the largest messages of the suite have 16 MiB."""
COMPRESSION_LEVEL = 1


class NotingParser(FrameParser):
    """A parser that tells the opcodes of the messages it found."""

    __slots__ = ("opcodes",)

    def __init__(self, limit, inflater, opcodes):
        super().__init__(limit, inflater)
        self.opcodes = opcodes

    def feed(self, data):
        events = super().feed(data)
        self.opcodes.extend(event.opcode for event in events if event.opcode < frames.OP_CLOSE)
        return events


class EchoTransport(WebSocketTransport):
    """The server's own transport, but messages go back where sessions would get them.

    Sessions do not ask whether a message is text, an echo does: the opcode is noted on the way.
    """

    __slots__ = ("_first", "_opcodes")

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._first = 0
        self._opcodes = deque()

    def data_received(self, data):
        self._first = data[0] & 0x0F
        super().data_received(data)

    def _feed(self, data):
        if self._parser is None:
            inflater = self._context.inflater if self._is_compressed else None
            self._parser = NotingParser(self._context.message_size_limit, inflater, self._opcodes)
            self._plain = False
        super()._feed(data)

    def _deliver(self, payload):
        opcode = self._opcodes.popleft() if self._opcodes else self._first
        if opcode == frames.OP_TEXT and not _is_text(payload):
            # Sessions find this out when they read the command; an echo reads nothing.
            invalid = violations.Violation(violations.CloseCode.INVALID_DATA, "invalid UTF-8")
            self._fail(invalid)
        elif self._is_compressed:
            deflated = self.framing._deflater.deflate(payload)
            self.send(frames.build_frame(opcode, deflated, rsv1=True))
        else:
            self.send(frames.build_frame(opcode, payload))


def _is_text(payload):
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


class EchoEndpoint(SocketEndpoint):
    """Accepts WebSocket connections that hear themselves."""

    transport_class = EchoTransport

    def framing(self, acceptance):
        return socket_framing(JSON, self.options, window_bits=acceptance.window_bits)


@contextlib.asynccontextmanager
async def listening(rows, **options):
    """A listener with these rows; gives its port."""
    listener = Listener(ListenerOptions("127.0.0.1", **options), Routes(rows))
    await listener.start()
    try:
        yield listener.port
    finally:
        await listener.close(grace=0.1)


@contextlib.asynccontextmanager
async def echo_server():
    """An echo over WebSocket, with compression for who asks; gives its port."""
    # Nobody sends a connect command, and frames are counted: no pings.
    options = NodeOptions(
        ping_interval=0.0, stale_close_delay=0.0, queue_max_size=64 * MESSAGE_LIMIT
    )
    settings = WebSocketOptions(
        message_size_limit=MESSAGE_LIMIT, compression=True, write_timeout=0.0
    )
    async with Node(options, clients=False) as node:
        endpoint = EchoEndpoint(node, OriginPolicy(("*",)), settings)
        async with listening([Route("/", upgrade=endpoint, subtree=True)]) as port:
            yield port


def page(head, body):
    """Answers every request alike."""
    return Response(b"hello\n", content_type=TEXT_TYPE)


@contextlib.asynccontextmanager
async def page_server(*, tls):
    """Pages over HTTP/2, with TLS or by prior knowledge; gives the port."""
    rows = [Route("/", page, subtree=True)]
    options = {"ssl_context": _tls_context()} if tls else {"h2c": True}
    async with listening(rows, http=HttpLimits(), **options) as port:
        yield port


def _tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        for name, pem in zip(("certificate", "key"), self_signed(), strict=True):
            Path(folder, name).write_bytes(pem)
        context.load_cert_chain(Path(folder, "certificate"), Path(folder, "key"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
