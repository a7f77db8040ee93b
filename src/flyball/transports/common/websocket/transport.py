"""A WebSocket connection: the session's transport and asyncio's protocol in one object."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from flyball.aio.states import State
from flyball.core.errors import Disconnect
from flyball.core.transport import Transport
from flyball.http.address import remote_address
from flyball.http.timeouts import WriteDeadline
from flyball.protocol import codes
from flyball.transports.common.websocket import frames
from flyball.transports.common.websocket.frames import FrameParser
from flyball.transports.common.websocket.violations import Violation

if TYPE_CHECKING:
    from flyball.core.node import Node
    from flyball.core.transport import Framing
    from flyball.transports.common.websocket.deflate import Inflater

CLOSE_TIMEOUT: Final = 5.0
"""Seconds for the client to answer a close frame, and to close its side of the connection."""


MAX_IGNORED: Final = 262_144
"""Bytes that a client may still send after our close frame, before its own: who sends more is not
about to close."""


class SocketState(State):
    """How far a connection is."""

    OPEN = "open"
    LINGERING = "lingering"
    """Connect was refused: messages are ignored until the deadline."""
    CLOSING = "closing"
    """Our close frame is out; the client's is awaited."""
    DRAINING = "draining"
    """Nothing is read any more; the peer's end of the TCP connection is awaited."""
    GONE = "gone"


# A connection is open until its session ends. A refused client may linger, so that it does not
# come back at once. With a close frame of ours it closes; with the client's, after a violation,
# or where no close frame is due, it drains. It is gone at any time.
_TRANSITIONS: Final = {
    SocketState.OPEN: {
        SocketState.LINGERING,
        SocketState.CLOSING,
        SocketState.DRAINING,
        SocketState.GONE,
    },
    SocketState.LINGERING: {SocketState.CLOSING, SocketState.DRAINING, SocketState.GONE},
    SocketState.CLOSING: {SocketState.DRAINING, SocketState.GONE},
    SocketState.DRAINING: {SocketState.DRAINING, SocketState.GONE},
    SocketState.GONE: set[SocketState](),
}
_READING: Final = (SocketState.OPEN, SocketState.LINGERING, SocketState.CLOSING)
"""States in which frames of the client are looked at."""


@dataclass(frozen=True, slots=True)
class SocketContext:
    """What all connections of an endpoint have in common."""

    node: Node
    message_size_limit: int
    write_timeout: float
    inflater: Inflater | None
    close_frames: bool = True
    """We say goodbye with a close frame (RFC 6455, section 7)."""
    disconnect_push: bool = False
    """A message says why, before the close frame."""


