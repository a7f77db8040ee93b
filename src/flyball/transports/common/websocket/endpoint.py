"""Where WebSocket connections come in: a path of the listener."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from flyball.http.head import kept
from flyball.http.messages import empty, plain_error
from flyball.transports.common.websocket.deflate import Inflater
from flyball.transports.common.websocket.handshake import negotiate, negotiate_connect
from flyball.transports.common.websocket.transport import SocketContext, WebSocketTransport

if TYPE_CHECKING:
    import asyncio

    from flyball.core.node import Node
    from flyball.core.transport import Framing
    from flyball.http.messages import RequestHead, Response
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.common.origin import OriginPolicy
    from flyball.transports.common.websocket.handshake import Acceptance


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """Settings of a WebSocket endpoint. Sizes in bytes, times in seconds."""

    message_size_limit: int = 65536
    """Of one incoming message, as it comes; 0 = no limit."""
    decompressed_message_size_limit: int = 0
    """Of one incoming message after inflation; 0 = ten times ``message_size_limit``."""
    compression: bool = False
    """permessage-deflate, for clients that offer it."""
    compression_level: int = 1
    """1 (fast) to 9 (small)."""
    compression_min_size: int = 0
    """Messages longer than this are compressed."""
    write_timeout: float = 1.0
    """A wire that takes no byte for so long is given up (3009); 0 = never."""
    keep_headers: frozenset[str] | None = None
    """Request headers (lower case) that sessions keep; None = all. Few save memory."""


class SocketEndpoint(ABC):
    """Accepts WebSocket connections and opens their sessions, whatever they say to each other."""

    transport_class: ClassVar[type[WebSocketTransport]] = WebSocketTransport
    subprotocols: ClassVar[bool] = False
    """Clients choose the encoding by a subprotocol or in the query."""

    def __init__(
        self,
        node: Node,
        origins: OriginPolicy,
        options: WebSocketOptions | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        options = options or WebSocketOptions()
        self.node = node
        self.origins = origins
        self.options = options
        self.limits = limits
        self._context = self.context()

    def context(self) -> SocketContext:
        """What the connections of this endpoint have in common."""
        options = self.options
        inflated_limit = options.decompressed_message_size_limit or 10 * options.message_size_limit
        return SocketContext(
            node=self.node,
            message_size_limit=options.message_size_limit,
            write_timeout=options.write_timeout,
            inflater=Inflater(inflated_limit) if options.compression else None,
        )

    def answer(self, head: RequestHead, protocol: str | None = None) -> Acceptance | Response:
        """Decides on one request; nothing is sent.

        Args:
            head: the request.
            protocol: its ``:protocol`` if it came over HTTP/2 or HTTP/3, empty if it has none;
                None for the upgrade of HTTP/1.1.
        """
        if self.limits is not None and not self.limits.admits():
            return empty(503)
        if protocol is not None:
            return negotiate_connect(
                head,
                protocol,
                self.origins,
                compression=self.options.compression,
                subprotocols=self.subprotocols,
            )
        if head.has_body and head.method == "GET":
            return plain_error(400, close=True)
        return negotiate(
            head,
            self.origins,
            compression=self.options.compression,
            subprotocols=self.subprotocols,
        )

    def open(
        self, head: RequestHead, acceptance: Acceptance, wire: asyncio.Transport
    ) -> WebSocketTransport:
        """Opens the session; ``wire`` belongs to it from now on.

        The 101 answer of HTTP/1.1 is sent here, that of an extended CONNECT must have been.
        """
        transport = self.transport_class(
            self._context,
            wire,
            self.framing(acceptance),
            max_queue_size=self.node.options.queue_max_size,
        )
        if acceptance.response:
            wire.write(acceptance.response)
        wire.set_protocol(transport)
        if acceptance.frame_pings:
            transport.start_frame_pings()
        transport.session = self.node.open_session(
            transport, kept(head.headers, self.options.keep_headers)
        )
        return transport

    @abstractmethod
    def framing(self, acceptance: Acceptance) -> Framing:
        """The shared framing of connections with these terms."""
