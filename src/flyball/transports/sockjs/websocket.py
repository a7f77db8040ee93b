"""The receiver that needs no tricks: SockJS frames in WebSocket text frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flyball.core.errors import Disconnect
from flyball.protocol import codes
from flyball.transports.common.websocket.endpoint import SocketEndpoint
from flyball.transports.common.websocket.frames import OP_TEXT, build_frame
from flyball.transports.common.websocket.transport import SocketState, WebSocketTransport
from flyball.transports.sockjs.framing import (
    OPEN,
    SILENT,
    SOCKET_FRAMING,
    BadPayload,
    close_frame,
    read_messages,
)

if TYPE_CHECKING:
    import asyncio

    from flyball.core.session import Session
    from flyball.core.transport import Framing
    from flyball.http.messages import RequestHead
    from flyball.transports.common.websocket.handshake import Acceptance

_OPEN = build_frame(OP_TEXT, OPEN)


def deliver(session: Session, payload: bytes) -> None:
    """Gives the messages of one WebSocket message to a session; an empty one has none."""
    if not payload:
        return
    try:
        messages = read_messages(payload)
    except BadPayload as error:
        session.disconnect(Disconnect(codes.DISCONNECT_BAD_REQUEST, detail=str(error)))
        return
    for message in messages:
        session.receive(message)


class SockJsWebSocketTransport(WebSocketTransport):
    """One WebSocket is one session: ids in the path mean nothing."""

    __slots__ = ()
    name: ClassVar[str] = "sockjs"

    def _deliver(self, payload: bytes) -> None:
        if self.session is not None:
            deliver(self.session, payload)

    def _close(self, disconnect: Disconnect) -> None:
        if self._state is not SocketState.GONE and disconnect.code not in SILENT:
            goodbye = close_frame(disconnect.code, disconnect.reason)
            self._wire.write(build_frame(OP_TEXT, goodbye))
        super()._close(disconnect)


class SockJsWebSocketEndpoint(SocketEndpoint):
    """Accepts SockJS sessions over WebSocket."""

    transport_class: ClassVar[type[WebSocketTransport]] = SockJsWebSocketTransport

    def open(
        self, head: RequestHead, acceptance: Acceptance, wire: asyncio.Transport
    ) -> WebSocketTransport:
        """See :meth:`SocketEndpoint.open`; greets."""
        transport = super().open(head, acceptance, wire)
        transport.send(_OPEN)
        return transport

    def framing(self, acceptance: Acceptance) -> Framing:  # noqa: ARG002 - one for all
        """See :meth:`SocketEndpoint.framing`."""
        return SOCKET_FRAMING