class WebSocketTransport(Transport, asyncio.Protocol):
    """Messages in WebSocket frames over one TCP or TLS connection.

    At rest it is one slotted object: no task, no timer of its own, no parser. A chunk that
    is exactly one frame of 64 KB at most, the usual case, is handled without a parser; anything else
    makes one, which is thrown away at the next message boundary.

    The wire's write buffer limit is as good as 0 (TLS transports take 0 for always full), so that the wire either takes a frame at once with
    one ``send(2)`` or reports that it is full; from then on frames wait in the queue of the
    base class, as references to the bytes that all subscribers share.
    """

    __slots__ = (
        "_context",
        "_deadline",
        "_held",
        "_later",
        "_parser",
        "_pinger",
        "_plain",
        "_state",
        "_wire",
    )

    name: ClassVar[str] = "websocket"
    has_close_codes: ClassVar[bool] = True

    def __init__(
        self,
        context: SocketContext,
        wire: asyncio.Transport,
        framing: Framing,
        *,
        max_queue_size: int,
    ) -> None:
        """Takes over ``wire`` after the 101 answer; its protocol must be set to this object."""
        super().__init__(framing, max_queue_size=max_queue_size)
        self._context = context
        self._wire = wire
        self._state = SocketState.OPEN
        self._plain = True  # open, at a message boundary: the parser can be skipped
        self._held = False  # the session has commands waiting
        self._later = False  # another turn takes up what the parser has left
        self._parser: FrameParser | None = None
        self._pinger: FramePinger | None = None
        self._deadline: WriteDeadline | None = None
        wire.set_write_buffer_limits(high=1, low=0)

    @property
    def app_ping(self) -> bool:
        """See :attr:`Transport.app_ping`."""
        return self._pinger is None

    def start_frame_pings(self) -> None:
        """Pings are WebSocket frames on this connection (call before the first message)."""
        self._pinger = FramePinger(self, self._context.node)

    def remote_address(self) -> str:
        """See :meth:`Transport.remote_address`."""
        return remote_address(self._wire)

    # -- input

    def data_received(self, data: bytes) -> None:
        """Bytes from the client (asyncio's protocol)."""
        size = len(data) - 6
        if (
            self._plain
            and 0 <= size <= 125
            and data[1] == size + 128
            and (data[0] == 0x81 or data[0] == 0x82)
        ):
            if size:
                # frames.unmask() written out: this is the hot path.
                key = int.from_bytes((data[2:6] * 32)[:size], "little")
                payload = (int.from_bytes(data[6:], "little") ^ key).to_bytes(size, "little")
            else:
                payload = b""
        elif self._plain and self._is_longer_frame(data):
            payload = frames.unmask(data[8:], data[4:8])
        else:
            if self._state in _READING:
                self._feed(data)
            return
        self.cork()
        self._deliver(payload)
        self.uncork()

    def _is_longer_frame(self, data: bytes) -> bool:
        """Whether ``data`` is exactly one whole message of 126 to 65535 bytes."""
        size = len(data) - 8
        if size < 126 or data[1] != 0xFE or (data[0] != 0x81 and data[0] != 0x82):
            return False
        limit = self._context.message_size_limit
        return data[2] << 8 | data[3] == size and (not limit or size <= limit)

    def _deliver(self, payload: bytes) -> None:
        """Gives one message to the session."""
        if self.session is not None:
            self.session.receive(payload)

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            inflater = self._context.inflater if self._is_compressed else None
            parser = self._parser = FrameParser(self._context.message_size_limit, inflater)
            self._plain = False
        if self._state is SocketState.CLOSING:
            parser.ignored += len(data)
            if parser.ignored > MAX_IGNORED:
                self._wire.abort()
                return
        events = parser.feed(data)
        self.cork()
        for opcode, payload in events:
            if self._state not in _READING:
                break
            if opcode < frames.OP_CLOSE:
                if self._state is SocketState.OPEN:
                    self._deliver(payload)
            else:
                self._control(opcode, payload)
        self.uncork()
        if self._state not in _READING:
            self._drop_parser()
        elif parser.violation is not None:
            self._fail(parser.violation)
        elif parser.idle and self._state is SocketState.OPEN:
            self._drop_parser()
            self._plain = True
        else:
            self._count_held(parser)
            if parser.has_more:
                self._go_on_later()

    def _count_held(self, parser: FrameParser) -> None:
        """What strangers leave unfinished fills a room that they share."""
        session = self.session
        if session is not None and session.is_stranger:
            self._context.node.held.hold(self, parser.size)

    def _drop_parser(self) -> None:
        self._parser = None
        held = self._context.node.held
        if held.size:  # asked after every frame: most often nobody holds anything
            held.free(self)

    def give_up(self) -> None:
        """See :meth:`Holder.give_up <flyball.aio.held.Holder.give_up>`."""
        self._parser = None
        self._wire.abort()

    def _go_on_later(self) -> None:
        """Leaves the rest of what came to another turn: the other connections come first."""
        if not self._later:
            self._later = True
            self._wire.pause_reading()
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._later = False
        if self._state in _READING and not self._held:
            self._feed(b"")
            self._read_on()

    def _read_on(self) -> None:
        """Reads again, once nothing is left of what came."""
        parser = self._parser
        if self._held or self._later:
            return
        if parser is not None and parser.has_more:
            self._go_on_later()
        elif self._state is not SocketState.GONE:
            self._wire.resume_reading()

    @property
    def _is_compressed(self) -> bool:
        return getattr(self.framing, "compressed", False)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.OP_PING:
            if self._state is not SocketState.CLOSING:
                self.send(frames.build_frame(frames.OP_PONG, payload))
        elif opcode == frames.OP_PONG:
            if self._pinger is not None:
                self._pinger.pong()
        else:
            code = frames.read_close(payload)
            if isinstance(code, Violation):
                self._fail(code)
            else:
                self._peer_closes(code)

    def _peer_closes(self, code: int) -> None:
        if self._state is not SocketState.CLOSING:
            self._say_last(frames.build_close(code))
        self._drop()

    def _fail(self, violation: Violation) -> None:
        """The peer broke the rules: tells it why, once, and waits for its end."""
        closing = self._state is SocketState.CLOSING
        self._drop_parser()
        if closing:
            self._drop()
            return
        # The session only hears that the connection is lost: what it was closed for counts here.
        self._context.node.metrics.transport_closes[self.name, violation.code] += 1
        # A message that is too big is told so without words on the wire, as the original does.
        words = violation.reason or violation.code.name.lower().replace("_", " ")
        why = f"{violation.code:d} {words}"
        self._say_last(frames.build_close(violation.code, violation.reason), why)
        if not self._wire.can_write_eof():  # TLS
            self._drop()
            return
        # A close() with unread input would reset the connection, and the client might never
        # see the frame: ends our direction only, and swallows what still comes.
        self._enter(SocketState.DRAINING, CLOSE_TIMEOUT)
        self._wire.resume_reading()
        self._wire.write_eof()

    def _say_last(self, frame: bytes, why: str = "") -> None:
        """Sends what is held back and ``frame``; the session is over."""
        self.uncork()
        self._wire.write(frame)
        session = self.session
        if session is not None:
            session.connection_lost(why)
        self.mark_closed()

    def eof_received(self) -> None:
        """The peer sends no more: asyncio closes the wire."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The wire is gone (asyncio's protocol)."""
        self._enter(SocketState.GONE, 0)
        self._drop_parser()
        if self._pinger is not None:
            self._pinger.stop()
        session = self.release_session()
        if session is not None:
            session.connection_lost()
        self.mark_closed()

    def pause_reading(self) -> None:
        """See :meth:`Transport.pause_reading`."""
        self._held = True
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        """See :meth:`Transport.resume_reading`."""
        self._held = False
        self._read_on()

    # -- output

    def send(self, frame: bytes) -> None:
        """See :meth:`Transport.send`; one call shorter, as broadcasts run through here."""
        if self._direct:
            self._wire.write(frame)
        else:
            self._enqueue(frame)

    def _write(self, data: bytes) -> None:
        self._wire.write(data)

    def pause_writing(self) -> None:
        """The wire did not take everything (asyncio's protocol)."""
        self.pause()
        timeout = self._context.write_timeout
        if timeout and self._state is SocketState.OPEN:
            self._limit().expect_progress(timeout)

    def resume_writing(self) -> None:
        """The wire is empty again (asyncio's protocol)."""
        if self._state is SocketState.OPEN and self._deadline is not None:
            self._deadline.clear()
        self.resume()

    # -- the end

    def _close(self, disconnect: Disconnect) -> None:
        if self._state is SocketState.GONE:
            return
        code = disconnect.code
        if code == codes.DISCONNECT_WRITE_ERROR.code:
            self._wire.abort()
        elif code == codes.DISCONNECT_CONNECTION_CLOSED.code or not self._context.close_frames:
            self._drop()
        else:
            self._wire.write(frames.build_close(code, disconnect.reason))
            self._enter(SocketState.CLOSING, CLOSE_TIMEOUT)
            self._held = False
            self._read_on()  # for the client's close frame

    def linger(self, delay: float) -> None:
        """See :meth:`Transport.linger`."""
        if self._state is SocketState.OPEN:
            self._enter(SocketState.LINGERING, delay)

    def drop(self) -> None:
        """Ends the connection without a close frame; the session hears of it at once."""
        session = self.session
        if session is not None:
            session.connection_lost()
        self.mark_closed()
        self._drop()

    def _drop(self) -> None:
        """Closes the TCP connection once what was written is out, or not much later."""
        if self._wire.get_write_buffer_size() or not self._wire.can_write_eof():  # TLS says goodbye
            self._enter(SocketState.DRAINING, CLOSE_TIMEOUT)
        else:
            self._enter(SocketState.DRAINING, 0)
        self._wire.close()

    def _enter(self, state: SocketState, timeout: float) -> None:
        """Goes on to ``state``, which may last ``timeout`` seconds (0: any time)."""
        assert state in _TRANSITIONS[self._state], (self._state, state)
        self._state = state
        self._plain = False
        if timeout:
            self._limit().set(timeout)
        elif self._deadline is not None:
            self._deadline.close()
            self._deadline = None

    # -- time limits

    def _limit(self) -> WriteDeadline:
        """Most connections need none until their end."""
        if self._deadline is None:
            self._deadline = WriteDeadline(
                self._context.node.timers, self._on_deadline, self._wire.get_write_buffer_size
            )
        return self._deadline

    def _on_deadline(self) -> None:
        """The client took too long."""
        if self._state is SocketState.OPEN:
            session = self.session
            if session is not None and not session.closed:
                session.disconnect(Disconnect(codes.DISCONNECT_WRITE_ERROR))
            self._wire.abort()
        elif self._state is SocketState.LINGERING:
            self.drop()
        elif self._state is not SocketState.GONE:
            self._wire.abort()


