"""What HTTP/3 asks of those who take WebTransport sessions, and what it gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class SessionLink(Protocol):
    """The QUIC connection, as a session sees it. Calls for streams that are over do nothing."""

    def write(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Sends on a stream, later in this turn of the loop."""

    def unsent(self, stream_id: int) -> int:
        """Bytes that the client has not acknowledged."""

    def reset(self, stream_id: int) -> None:
        """Ends a stream at once, what is unsent is lost."""

    def hold(self, stream_id: int, size: int) -> None:
        """Bytes that were received wait to be dealt with."""

    def consumed(self, stream_id: int, size: int) -> None:
        """Bytes that waited are dealt with: the client may send as many more."""

    def end_session(self, session_id: int, code: int, reason: str) -> None:
        """Ends a session; ``code`` and ``reason`` are what its client is told."""

    def info(self, name: str) -> Any:
        """See :meth:`asyncio.BaseTransport.get_extra_info`."""


class WebTransportSession(Protocol):
    """One WebTransport session, as its connection sees it."""

    @property
    def session_id(self) -> int:
        """The stream of the CONNECT request."""

    def stream_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """Bytes came on a bidirectional stream that the client opened in this session."""

    def uses(self, stream_id: int) -> bool:
        """Whether the session ends with this stream."""

    def acknowledged(self) -> None:
        """The client may have taken something of what was unsent."""

    def lost(self) -> None:
        """The client ended a stream or the session, or its connection is gone."""


class SessionEndpoint(Protocol):
    """A path where clients open sessions."""

    def check(self, headers: Mapping[str, str]) -> int:
        """The status that a CONNECT request is answered with; 200: the session is made."""

    def open(
        self, link: SessionLink, session_id: int, headers: Mapping[str, str], query: str
    ) -> WebTransportSession:
        """A session that was answered with 200."""
