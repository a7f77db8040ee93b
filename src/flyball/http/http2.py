"""One HTTP/2 connection: the library's state machine between a TCP connection and its streams."""

from __future__ import annotations

import asyncio
import logging
import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import h2.errors
import h2.events
import h2.exceptions
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from flyball.aio.states import State
from flyball.http._h2_private import has_oversized_frame
from flyball.http.multiplex.request import open_stream
from flyball.http.multiplex.wire import MultiplexedConnection
from flyball.http.timeouts import Deadline, RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.http.multiplex.service import StreamService
    from flyball.http.multiplex.wire import Fields, StreamWire

logger: Final = logging.getLogger("flyball.transports")

MAX_QUEUED: Final = 1048576
"""Bytes of answers that a client may leave unread before nothing more is read from it."""
MAX_CONTROL_FRAMES: Final = 1000
"""Frames in a second that bring no request any further: resets, pings, settings, empty data."""
EVENTS_A_TURN: Final = 64
"""Frames of one connection that are worked off before the others have their turn."""
SLICE: Final = 2048
"""Bytes that the library is given at a time: it does not stop before their end."""
_DATA_HEAD: Final = struct.Struct(">HBBBI").pack
"""Length (high and low), type and flags (none), stream (RFC 9113, section 4.1)."""


@dataclass(frozen=True, slots=True)
class Http2Options:
    """Settings of HTTP/2."""

    max_streams: int = 250
    """Requests of one client at a time (SETTINGS_MAX_CONCURRENT_STREAMS)."""
    window: int = 262_144
    """Bytes of a request's body that may be under way (SETTINGS_INITIAL_WINDOW_SIZE)."""
    max_head_size: int = 65_536
    """Bytes of a request's header fields (SETTINGS_MAX_HEADER_LIST_SIZE)."""
    websocket: bool = False
    """WebSocket connections may be streams (RFC 8441). Browsers then prefer that."""


class _Connection(H2Connection):
    """The library's, with less memory for streams that are over."""

    MAX_CLOSED_STREAMS = 1024


class _Unsent:
    """What waits for a stream's window, or for the connection's."""

    __slots__ = ("chunks", "deadline", "size")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.deadline: Deadline | None = None
        """Of an answer that is complete; others are looked after by those who write them."""


class Http2State(State):
    """How far a connection is."""

    OPEN = "open"
    CLOSING = "closing"  # no more requests; those under way may end
    LOST = "lost"


# A connection closes when its listener does, when its client is idle for too long or breaks the
# rules, and is lost when the TCP connection is.
_TRANSITIONS: Final = {
    Http2State.OPEN: {Http2State.CLOSING, Http2State.LOST},
    Http2State.CLOSING: {Http2State.CLOSING, Http2State.LOST},
    Http2State.LOST: set[Http2State](),
}
_OPEN, _CLOSING, _LOST = Http2State.OPEN, Http2State.CLOSING, Http2State.LOST


