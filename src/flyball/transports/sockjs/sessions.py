"""The sessions of one node that are reached by requests: from ids to transports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flyball.http.head import kept
from flyball.http.relay import OtherProcess
from flyball.transports.sockjs.transport import SockJsTransport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.core.node import Node
    from flyball.transports.common.limits import ConnectionLimits

MAX_PENDING: Final = 10_000
"""Sessions of a node that are not connected yet above which no session is made: without a
connection of its own each costs a client nothing, and us some kilobytes for seconds."""


@dataclass(frozen=True, slots=True)
class SockJsOptions:
    """Settings of SockJS endpoints."""

    url: str = "https://cdn.jsdelivr.net/npm/sockjs-client@1.6.1/dist/sockjs.min.js"
    """The client's script, for the iframe page."""
    message_size_limit: int = 65536
    """Bytes of one message from a client; 0 = no limit."""
    write_timeout: float = 1.0
    """Seconds: a client that takes no byte for so long is given up (3009); 0 = never."""
    keep_headers: frozenset[str] | None = None
    """Request headers (lower case) that sessions keep; None: all."""
    max_pending: int = MAX_PENDING
    """Sessions of the node that may not have connected yet; no more are made then (503)."""
    elsewhere: Callable[[str], OtherProcess | None] = lambda _id: None
    """The process that keeps the session of an id; None: it is this one."""
    relay_socket: str = ""
    """This one's own, at which others relay requests; who asks there is believed."""


class Sessions:
    """Knows every session that a receiver over HTTP may ask for."""

    def __init__(
        self, node: Node, options: SockJsOptions, limits: ConnectionLimits | None = None
    ) -> None:
        self.node = node
        self.options = options
        self._limits = limits
        self._transports: dict[str, SockJsTransport] = {}
        self.get: Callable[[str], SockJsTransport | None] = self._transports.get

    def __len__(self) -> int:
        return len(self._transports)

    def admits(self) -> bool:
        """Whether one more may be made; counts it against the rate of connections."""
        if len(self.node.pending_sessions) >= self.options.max_pending:
            return False
        return self._limits is None or self._limits.admits()

    def create(self, id_: str, headers: Mapping[str, str], address: str) -> SockJsTransport:
        """Opens a session; ``headers`` are its first request's."""
        transport = self._transports[id_] = SockJsTransport(
            self.node, self, id_, self.options.write_timeout
        )
        remembered = kept(headers, self.options.keep_headers)
        self.node.open_session(transport, remembered, address)
        return transport

    def keep_end(self, transport: SockJsTransport) -> None:
        """The session has ended: tells late receivers for some time, unless the node ends too."""
        if self.node.shutting_down:
            self.forget(transport)
        else:
            transport.keep_end()

    def forget(self, transport: SockJsTransport) -> None:
        """The id is free again."""
        if self._transports.get(transport.id) is transport:
            del self._transports[transport.id]
