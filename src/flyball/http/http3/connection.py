"""One QUIC connection that speaks HTTP/3 (RFC 9114): requests, and WebTransport sessions."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

from aioquic.h3.connection import ErrorCode, ProtocolError
from aioquic.h3.events import (
    DataReceived,
    H3Event,
    HeadersReceived,
    WebTransportStreamDataReceived,
)
from aioquic.quic.events import (
    ConnectionTerminated,
    ProtocolNegotiated,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode

from flyball.http.http3._private import (
    BoundedH3,
    QuicProtocol,
    Windows,
    drop_unsent,
    incomplete_frame_size,
    stop_receiving,
    unsent_bytes,
)
from flyball.http.multiplex.request import open_stream
from flyball.http.multiplex.wire import MultiplexedConnection
from flyball.http.timeouts import Deadline, RateLimit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.http.http3.sessions import SessionEndpoint, WebTransportSession
    from flyball.http.multiplex.service import StreamService
    from flyball.http.multiplex.wire import Fields, StreamWire

logger: Final = logging.getLogger("flyball.transports")

MAX_SESSIONS: Final = 16
"""WebTransport sessions on one connection; a page needs one."""
MAX_PACKET: Final = 2048
"""Bytes of a UDP packet; networks carry some 1,500, and a longer one could hold tens of thousands of
frames."""
PACKETS_A_TURN: Final = 8
"""Packets of one connection that are worked off before the others have their turn."""
MAX_WAITING: Final = 256
"""Packets that may wait for it; more are dropped, as the network may do: they are sent again."""
MAX_RESETS: Final = 1000
"""Requests in a second that a client may take back."""
ENDINGS_INTERVAL: Final = 1.0
"""Seconds between two looks at streams that are ended and not all taken."""
MAX_REASON: Final = 1024
"""Bytes of the reason that a session's end is told with."""
_CLOSE_CAPSULE: Final = 0x2843
"""CLOSE_WEBTRANSPORT_SESSION (draft-ietf-webtrans-http3)."""
_OVER: Final = (ProtocolError, RuntimeError, ValueError, AssertionError)
"""What the library raises for a stream that was ended or reset meanwhile."""


