"""WebSocket for clients that only receive: one connect request, then pushes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

from flyball.core.errors import Disconnect
from flyball.core.transport import Framing
from flyball.http.messages import Response
from flyball.protocol import codes
from flyball.protocol.codec import DecodeError
from flyball.protocol.json_codec import JSON
from flyball.transports.common.websocket import frames
from flyball.transports.common.websocket.endpoint import SocketEndpoint, WebSocketOptions
from flyball.transports.common.websocket.handshake import refuse
from flyball.transports.common.websocket.transport import SocketContext, WebSocketTransport
from flyball.transports.websocket.framing import WebSocketFraming, socket_framing

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from flyball.core.node import Node
    from flyball.http.messages import RequestHead
    from flyball.protocol.codec import Codec
    from flyball.protocol.messages import ConnectRequest
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.common.origin import OriginPolicy
    from flyball.transports.common.websocket.handshake import Acceptance


@dataclass(frozen=True, slots=True)
class UniWebSocketOptions(WebSocketOptions):
    """Settings of a unidirectional WebSocket endpoint."""

    join_push_messages: bool = False
    """Pushes that leave together share a frame, one on a line."""
    disable_closing_handshake: bool = False
    """Connections are ended without a close frame."""
    disable_disconnect_push: bool = False
    """No push says why a connection is ended."""


class UniWebSocketFraming(Framing):
    """A push in each text frame, or several; a ping is a message and a WebSocket ping frame."""

    unidirectional: ClassVar[bool] = True

    def __init__(self, inner: WebSocketFraming, *, join: bool) -> None:
        self.codec: Codec = inner.codec
        self.compressed: bool = inner.compressed
        self._inner = inner
        self._join = join

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        inner = self._inner
        if self._join or len(messages) == 1:
            data = inner.frame(messages)
        else:
            data = b"".join([inner.frame((message,)) for message in messages])
        return data + frames.PING_FRAME if self.codec.ping in messages else data


@lru_cache
def uni_framing(inner: WebSocketFraming, *, join: bool) -> UniWebSocketFraming:
    """The shared framing: the hub encodes once for each framing object."""
    return UniWebSocketFraming(inner, join=join)


class UniWebSocketTransport(WebSocketTransport):
    """The first message is the connect request, unless the URL had it; others are ignored."""

    __slots__ = ("_awaits_connect",)
    name: ClassVar[str] = "uni_websocket"

    def __init__(
        self,
        context: SocketContext,
        wire: asyncio.Transport,
        framing: Framing,
        *,
        max_queue_size: int,
    ) -> None:
        super().__init__(context, wire, framing, max_queue_size=max_queue_size)
        self._awaits_connect = True

    @property
    def disconnect_push(self) -> bool:  # type: ignore[override]
        """See :attr:`Transport.disconnect_push`."""
        return self._context.disconnect_push

    def connect(self, request: ConnectRequest) -> None:
        """Opens the session with the request of the URL."""
        self._awaits_connect = False
        self.cork()
        if self.session is not None:
            self.session.connect_unidirectional(request)
        self.uncork()

    def _deliver(self, payload: bytes) -> None:
        session = self.session
        if session is None or not self._awaits_connect:
            return
        self._awaits_connect = False
        try:
            request = JSON.decode_connect(payload)
        except DecodeError as error:
            # What cannot be read is answered by the close frame alone.
            self._context = replace(self._context, disconnect_push=False)
            session.disconnect(Disconnect(codes.DISCONNECT_BAD_REQUEST, detail=str(error)))
            return
        session.connect_unidirectional(request)


class UniWebSocketEndpoint(SocketEndpoint):
    """Accepts WebSocket connections that only receive."""

    transport_class: ClassVar[type[WebSocketTransport]] = UniWebSocketTransport

    def __init__(
        self,
        node: Node,
        origins: OriginPolicy,
        options: UniWebSocketOptions | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._uni = options or UniWebSocketOptions()
        super().__init__(node, origins, self._uni, limits)

    def context(self) -> SocketContext:
        """See :meth:`SocketEndpoint.context`."""
        return replace(
            super().context(),
            close_frames=not self._uni.disable_closing_handshake,
            disconnect_push=not self._uni.disable_disconnect_push,
        )

    def answer(self, head: RequestHead, protocol: str | None = None) -> Acceptance | Response:
        """See :meth:`SocketEndpoint.answer`; the request in the URL must be readable."""
        answer = super().answer(head, protocol)
        if not isinstance(answer, Response):
            try:
                request_in_query(head.query)
            except DecodeError:
                return refuse(head, self.origins, 400, "invalid connect request")
        return answer

    def open(
        self, head: RequestHead, acceptance: Acceptance, wire: asyncio.Transport
    ) -> WebSocketTransport:
        """See :meth:`SocketEndpoint.open`; connects at once if the URL had the request."""
        transport = super().open(head, acceptance, wire)
        request = request_in_query(head.query)
        if request is not None and isinstance(transport, UniWebSocketTransport):
            transport.connect(request)
        return transport

    def framing(self, acceptance: Acceptance) -> Framing:
        """See :meth:`SocketEndpoint.framing`."""
        inner = socket_framing(JSON, self.options, window_bits=acceptance.window_bits)
        return uni_framing(inner, join=self._uni.join_push_messages)


def request_in_query(query: str) -> ConnectRequest | None:
    """The connect request in a URL's query (``cf_connect``), if there is one.

    Raises:
        DecodeError: it is malformed.
    """
    if "cf_connect" not in query:
        return None
    given = parse_qs(query, keep_blank_values=True).get("cf_connect")
    if not given or not given[0]:
        return None
    return JSON.decode_connect(given[0].encode("utf-8", "surrogateescape"))
