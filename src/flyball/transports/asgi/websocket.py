"""WebSocket through an ASGI server, which does the framing."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from flyball.core.errors import Disconnect
from flyball.core.transport import Framing
from flyball.protocol import codes
from flyball.protocol.codes import DisconnectCode
from flyball.protocol.json_codec import JSON
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.transports.asgi.tools import address_of, headers_of, kept
from flyball.transports.outbox import OutboxTransport
from flyball.transports.websocket.handshake import choose_encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.core.node import Node
    from flyball.protocol.codec import Codec
    from flyball.transports.asgi.tools import Message, Receive, Scope, Send
    from flyball.transports.limits import ConnectionLimits
    from flyball.transports.origin import OriginPolicy
    from flyball.transports.websocket.endpoint import WebSocketOptions

TOO_BIG = 1009
"""Close code for a message over the limit (RFC 6455, section 7.4.1)."""


class AsgiFraming(Framing):
    """The text or bytes of a WebSocket message."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._field = "text" if codec is JSON else "bytes"
        self._last: tuple[bytes, Message] = b"", {}

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        return self.codec.join(messages)

    def event(self, frame: bytes) -> Message:
        """What the server is told to send; one object for all receivers of a broadcast."""
        last, event = self._last
        if last is not frame:
            data: Any = frame.decode() if self._field == "text" else frame
            event = {"type": "websocket.send", self._field: data}
            self._last = frame, event
        return event


@lru_cache
def asgi_framing(codec: Codec) -> AsgiFraming:
    """The shared framing: the hub encodes once for each framing object."""
    return AsgiFraming(codec)


class AsgiWebSocketTransport(OutboxTransport):
    """One connection; the ASGI app's coroutine reads, a task beside it writes."""

    __slots__ = ("_may_read", "disconnect")

    name: ClassVar[str] = "websocket"

    def __init__(self, node: Node, framing: Framing) -> None:
        super().__init__(node, framing)
        self.disconnect: Disconnect | None = None
        """Why the session ended."""
        self._may_read: asyncio.Event | None = None

    def _close(self, disconnect: Disconnect) -> None:
        self.disconnect = disconnect
        self.resume_reading()
        super()._close(disconnect)

    def too_big(self) -> None:
        """A message was over the limit: the connection ends with 1009."""
        session = self.session
        if session is not None:
            session.connection_lost()
        self.disconnect = Disconnect(DisconnectCode(TOO_BIG, ""))
        self._rouse()

    def pause_reading(self) -> None:
        """See :meth:`Transport.pause_reading`."""
        self._may_read = asyncio.Event()

    def resume_reading(self) -> None:
        """See :meth:`Transport.resume_reading`."""
        may_read, self._may_read = self._may_read, None
        if may_read is not None:
            may_read.set()

    async def may_read(self) -> None:
        """Waits while the session has commands waiting."""
        if self._may_read is not None:
            await self._may_read.wait()


class AsgiWebSocketEndpoint:
    """A node's WebSocket endpoint as an ASGI app."""

    def __init__(
        self,
        node: Node,
        origins: OriginPolicy,
        options: WebSocketOptions,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._node = node
        self._origins = origins
        self._options = options
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        await receive()  # websocket.connect
        headers = headers_of(scope)
        if self._limits is not None and not self._limits.admits():
            await refuse(scope, send, 503)
            return
        if not self._origins.allows(headers.get("origin")):
            await refuse(scope, send, 403)
            return
        choice = choose_encoding(
            scope.get("subprotocols", ()), scope.get("query_string", b"").decode("latin-1")
        )
        await send({"type": "websocket.accept", "subprotocol": choice.subprotocol or None})
        framing = asgi_framing(PROTOBUF if choice.protobuf else JSON)
        transport = AsgiWebSocketTransport(self._node, framing)
        keep = self._options.keep_headers
        session = self._node.open_session(transport, kept(headers, keep), address_of(scope))
        writer = asyncio.ensure_future(self._write(transport, framing, send))
        reader = asyncio.ensure_future(self._read(transport, receive))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            session.connection_lost()
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def _read(self, transport: AsgiWebSocketTransport, receive: Receive) -> None:
        limit = self._options.message_size_limit
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            text = message.get("text")
            data: bytes = message.get("bytes") or b"" if text is None else text.encode()
            session = transport.session
            if session is None or session.closed:
                continue  # a close is under way: the writer ends us
            if limit and len(data) > limit:
                transport.too_big()
                continue
            transport.cork()
            session.receive(data)
            transport.uncork()
            await transport.may_read()

    async def _write(
        self, transport: AsgiWebSocketTransport, framing: AsgiFraming, send: Send
    ) -> None:
        event = framing.event

        async def write(frame: bytes) -> None:
            await send(event(frame))

        try:
            await transport.run(write)
        except OSError:
            return  # the server found out first that the client is gone
        disconnect = transport.disconnect
        if disconnect is None or disconnect.code == codes.DISCONNECT_CONNECTION_CLOSED.code:
            return
        close = {"type": "websocket.close", "code": disconnect.code, "reason": disconnect.reason}
        await send(close)


async def refuse(scope: Scope, send: Send, status: int) -> None:
    """Refuses a WebSocket handshake; servers without the extension for it answer 403."""
    if "websocket.http.response" in scope.get("extensions", {}):
        start = {"type": "websocket.http.response.start", "status": status, "headers": []}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b""})
    else:
        await send({"type": "websocket.close", "code": 1000})