class Http3Connection(MultiplexedConnection, QuicProtocol):
    """Reads requests, each a wire of its own, and writes what they are answered.

    Unsent bytes are those that the client has not acknowledged: QUIC keeps no others apart.
    """

    high: ClassVar[int] = 65536
    low: ClassVar[int] = 16384

    def __init__(
        self,
        service: StreamService,
        webtransports: Mapping[str, SessionEndpoint],
        max_connections: int,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._service = service
        self._webtransports = webtransports
        self._windows = Windows(self.quic)
        self._http: BoundedH3 | None = None
        self.streams: dict[int, StreamWire] = {}
        self.held = 0
        self._full: set[int] = set()
        """Streams whose writers pause."""
        self._ending: dict[int, float] = {}
        """Streams with their end written that may not all be taken, and when they must be."""
        self._sessions: dict[int, WebTransportSession] = {}
        """WebTransport sessions by the stream of their request."""
        self._left = PACKETS_A_TURN
        self._waiting: deque[tuple[bytes | str, Any]] = deque()
        self._is_lost = False
        self._is_closing = service.stopping
        self._resets = RateLimit(service.timers.clock, MAX_RESETS)
        self._endings = Deadline(service.timers, self._check_endings)
        self._deadline = Deadline(service.timers, self._on_deadline)
        if len(service.connections) >= max_connections or service.stopping:
            self.quic.close(QuicErrorCode.CONNECTION_REFUSED)
        service.connections.add(self)
        self._limit_time()

    # -- input

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """A packet from the client: worked off now, or in another turn if there are many."""
        if len(data) > MAX_PACKET:
            return
        if self._left == PACKETS_A_TURN:
            asyncio.get_running_loop().call_soon(self._next_turn)
        if self._left:
            self._left -= 1
            self._receive(data, addr)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append((data, addr))

    def _next_turn(self) -> None:
        self._left = PACKETS_A_TURN
        waiting, self._waiting = self._waiting, deque()
        for data, addr in waiting:
            self.datagram_received(data, addr)

    def _receive(self, data: bytes | str, addr: Any) -> None:
        super().datagram_received(data, addr)
        for session in list(self._sessions.values()):
            session.acknowledged()
        for stream_id in list(self._full):
            if self.unsent(stream_id) <= self.low:
                self._full.discard(stream_id)
                wire = self.streams.get(stream_id)
                if wire is not None:
                    wire.drained()
        if self._is_closing:
            self._end_if_done()

    def quic_event_received(self, event: QuicEvent) -> None:
        """What a packet, or time, has brought."""
        if isinstance(event, ProtocolNegotiated):
            self._http = BoundedH3(
                self.quic,
                self._service.limits.max_head_size,
                enable_webtransport=bool(self._webtransports),
            )
        elif isinstance(event, ConnectionTerminated):
            self._forget()
            return
        elif isinstance(event, StreamReset | StopSendingReceived):
            self._resets.count()
            self._stream_over(event.stream_id)
        http = self._http
        if http is None or self._is_lost:
            return
        for happened in http.handle_event(event):
            self._on_http(happened)
        if isinstance(event, StreamDataReceived):
            # The library keeps frames that are not whole, of any size.
            size = incomplete_frame_size(http, event.stream_id)
            if size > self._service.limits.max_head_size:
                self._fail("a frame is too long")
        if self._resets.is_exceeded:
            self._fail("too many requests taken back")

    def _fail(self, reason: str) -> None:
        self.quic.close(ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase=reason)
        self._forget()

    def _on_http(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self._on_headers(event)
        elif isinstance(event, WebTransportStreamDataReceived):
            session = self._sessions.get(event.session_id)
            if session is None:
                self.reset(event.stream_id)
            elif not event.stream_id & 3:  # a client's, in both directions; others carry nothing
                session.stream_data(event.stream_id, event.data, ended=event.stream_ended)
        elif isinstance(event, DataReceived):
            wire = self.streams.get(event.stream_id)
            if wire is not None:
                if event.data:
                    self.hold(event.stream_id, len(event.data))
                    wire.feed(event.data, len(event.data))
                if event.stream_ended:
                    wire.feed_eof()
            elif event.stream_ended:
                self._session_over(event.stream_id)

    def _on_headers(self, event: HeadersReceived) -> None:
        stream_id = event.stream_id
        wire = self.streams.get(stream_id)
        if wire is None and stream_id not in self._sessions:
            wire = self._begin(stream_id, list(event.headers))
        if event.stream_ended:  # with the head, or with trailers
            if wire is not None:
                wire.feed_eof()
            else:
                self._session_over(stream_id)

    def _begin(self, stream_id: int, fields: Fields) -> StreamWire | None:
        """A request; returns its wire unless WebTransport has to do with it."""
        headers = dict(fields)
        path, _, query = headers.get(b":path", b"").decode("latin-1").partition("?")
        endpoint = self._webtransports.get(path)
        if self._is_closing:
            self._answer(stream_id, 503)
        elif endpoint is None:
            wire = open_stream(self._service, self, stream_id, fields)
            self._limit_time()
            return wire
        elif headers.get(b":method") != b"CONNECT":
            self._answer(stream_id, 405)
        elif headers.get(b":protocol") != b"webtransport":
            self._answer(stream_id, 400)
        elif len(self._sessions) >= MAX_SESSIONS:
            self._answer(stream_id, 503)
        else:
            self._open_session(endpoint, stream_id, headers, query)
        return None

    def _open_session(
        self,
        endpoint: SessionEndpoint,
        stream_id: int,
        headers: Mapping[bytes, bytes],
        query: str,
    ) -> None:
        text = {
            n.decode("latin-1"): v.decode("latin-1")
            for n, v in headers.items()
            if not n.startswith(b":")
        }
        text["host"] = headers.get(b":authority", b"").decode("latin-1")
        status = endpoint.check(text)
        if status != 200:
            self._answer(stream_id, status)
            return
        answer = [(b":status", b"200"), (b"sec-webtransport-http3-draft", b"draft02")]
        self.send_head(stream_id, answer)
        self._sessions[stream_id] = endpoint.open(self, stream_id, text, query)
        self._limit_time()

    def _answer(self, stream_id: int, status: int) -> None:
        self.send_head(stream_id, [(b":status", b"%d" % status)], end=True)

    # -- the end of streams

    def _stream_over(self, stream_id: int) -> None:
        """The client ended a stream in an unfriendly way."""
        for session in list(self._sessions.values()):
            if session.uses(stream_id):
                session.lost()
                self.end_session(session.session_id, 0, "")
                return
        wire = self.streams.get(stream_id)
        if wire is None:
            self._session_over(stream_id)
        else:
            self.reset(stream_id)
            wire.gone()
            self._end_if_done()

    def _let_go(self, stream_id: int) -> None:
        self._full.discard(stream_id)
        self._windows.forget(stream_id)
        wire = self.streams.pop(stream_id, None)
        if wire is not None:
            wire.gone()
        self._end_if_done()

    def _session_over(self, session_id: int) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.lost()
            self.write(session_id, b"", end=True)
            self._end_if_done()

    def _forget(self) -> None:
        """The connection is gone."""
        if self._is_lost:
            return
        self._is_lost = True
        self._service.connections.discard(self)
        self._deadline.close()
        self._endings.close()
        self._full.clear()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.lost()
        streams, self.streams = self.streams, {}
        for wire in streams.values():
            wire.gone()

    # -- a stream's view (MultiplexedConnection)

    def send_head(self, stream_id: int, fields: Fields, *, end: bool = False) -> None:
        """See :meth:`MultiplexedConnection.send_head`."""
        if self._is_lost or self._http is None:
            return
        try:
            self._http.send_headers(stream_id, fields, end_stream=end)
        except _OVER as error:
            logger.debug("stream %d took no head: %s", stream_id, error)
        self.transmit_soon()

    def send(self, stream_id: int, data: bytes) -> None:
        """See :meth:`MultiplexedConnection.send`."""
        self._send_data(stream_id, data, end=False)
        if self.unsent(stream_id) > self.high:
            self._full.add(stream_id)

    def end(self, stream_id: int) -> None:
        """See :meth:`MultiplexedConnection.end`."""
        self._send_data(stream_id, b"", end=True)
        self._expect_end(stream_id)
        stop_receiving(self.quic, stream_id, ErrorCode.H3_NO_ERROR)
        asyncio.get_running_loop().call_soon(self._let_go, stream_id)

    def reset(self, stream_id: int) -> None:
        """See :meth:`MultiplexedConnection.reset`."""
        if self._is_lost or stream_id < 0:
            return
        stop_receiving(self.quic, stream_id, ErrorCode.H3_NO_ERROR)
        try:
            self.quic.reset_stream(stream_id, ErrorCode.H3_NO_ERROR)
        except _OVER as error:
            logger.debug("stream %d is over already: %s", stream_id, error)
        drop_unsent(self.quic, stream_id)
        self._full.discard(stream_id)
        self._ending.pop(stream_id, None)
        self._windows.forget(stream_id)
        self.streams.pop(stream_id, None)
        self._limit_time()
        self.transmit_soon()

    def unsent(self, stream_id: int) -> int:
        """See :meth:`MultiplexedConnection.unsent`."""
        return unsent_bytes(self.quic, stream_id)

    def consumed(self, stream_id: int, size: int) -> None:
        """See :meth:`MultiplexedConnection.consumed`."""
        if self._windows.release(stream_id, size):
            self.transmit_soon()

    def info(self, name: str) -> Any:
        """See :meth:`MultiplexedConnection.info`."""
        if name == "scheme":
            return "https"
        if name == "peername":
            return self.peer_address()
        return self.udp.get_extra_info(name) if self.udp is not None else None

    def _send_data(self, stream_id: int, data: bytes, *, end: bool) -> None:
        if self._is_lost or self._http is None or stream_id not in self.streams:
            return
        try:
            self._http.send_data(stream_id, data, end_stream=end)
        except _OVER as error:
            logger.debug("stream %d took no data: %s", stream_id, error)
        self.transmit_soon()

    # -- a WebTransport session's view

    def hold(self, stream_id: int, size: int) -> None:
        """Bytes of a stream wait: the client gets credit for them by :meth:`consumed`."""
        self._windows.hold(stream_id, size)

    def write(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Sends on a session's stream, later in this turn of the loop."""
        if self._is_lost:
            return
        try:
            self.quic.send_stream_data(stream_id, data, end)
        except _OVER:
            return  # the stream was ended or reset meanwhile
        if end:
            self._expect_end(stream_id)
        self.transmit_soon()

    def end_session(self, session_id: int, code: int, reason: str) -> None:
        """Ends a WebTransport session with a capsule."""
        if self._sessions.pop(session_id, None) is None or self._is_lost or self._http is None:
            return
        value = struct.pack(">I", code) + reason.encode()[:MAX_REASON]
        capsule = _varint(_CLOSE_CAPSULE) + _varint(len(value)) + value
        try:
            self._http.send_data(session_id, capsule, end_stream=True)
            self._expect_end(session_id)
        except _OVER as error:
            logger.debug("a session's end could not be told: %s", error)
        self.transmit_soon()
        self._end_if_done()

    # -- the end, and time limits

    def _limit_time(self) -> None:
        """A client without requests and sessions may stay for some time."""
        if self._is_lost:
            return
        if self._is_used:
            self._deadline.clear()
        else:
            self._deadline.extend(self._service.limits.keep_alive_timeout)

    def _on_deadline(self) -> None:
        if not self._is_used:
            self.abort()

    def _expect_end(self, stream_id: int) -> None:
        """A stream is ended: the client must take what is unsent in time."""
        timers, limits = self._service.timers, self._service.limits
        if not self._ending:
            self._endings.set(ENDINGS_INTERVAL)
        self._ending[stream_id] = timers.clock.monotonic() + limits.write_timeout

    def _check_endings(self) -> None:
        now = self._service.timers.clock.monotonic()
        for stream_id, due in list(self._ending.items()):
            if not self.unsent(stream_id):
                del self._ending[stream_id]
            elif now >= due:
                self.reset(stream_id)
        if self._ending:
            self._endings.set(ENDINGS_INTERVAL)

    @property
    def _is_used(self) -> bool:
        return bool(self.streams or self._sessions)

    @property
    def is_busy(self) -> bool:
        """See :attr:`MultiplexedConnection.is_busy`: there are requests or sessions, or ends to be taken."""
        return self._is_used or any(map(self.unsent, self._ending))

    def shutdown(self) -> None:
        """See :meth:`MultiplexedConnection.shutdown`."""
        self._is_closing = True

    def _end_if_done(self) -> None:
        self._limit_time()
        if self._is_closing and not self.is_busy and not self._is_lost:
            asyncio.get_running_loop().call_soon(self.abort)

    def abort(self) -> None:
        """See :meth:`MultiplexedConnection.abort`."""
        if not self._is_lost:
            self.close(ErrorCode.H3_NO_ERROR)
            self._forget()


def _varint(value: int) -> bytes:
    """RFC 9000, section 16, up to 30 bits."""
    if value < 0x40:
        return bytes((value,))
    if value < 0x4000:
        return struct.pack(">H", value | 0x4000)
    return struct.pack(">I", value | 0x80000000)
