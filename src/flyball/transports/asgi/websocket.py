"""WebSocket through an ASGI server, which does the framing."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flyball.core.errors import Disconnect
from flyball.core.transport import Framing
from flyball.http.asgi_tools import address_of, headers_of
from flyball.http.head import kept
from flyball.protocol import codes
from flyball.protocol.codec import DecodeError
from flyball.protocol.codes import DisconnectCode
from flyball.protocol.json_codec import JSON
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.transports.common.outbox import OutboxTransport
from flyball.transports.common.websocket.handshake import choose_encoding
from flyball.transports.websocket.uni import request_in_query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flyball.core.node import Node
    from flyball.http.asgi_tools import Message, Receive, Scope, Send
    from flyball.protocol.codec import Codec
    from flyball.protocol.messages import ConnectRequest
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.common.origin import OriginPolicy
    from flyball.transports.common.websocket.endpoint import WebSocketOptions
    from flyball.transports.websocket.uni import UniWebSocketOptions

FORBIDDEN: Final = 403
TOO_BIG = 1009
"""Close code for a message over the limit (RFC 6455, section 7.4.1)."""


class AsgiFraming(Framing):
    """The text or bytes of a WebSocket message."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._field = "text" if codec is JSON else "bytes"
        self._last: tuple[bytes, list[Message]] = b"", []

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        return self.codec.join(messages)

    def events(self, frame: bytes) -> list[Message]:
        """What the server is told to send; one list for all receivers of a broadcast."""
        last, events = self._last
        if last is not frame:
            events = [self._event(payload) for payload in self.payloads(frame)]
            self._last = frame, events
        return events

    def payloads(self, frame: bytes) -> list[bytes]:
        """The WebSocket messages of a frame."""
        return [frame]

    def _event(self, payload: bytes) -> Message:
        data: Any = payload.decode() if self._field == "text" else payload
        return {"type": "websocket.send", self._field: data}


class UniAsgiFraming(AsgiFraming):
    """A push in each message, or several, one on a line. JSON only."""

    unidirectional: ClassVar[bool] = True

    def __init__(self, *, join: bool) -> None:
        super().__init__(JSON)
        self._join = join

    def payloads(self, frame: bytes) -> list[bytes]:
        """See :meth:`AsgiFraming.payloads`."""
        return [frame] if self._join else frame.split(b"\n")


@lru_cache
def asgi_framing(codec: Codec) -> AsgiFraming:
    """The shared framing: the hub encodes once for each framing object."""
    return AsgiFraming(codec)


@lru_cache
def uni_asgi_framing(*, join: bool) -> UniAsgiFraming:
    """The same for connections that only receive."""
    return UniAsgiFraming(join=join)


class AsgiWebSocketTransport(OutboxTransport):
    """One connection; the ASGI app's coroutine reads, a task beside it writes."""

    __slots__ = ("_closes", "_may_read", "disconnect")

    name: ClassVar[str] = "websocket"
    has_close_codes: ClassVar[bool] = True

    def __init__(self, node: Node, framing: Framing) -> None:
        super().__init__(node, framing)
        self._closes = node.metrics.transport_closes
        self.disconnect: Disconnect | None = None
        """Why the session ended."""
        self._may_read: asyncio.Event | None = None

    def _close(self, disconnect: Disconnect) -> None:
        self.disconnect = disconnect
        self.resume_reading()
        super()._close(disconnect)

    def too_big(self) -> None:
        """A message was over the limit: the connection ends with 1009."""
        self._closes[self.name, TOO_BIG] += 1
        session = self.session
        if session is not None:
            session.connection_lost(f"{TOO_BIG} message too big")
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

    def deliver(self, payload: bytes) -> None:
        """Gives one message to the session."""
        if self.session is not None:
            self.session.receive(payload)