class FramePinger:
    """Keep-alive of one connection by WebSocket ping frames, for debugging tools."""

    __slots__ = ("_awaits_pong", "_node", "_timers", "_transport", "timer_tick")

    def __init__(self, transport: WebSocketTransport, node: Node) -> None:
        self._transport: WebSocketTransport | None = transport
        self._node = node
        self._timers = node.timers
        self._awaits_pong = False
        self.timer_tick: int = 0
        interval = node.options.ping_interval
        if interval:
            self._arm(interval * (0.5 + node.random() / 2))

    def pong(self) -> None:
        """The client answered."""
        if self._awaits_pong:
            self._awaits_pong = False
            self._arm(self._node.options.ping_interval)

    def stop(self) -> None:
        """No more pings."""
        self._transport = None
        self._timers.cancel(self)

    def on_timer(self, now: float) -> None:  # noqa: ARG002 - the wheel's signature
        """Time for a ping, or no pong came (called by the timer wheel)."""
        transport = self._transport
        if transport is None:
            return
        if self._awaits_pong:
            transport.drop()
            return
        transport.send(frames.PING_FRAME)
        options = self._node.options
        if options.pong_timeout:
            self._awaits_pong = True
            self._arm(options.pong_timeout)
        else:
            self._arm(options.ping_interval)

    def _arm(self, delay: float) -> None:
        self._timers.arm_in(self, delay)
