"""One WebTransport session: the client's first bidirectional stream carries the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import parse_qs

from flyball.aio.states import State
from flyball.core.errors import Disconnect
from flyball.core.transport import Transport
from flyball.http.address import format_address
from flyball.http.head import kept
from flyball.http.timeouts import WriteDeadline
from flyball.protocol import codes
from flyball.protocol.json_codec import JSON
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.transports.common.stream_framing import StreamFraming, stream_framing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.core.node import Node
    from flyball.http.http3.sessions import SessionLink
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.common.origin import OriginPolicy

HIGH: Final = 65536
"""Unacknowledged bytes from which the client counts as slow."""
LOW: Final = 16384
"""Unacknowledged bytes from which it does not any more."""
OPEN_TIMEOUT: Final = 10.0
"""Seconds for the client to open its stream."""
WRITE_TIMEOUT: Final = 1.0
"""Seconds for which a slow client may take no byte at all."""


@dataclass(frozen=True, slots=True)
class WebTransportOptions:
    """Settings of a WebTransport endpoint."""

    message_size_limit: int = 65536
    """Bytes of one command line or Protobuf message."""
    end_pause: float = 1.0
    """Seconds between the end of the stream and that of the session, for clients to read on."""
    keep_headers: frozenset[str] | None = None
    """Request headers (lower case) that sessions keep; None: all."""


@dataclass(slots=True)
class WebTransportEndpoint:
    """Decides on requests for a session."""

    node: Node
    origins: OriginPolicy
    options: WebTransportOptions
    limits: ConnectionLimits | None = None

    def check(self, headers: Mapping[str, str]) -> int:
        """The status of the answer; 200: the session is made."""
        if self.limits is not None and not self.limits.admits():
            return 503
        return 200 if self.origins.allows(headers.get("origin")) else 400

    def open(
        self, link: SessionLink, session_id: int, headers: Mapping[str, str], query: str
    ) -> WebTransportTransport:
        """A session that was answered with 200."""
        wanted = parse_qs(query).get("cf_protocol", [""])[0]
        codec = PROTOBUF if wanted == "protobuf" else JSON
        framing = stream_framing(StreamFraming, codec, chunked=False)
        return WebTransportTransport(self, framing, link, session_id, headers)


class WebTransportState(State):
    """How far a session is."""

    WAITING = "waiting"  # for the client's stream
    OPEN = "open"
    ENDING = "ending"  # the stream is ended, the session soon
    GONE = "gone"


# A session waits for the one stream that carries it, and ends after it, a moment later so that
# clients read on. Who opens none, or is slow, is ended at once.
_TRANSITIONS: Final = {
    WebTransportState.WAITING: {
        WebTransportState.OPEN,
        WebTransportState.ENDING,
        WebTransportState.GONE,
    },
    WebTransportState.OPEN: {WebTransportState.ENDING, WebTransportState.GONE},
    WebTransportState.ENDING: {WebTransportState.GONE},
    WebTransportState.GONE: set[WebTransportState](),
}


class WebTransportTransport(Transport):
    """The stream of one session."""

    __slots__ = (
        "_deadline",
        "_endpoint",
        "_headers",
        "_input",
        "_link",
        "_reason",
        "_state",
        "_stream_id",
        "_unread",
        "session_id",
    )

    name: ClassVar[str] = "webtransport"
    disconnect_push: ClassVar[bool] = True

    def __init__(
        self,
        endpoint: WebTransportEndpoint,
        framing: StreamFraming,
        link: SessionLink,
        session_id: int,
        headers: Mapping[str, str],
    ) -> None:
        node = endpoint.node
        super().__init__(framing, max_queue_size=node.options.queue_max_size)
        self._endpoint = endpoint
        self._link = link
        self.session_id: int = session_id
        """The stream of the CONNECT request."""
        self._headers = headers
        self._stream_id = -1
        self._input = bytearray()
        self._unread: int | None = None  # bytes that came while the session has enough
        self._state = WebTransportState.WAITING
        self._reason = Disconnect(codes.DISCONNECT_STALE)
        self._deadline = WriteDeadline(node.timers, self._on_deadline, self._unsent_bytes)
        self._deadline.set(OPEN_TIMEOUT)

    def _enter(self, state: WebTransportState) -> None:
        assert state in _TRANSITIONS[self._state], (self._state, state)
        self._state = state

    # -- input

    def stream_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """Bytes of a stream of this session."""
        if self._stream_id < 0 and self._state is WebTransportState.WAITING:
            self._begin(stream_id)
        elif stream_id != self._stream_id:
            self._link.reset(stream_id)  # one stream is all there is to a session
            return
        session = self.session
        if session is None or self._state is not WebTransportState.OPEN:
            return
        if self._unread is not None:
            self._unread += len(data)
            self._link.hold(stream_id, len(data))
        self._input += data
        self.cork()
        self._read(ended=ended)
        self.uncork()
        if ended and self._state is WebTransportState.OPEN:
            self.lost()
            self._link.write(self._stream_id, b"", end=True)
            self._link.end_session(self.session_id, 0, "")

    def _begin(self, stream_id: int) -> None:
        self._stream_id = stream_id
        self._enter(WebTransportState.OPEN)
        self._deadline.clear()
        endpoint = self._endpoint
        address = format_address(self._link.info("peername"))
        remembered = kept(self._headers, endpoint.options.keep_headers)
        endpoint.node.open_session(self, remembered, address)

    def _read(self, *, ended: bool) -> None:
        """Gives whole commands to the session."""
        limit = self._endpoint.options.message_size_limit
        buffer = self._input
        json = self.framing.codec is JSON
        size = _whole_lines(buffer) if json else _whole_messages(buffer, limit)
        if size < 0 or len(buffer) - size > limit or (json and _longest(buffer, size) > limit):
            why = f"a message is malformed, or has more than {limit} bytes"
            self._end_stream(Disconnect(codes.DISCONNECT_CONNECTION_CLOSED, detail=why))
            return
        if ended and json:
            size = len(buffer)  # the last line may lack its end
        if not size:
            return
        frame = bytes(buffer[:size])
        del buffer[:size]
        session = self.session
        if session is not None and not session.closed:
            session.receive(frame.rstrip(b"\n") if json else frame)

    def pause_reading(self) -> None:
        """See :meth:`Transport.pause_reading`: the client gets no more credit."""
        if self._unread is None:
            self._unread = 0

    def resume_reading(self) -> None:
        """See :meth:`Transport.resume_reading`."""
        unread, self._unread = self._unread, None
        if unread:
            self._link.consumed(self._stream_id, unread)

    def uses(self, stream_id: int) -> bool:
        """Whether this is the session's stream of commands."""
        return stream_id == self._stream_id

    def lost(self) -> None:
        """The client ended the stream or the session, or its connection is gone."""
        if self._state is WebTransportState.GONE:
            return
        self._enter(WebTransportState.GONE)
        self._deadline.close()
        self.resume_reading()
        session = self.release_session()
        if session is not None:
            session.connection_lost()
        self.mark_closed()

    # -- output

    def _write(self, data: bytes) -> None:
        self._link.write(self._stream_id, data)
        unsent = self._link.unsent(self._stream_id)
        if unsent > HIGH and not self._paused:
            self.pause()
            if self._state is WebTransportState.OPEN:
                self._deadline.expect_progress(WRITE_TIMEOUT)

    def acknowledged(self) -> None:
        """The client took something."""
        if self._paused and self._link.unsent(self._stream_id) < LOW:
            if self._state is WebTransportState.OPEN:
                self._deadline.clear()
            self.resume()

    def _close(self, disconnect: Disconnect) -> None:
        if self._state in (WebTransportState.WAITING, WebTransportState.OPEN):
            self._end_stream(disconnect)

    def _end_stream(self, disconnect: Disconnect) -> None:
        """No more in this stream; the session ends a moment later, for clients to read on."""
        self._enter(WebTransportState.ENDING)
        self._reason = disconnect
        self.resume_reading()
        session = self.release_session()
        if session is not None and not session.closed:
            session.connection_lost(disconnect.detail)
        self.mark_closed()
        slow = (codes.DISCONNECT_WRITE_ERROR.code, codes.DISCONNECT_SLOW.code)
        if disconnect.code in slow:
            self._link.reset(self._stream_id)
            self._end_session()
        else:
            self._link.write(self._stream_id, b"", end=True)
            self._deadline.set(self._endpoint.options.end_pause)

    def _end_session(self) -> None:
        self._enter(WebTransportState.GONE)
        self._deadline.close()
        reason = self._reason
        quiet = reason.code == codes.DISCONNECT_CONNECTION_CLOSED.code
        code, text = (0, "") if quiet else (reason.code, reason.reason)
        self._link.end_session(self.session_id, code, text)

    # -- time limits

    def _unsent_bytes(self) -> int:
        return self._link.unsent(self._stream_id)

    def _on_deadline(self) -> None:
        """The client opened no stream or took nothing, or the session may end now."""
        if self._state is not WebTransportState.OPEN:
            self._end_session()
        elif self.session is not None:
            self.session.disconnect(Disconnect(codes.DISCONNECT_WRITE_ERROR))


def _whole_lines(buffer: bytearray) -> int:
    return buffer.rfind(b"\n") + 1


def _longest(buffer: bytearray, size: int) -> int:
    """Bytes of the longest line, of the first ``size`` bytes."""
    return max(map(len, buffer[:size].split(b"\n"))) if size else 0


def _whole_messages(buffer: bytearray, limit: int) -> int:
    """Bytes of whole messages with lengths; -1 if one is longer than ``limit``."""
    start = 0
    while start < len(buffer):
        length = shift = 0
        at = start
        while at < len(buffer):
            byte = buffer[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 28:
                return -1
        else:
            return start  # the length itself is not whole
        if length > limit:
            return -1
        if at + length > len(buffer):
            return start
        start = at + length
    return start
