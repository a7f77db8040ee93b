"""SockJS through an ASGI server."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flyball.core.errors import Disconnect
from flyball.protocol.json_codec import JSON
from flyball.transports.asgi.websocket import (
    AsgiFraming,
    AsgiWebSocketEndpoint,
    AsgiWebSocketTransport,
)
from flyball.transports.sockjs.framing import FRAMING, OPEN, SILENT, close_frame
from flyball.transports.sockjs.websocket import deliver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flyball.http.asgi_tools import Receive, Scope, Send


class AsgiSockJsFraming(AsgiFraming):
    """The text of a SockJS frame."""

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        return FRAMING.frame(messages)


_FRAMING = AsgiSockJsFraming(JSON)


class AsgiSockJsTransport(AsgiWebSocketTransport):
    """A SockJS session over WebSocket."""

    __slots__ = ()
    name: ClassVar[str] = "sockjs"

    def deliver(self, payload: bytes) -> None:
        """See :meth:`AsgiWebSocketTransport.deliver`."""
        if self.session is not None:
            deliver(self.session, payload)

    def _close(self, disconnect: Disconnect) -> None:
        if disconnect.code not in SILENT:
            self._outbox.append(close_frame(disconnect.code, disconnect.reason))
        super()._close(disconnect)


class AsgiSockJsEndpoint(AsgiWebSocketEndpoint):
    """SockJS over WebSocket as an ASGI app."""

    async def _open(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]
    ) -> None:
        await send({"type": "websocket.accept", "subprotocol": None})
        transport = AsgiSockJsTransport(self._node, _FRAMING)
        self._begin(transport, scope, headers)
        transport.send(OPEN)
        await self._run(transport, _FRAMING, receive, send)