class UniAsgiWebSocketTransport(AsgiWebSocketTransport):
    """The first message is the connect request, unless the URL had it; others are ignored."""

    __slots__ = ("_awaits_connect", "_says_why")

    name: ClassVar[str] = "uni_websocket"

    def __init__(self, node: Node, framing: Framing, *, disconnect_push: bool) -> None:
        super().__init__(node, framing)
        self._awaits_connect = True
        self._says_why = disconnect_push

    @property
    def disconnect_push(self) -> bool:  # type: ignore[override]
        """See :attr:`Transport.disconnect_push`."""
        return self._says_why

    def connect(self, request: ConnectRequest) -> None:
        """Opens the session with a request."""
        self._awaits_connect = False
        if self.session is not None:
            self.session.connect_unidirectional(request)

    def deliver(self, payload: bytes) -> None:
        """See :meth:`AsgiWebSocketTransport.deliver`."""
        if self.session is None or not self._awaits_connect:
            return
        try:
            request = JSON.decode_connect(payload)
        except DecodeError as error:
            # What cannot be read is answered by the close frame alone.
            self._awaits_connect = self._says_why = False
            self.session.disconnect(Disconnect(codes.DISCONNECT_BAD_REQUEST, detail=str(error)))
            return
        self.connect(request)


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
            await refuse(scope, send, FORBIDDEN)
            return
        await self._open(scope, receive, send, headers)

    async def _open(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]
    ) -> None:
        choice = choose_encoding(scope.get("subprotocols", ()), _query(scope))
        await send({"type": "websocket.accept", "subprotocol": choice.subprotocol or None})
        framing = asgi_framing(PROTOBUF if choice.protobuf else JSON)
        transport = AsgiWebSocketTransport(self._node, framing)
        self._begin(transport, scope, headers)
        await self._run(transport, framing, receive, send)

    def _begin(
        self, transport: AsgiWebSocketTransport, scope: Scope, headers: Mapping[str, str]
    ) -> None:
        keep = self._options.keep_headers
        self._node.open_session(transport, kept(headers, keep), address_of(scope))

    async def _run(
        self,
        transport: AsgiWebSocketTransport,
        framing: AsgiFraming,
        receive: Receive,
        send: Send,
    ) -> None:
        writer = asyncio.ensure_future(self._write(transport, framing, send))
        reader = asyncio.ensure_future(self._read(transport, receive))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            transport.lost()
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
            transport.deliver(data)
            transport.uncork()
            await transport.may_read()

    async def _write(
        self, transport: AsgiWebSocketTransport, framing: AsgiFraming, send: Send
    ) -> None:
        async def write(frame: bytes) -> None:
            for event in framing.events(frame):
                await send(event)

        try:
            await transport.run(write)
        except OSError:
            return  # the server found out first that the client is gone
        disconnect = transport.disconnect
        if disconnect is None or disconnect.code == codes.DISCONNECT_CONNECTION_CLOSED.code:
            return
        close = {"type": "websocket.close", "code": disconnect.code, "reason": disconnect.reason}
        await send(close)


class UniAsgiWebSocketEndpoint(AsgiWebSocketEndpoint):
    """A node's WebSocket endpoint for clients that only receive, as an ASGI app.

    The close frame and ping frames are the server's business: ``disable_closing_handshake`` has
    no effect here.
    """

    def __init__(
        self,
        node: Node,
        origins: OriginPolicy,
        options: UniWebSocketOptions,
        limits: ConnectionLimits | None = None,
    ) -> None:
        super().__init__(node, origins, options, limits)
        self._uni = options

    async def _open(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]
    ) -> None:
        try:
            request = request_in_query(_query(scope))
        except DecodeError:
            await refuse(scope, send, 400)
            return
        await send({"type": "websocket.accept", "subprotocol": None})
        framing = uni_asgi_framing(join=self._uni.join_push_messages)
        says_why = not self._uni.disable_disconnect_push
        transport = UniAsgiWebSocketTransport(self._node, framing, disconnect_push=says_why)
        self._begin(transport, scope, headers)
        if request is not None:
            transport.cork()
            transport.connect(request)
            transport.uncork()
        await self._run(transport, framing, receive, send)


def _query(scope: Scope) -> str:
    query: bytes = scope.get("query_string", b"")
    return query.decode("latin-1")


async def refuse(scope: Scope, send: Send, status: int) -> None:
    """Refuses a WebSocket handshake.

    A close before the handshake is answered with 403 by every server, and is no error in the log
    of any; other answers need an extension, and are 403 without it.
    """
    if status != FORBIDDEN and "websocket.http.response" in scope.get("extensions", {}):
        # Servers end such a connection, and some do not say so.
        headers = [(b"connection", b"close")] if scope.get("http_version", "1.1") < "2" else []
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b""})
    else:
        await send({"type": "websocket.close", "code": 1000})
