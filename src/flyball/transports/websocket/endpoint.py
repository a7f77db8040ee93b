"""WebSocket in both directions: commands and replies, JSON or Protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.protocol.json_codec import JSON
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.transports.common.websocket.endpoint import SocketEndpoint
from flyball.transports.websocket.framing import socket_framing

if TYPE_CHECKING:
    from flyball.core.transport import Framing
    from flyball.transports.common.websocket.handshake import Acceptance


class WebSocketEndpoint(SocketEndpoint):
    """Accepts WebSocket connections of clients that send commands."""

    subprotocols = True

    def framing(self, acceptance: Acceptance) -> Framing:
        """See :meth:`SocketEndpoint.framing`."""
        codec = PROTOBUF if acceptance.protobuf else JSON
        return socket_framing(codec, self.options, window_bits=acceptance.window_bits)