class Http2Connection(MultiplexedConnection, asyncio.Protocol):
    """Reads requests, each a wire of its own, and writes what they are answered.

    Frames of one turn of the loop leave in one write.
    """

    __slots__ = (
        "_control_frames",
        "_deadline",
        "_greeted",
        "_h2",
        "_input",
        "_is_blocked",
        "_is_flushing",
        "_loop",
        "_options",
        "_output",
        "_service",
        "_state",
        "_unsent",
        "_wire",
        "streams",
    )

    high: ClassVar[int] = 0
    low: ClassVar[int] = 0

    def __init__(self, service: StreamService, options: Http2Options) -> None:
        self._service = service
        self._options = options
        self._h2 = _Connection(H2Configuration(client_side=False, header_encoding=None))
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: options.max_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: options.window,
                SettingCodes.MAX_HEADER_LIST_SIZE: options.max_head_size,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: int(options.websocket),
            },
        )
        self._loop = asyncio.get_running_loop()
        self._wire: asyncio.Transport = None  # type: ignore[assignment]  # set when made
        self.streams: dict[int, StreamWire] = {}
        self.held = 0
        self._unsent: dict[int, _Unsent] = {}
        self._input = b""  # what came and is left for another turn
        self._greeted = False  # the client has sent its settings, as it must first
        self._output = bytearray()  # frames of this turn
        self._is_blocked = False  # the TCP connection takes nothing
        self._is_flushing = False  # this turn ends with a write
        self._state = _OPEN
        self._control_frames = RateLimit(service.timers.clock, MAX_CONTROL_FRAMES)
        self._deadline = Deadline(service.timers, self._on_deadline)

    def _enter(self, state: Http2State) -> None:
        assert state in _TRANSITIONS[self._state], (self._state, state)
        self._state = state

    # -- asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection."""
        self._wire = transport  # type: ignore[assignment]  # uvloop's are no asyncio.Transport
        # TLS transports would take half a megabyte before they call themselves full.
        self._wire.set_write_buffer_limits(high=65536)
        self._limit_time()
        self._service.connections.add(self)
        self._h2.initiate_connection()
        # The connection's window is for all requests together; the default holds back one.
        self._h2.increment_flow_control_window(self._options.window)
        self._flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is gone, and all its streams."""
        self._enter(_LOST)
        self._deadline.close()
        self._service.connections.discard(self)
        for stream_id in list(self._unsent):
            self._drop_unsent(stream_id)
        streams, self.streams = self.streams, {}
        for wire in streams.values():
            wire.gone()

    def eof_received(self) -> None:
        """The client is gone: asyncio closes the connection."""

    def pause_writing(self) -> None:
        """The client does not read."""
        self._is_blocked = True
        self._deadline.set(self._service.limits.write_timeout)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_blocked = False
        self._limit_time()
        if not self._input:
            self._wire.resume_reading()
        self._pump_all()

    def data_received(self, data: bytes) -> None:
        """Frames from the client."""
        if self._input:
            self._input += data
        else:
            self._work(data)

    def _work(self, data: bytes) -> None:
        """Works frames off, but no more than one turn's share."""
        left = EVENTS_A_TURN
        for start in range(0, len(data), SLICE):
            if left <= 0:
                self._go_on_later(data[start:])
                break
            if self._state is _LOST or self._wire.is_closing():
                return
            left -= self._receive(data[start : start + SLICE])
        self._flush_soon()

    def _go_on_later(self, rest: bytes) -> None:
        """Leaves the rest of what came to another turn: the other connections come first."""
        self._input = rest
        self._wire.pause_reading()
        self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        data, self._input = self._input, b""
        self._work(data)
        if not self._input and not self._is_deaf and self._state is not _LOST:
            self._wire.resume_reading()

    def _receive(self, data: bytes) -> int:
        """Gives some bytes to the library; how many frames they completed."""
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._fail(error)
            return 0
        for event in events:
            handle = self._handlers.get(type(event))
            if handle is not None:
                handle(self, event)
            if self._state is _LOST:
                return 0
        if self._control_frames.is_exceeded:
            self._close(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        elif has_oversized_frame(self._h2):
            self._close(h2.errors.ErrorCodes.FRAME_SIZE_ERROR)
        return len(events)

    def _fail(self, error: h2.exceptions.ProtocolError) -> None:
        """The client broke the rules: the library has a GOAWAY ready."""
        logger.debug("HTTP/2 connection failed: %s", error)
        self._flush()
        self._close_wire()

    # -- events

    def _on_request(self, event: h2.events.RequestReceived) -> None:
        stream_id, fields = event.stream_id, event.headers
        assert stream_id is not None
        if self._state is not _OPEN:
            self._reset(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        open_stream(self._service, self, stream_id, list(fields or ()))
        self._limit_time()

    def _on_data(self, event: h2.events.DataReceived) -> None:
        stream_id = event.stream_id
        assert stream_id is not None
        credit = event.flow_controlled_length or 0
        wire = self.streams.get(stream_id)
        if not event.data:
            self._control_frames.count()
        if wire is None:
            self._consumed_nothing(stream_id, credit)
        else:
            wire.feed(bytes(event.data or b""), credit)

    def _on_end(self, event: h2.events.StreamEnded) -> None:
        wire = self.streams.get(event.stream_id or 0)
        if wire is not None:
            wire.feed_eof()

    def _on_reset(self, event: h2.events.StreamReset) -> None:
        self._control_frames.count()
        self._forget(event.stream_id or 0)

    def _on_window(self, event: h2.events.WindowUpdated) -> None:
        if event.stream_id:
            self._pump(event.stream_id)
        else:
            self._pump_all()

    def _on_settings(self, _event: h2.events.RemoteSettingsChanged) -> None:
        self._control_frames.count()
        self._greeted = True
        self._limit_time()
        self._pump_all()  # the initial window applies to open streams too

    def _on_control_frame(self, _event: h2.events.Event) -> None:
        self._control_frames.count()

    def _on_goaway(self, _event: h2.events.ConnectionTerminated) -> None:
        self._flush()  # the library sends nothing more from here on
        self._close_wire()

    _handlers: ClassVar[dict[type[h2.events.Event], Callable[[Http2Connection, Any], None]]] = {
        h2.events.RequestReceived: _on_request,
        h2.events.DataReceived: _on_data,
        h2.events.StreamEnded: _on_end,
        h2.events.StreamReset: _on_reset,
        h2.events.WindowUpdated: _on_window,
        h2.events.RemoteSettingsChanged: _on_settings,
        h2.events.PingReceived: _on_control_frame,
        h2.events.PriorityUpdated: _on_control_frame,
        h2.events.UnknownFrameReceived: _on_control_frame,
        h2.events.ConnectionTerminated: _on_goaway,
    }
    """Who is told of what the library has read; other events mean nothing to us."""

    # -- a stream's view (MultiplexedConnection)

    def send_head(self, stream_id: int, fields: Fields, *, end: bool = False) -> None:
        """See :meth:`MultiplexedConnection.send_head`."""
        if self._state is _LOST:
            return
        try:
            self._h2.send_headers(stream_id, fields, end_stream=end)
        except h2.exceptions.ProtocolError:
            return  # reset meanwhile; its end is told
        self._flush_soon()

    def send(self, stream_id: int, data: bytes) -> None:
        """See :meth:`MultiplexedConnection.send`."""
        if self._state is _LOST:
            return
        unsent = self._unsent.get(stream_id)
        if unsent is None and not self._is_blocked and self._try(stream_id, data):
            self._flush_soon()
            return
        if unsent is None:
            unsent = self._unsent[stream_id] = _Unsent()
        unsent.chunks.append(data)
        unsent.size += len(data)
        self._pump(stream_id)

    def end(self, stream_id: int) -> None:
        """See :meth:`MultiplexedConnection.end`."""
        if self._state is _LOST:
            return
        unsent = self._unsent.get(stream_id)
        if unsent is None:
            self._finish(stream_id)
        else:
            unsent.deadline = Deadline(self._service.timers, partial(self._give_up, stream_id))
            unsent.deadline.set(self._service.limits.write_timeout)

    def reset(self, stream_id: int) -> None:
        """See :meth:`MultiplexedConnection.reset`."""
        self._reset(stream_id, h2.errors.ErrorCodes.CANCEL)
        self._drop_unsent(stream_id)
        self.streams.pop(stream_id, None)
        self._limit_time()

    def unsent(self, stream_id: int) -> int:
        """See :meth:`MultiplexedConnection.unsent`."""
        unsent = self._unsent.get(stream_id)
        return 0 if unsent is None else unsent.size

    def consumed(self, stream_id: int, size: int) -> None:
        """See :meth:`MultiplexedConnection.consumed`."""
        if self._state is _LOST or not size:
            return
        try:
            self._h2.acknowledge_received_data(size, stream_id)
        except h2.exceptions.ProtocolError as error:
            logger.debug("no credit for stream %d: %s", stream_id, error)
        self._flush_soon()

    def _consumed_nothing(self, stream_id: int, credit: int) -> None:
        """Data for a stream that is over counts against the connection all the same."""
        self._control_frames.count()
        self.consumed(stream_id, credit)

    def info(self, name: str) -> Any:
        """See :meth:`MultiplexedConnection.info`."""
        if name == "scheme":
            return "http" if self._wire.get_extra_info("ssl_object") is None else "https"
        return self._wire.get_extra_info(name)

    # -- output

    def _try(self, stream_id: int, data: bytes) -> bool:
        """Makes frames of ``data`` if the windows take all of it."""
        connection = self._h2
        stream = connection.streams.get(stream_id)
        if stream is None or stream.closed:
            return True  # over; its end is told, or is among the events still to come
        size = len(data)
        if min(stream.outbound_flow_control_window, connection.outbound_flow_control_window) < size:
            return False
        largest = connection.max_outbound_frame_size
        if size <= largest:
            # As the library's send_data() does, in 1 µs, not 8: a fan-out comes through here.
            stream.outbound_flow_control_window -= size
            connection.outbound_flow_control_window -= size
            output = self._output
            output += connection.data_to_send()  # heads go first
            output += _DATA_HEAD(size >> 8, size & 255, 0, 0, stream_id)
            output += data
            return True
        for start in range(0, size, largest):
            self._try(stream_id, data[start : start + largest])
        return True

    def _pump(self, stream_id: int) -> None:
        """Sends what waits for a stream, as far as its window goes."""
        unsent = self._unsent.get(stream_id)
        if unsent is None or self._is_blocked or self._state is _LOST:
            return
        data = unsent.chunks[0] if len(unsent.chunks) == 1 else b"".join(unsent.chunks)
        try:
            window = self._h2.local_flow_control_window(stream_id)
        except h2.exceptions.ProtocolError:
            window = len(data)  # reset meanwhile: goes nowhere
        if window <= 0:
            unsent.chunks = [data]
            return
        self._try(stream_id, data[:window])
        self._flush_soon()
        rest = data[window:]
        if rest:
            unsent.chunks, unsent.size = [rest], len(rest)
            return
        self._drop_unsent(stream_id)
        wire = self.streams.get(stream_id)
        if unsent.deadline is not None:
            self._finish(stream_id)
        elif wire is not None:
            wire.drained()

    def _pump_all(self) -> None:
        for stream_id in list(self._unsent):
            self._pump(stream_id)

    def _finish(self, stream_id: int) -> None:
        """Everything is sent: ends our side, and the client's if it has not."""
        try:
            self._h2.end_stream(stream_id)
            stream = self._h2.streams.get(stream_id)
            if stream is not None and not stream.closed:
                # RFC 9113, section 8.1: the rest of the request is not needed.
                self._h2.reset_stream(stream_id, h2.errors.ErrorCodes.NO_ERROR)
        except h2.exceptions.ProtocolError as error:
            logger.debug("stream %d ended by itself: %s", stream_id, error)
        self._flush_soon()
        self._loop.call_soon(self._forget, stream_id)

    def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        if self._state is _LOST:
            return
        try:
            self._h2.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError as error:
            logger.debug("stream %d is over already: %s", stream_id, error)
        self._flush_soon()

    def _forget(self, stream_id: int) -> None:
        """A stream is over."""
        self._drop_unsent(stream_id)
        wire = self.streams.pop(stream_id, None)
        if wire is not None:
            wire.gone()
        if self._state is _CLOSING and not self.streams:
            self._flush()
            self._close_wire()
        else:
            self._limit_time()

    def _drop_unsent(self, stream_id: int) -> None:
        unsent = self._unsent.pop(stream_id, None)
        if unsent is not None and unsent.deadline is not None:
            unsent.deadline.close()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._state is _LOST:
            return
        output = self._output
        output += self._h2.data_to_send()
        if not output:
            return
        self._output = bytearray()
        self._wire.write(output)
        if self._is_deaf:
            self._wire.pause_reading()  # it asks and asks, and does not listen

    @property
    def _is_deaf(self) -> bool:
        return self._is_blocked and self._wire.get_write_buffer_size() > MAX_QUEUED

    # -- the end, and time limits

    def _close(self, code: h2.errors.ErrorCodes) -> None:
        if self._state is _LOST:
            return
        self._enter(_CLOSING)
        self._h2.close_connection(code)
        self._flush()
        self._close_wire()

    def _close_wire(self) -> None:
        """The client has some time to take what was written."""
        self._wire.close()
        if self._state is not _LOST:
            self._deadline.set(self._service.limits.write_timeout)

    def _limit_time(self) -> None:
        """A client without requests may stay for some time; one that must read has its limit."""
        if self._is_blocked or self._state is _LOST or self._wire.is_closing():
            return
        if self.streams:
            self._deadline.clear()
        elif not self._greeted:
            self._deadline.set(self._service.limits.head_timeout)
        else:
            self._deadline.extend(self._service.limits.keep_alive_timeout)

    def _on_deadline(self) -> None:
        if self._is_blocked or self._wire.is_closing():
            self._wire.abort()
        elif not self.streams:
            self._close(h2.errors.ErrorCodes.NO_ERROR)

    def _give_up(self, stream_id: int) -> None:
        """A client does not take the rest of a complete answer."""
        self._reset(stream_id, h2.errors.ErrorCodes.CANCEL)
        self._forget(stream_id)

    def shutdown(self) -> None:
        """Takes no more requests; those under way may end."""
        if self._state is not _OPEN:
            return
        self._enter(_CLOSING)
        if not self.streams:
            self._close(h2.errors.ErrorCodes.NO_ERROR)
            return
        # The library would take this for the end of all streams: it is said by hand
        # (RFC 9113, section 6.8).
        self._flush()
        last = max(self._h2.highest_inbound_stream_id, 0)
        frame = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last.to_bytes(4, "big") + bytes(4)
        self._wire.write(frame)

    @property
    def is_busy(self) -> bool:
        """Requests are still being answered."""
        return bool(self.streams)

    def abort(self) -> None:
        """Drops the connection."""
        self._wire.abort()
