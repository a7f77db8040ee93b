"""One streaming response as a transport."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from flyball.aio.states import State
from flyball.core.errors import Disconnect
from flyball.core.transport import Transport
from flyball.http.timeouts import WriteDeadline
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.core.node import Node
    from flyball.http.messages import Response
    from flyball.http.streams import ResponseStream
    from flyball.transports.common.stream_framing import StreamFraming

WRITE_TIMEOUT = 1.0
"""Seconds for which a client may take no byte at all."""
CLOSE_TIMEOUT = 5.0
"""Seconds for which what was written may still be on its way when the connection is closed."""


class ResponseState(State):
    """Where a response stands."""

    UNDECIDED = "undecided"  # the head waits for the outcome of connect
    OPEN = "open"
    DRAINING = "draining"  # closed, with bytes still to be taken
    GONE = "gone"


# A response begins when connect has an outcome, if that may be told in place of a stream; else
# at once. It drains when it is whole, until its wire is closed or given back; a wire that was
# given back may be lost before anybody takes it.
_TRANSITIONS: Final = {
    ResponseState.UNDECIDED: {ResponseState.OPEN, ResponseState.DRAINING, ResponseState.GONE},
    ResponseState.OPEN: {ResponseState.DRAINING, ResponseState.GONE},
    ResponseState.DRAINING: {ResponseState.GONE},
    ResponseState.GONE: {ResponseState.GONE},
}


@dataclass(frozen=True, slots=True)
class Start:
    """How a response begins, if it does."""

    headers: list[tuple[str, str]]
    """Of the stream."""
    refuse: Callable[[Disconnect], Response] | None = None
    """A whole answer in place of the stream when connect is refused; None: the stream tells."""


class StreamTransport(Transport, asyncio.Protocol):
    """The connection of a streaming response; the client's side of it is not read any more."""

    __slots__ = (
        "_deadline",
        "_node",
        "_start",
        "_state",
        "_stream",
        "_wire",
    )

    def __init__(
        self,
        node: Node,
        stream: ResponseStream,
        framing: StreamFraming,
        start: Start,
    ) -> None:
        """Answers ``stream``; becomes the protocol of its wire."""
        super().__init__(framing, max_queue_size=node.options.queue_max_size)
        self._node = node
        self._stream = stream
        self._wire = wire = stream.wire
        self._start: Start | None = start
        self._state = ResponseState.UNDECIDED
        self._deadline = WriteDeadline(node.timers, self._on_deadline, wire.get_write_buffer_size)
        wire.set_protocol(self)
        wire.set_write_buffer_limits(high=1, low=0)
        if start.refuse is None:
            self._begin()

    def _enter(self, state: ResponseState) -> None:
        assert state in _TRANSITIONS[self._state], (self._state, state)
        self._state = state

    @property
    def disconnect_push(self) -> bool:  # type: ignore[override]
        """See :attr:`Transport.disconnect_push`; a refused connect may have an answer instead."""
        return self._start is None

    def _begin(self) -> None:
        start, self._start = self._start, None
        if start is None:
            return
        self._enter(ResponseState.OPEN)
        framing: StreamFraming = self.framing  # type: ignore[assignment]
        opening = framing.wrap(framing.opening) if framing.opening else b""
        self._stream.start(200, start.headers, opening)

    # -- asyncio's protocol

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        """A client has nothing to say while it is answered: what it sends is dropped."""
        self._stream.disable_keep_alive()

    def eof_received(self) -> None:
        """The client went away: asyncio closes the connection."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is gone."""
        self._enter(ResponseState.GONE)
        self._deadline.close()
        session, self.session = self.session, None
        if session is not None:
            session.connection_lost()
        self.mark_closed()

    def pause_writing(self) -> None:
        """The client does not take everything."""
        self.pause()
        if self._state is ResponseState.OPEN:
            self._deadline.expect_progress(max(WRITE_TIMEOUT, self._stream.min_write_timeout))

    def resume_writing(self) -> None:
        """The client took everything."""
        if self._state is ResponseState.OPEN:
            self._deadline.clear()
        self.resume()

    # -- output

    def _write(self, data: bytes) -> None:
        if self._start is not None:
            self._begin()
        self._wire.write(data)

    def _close(self, disconnect: Disconnect) -> None:
        wire, start = self._wire, self._start
        if self._state is ResponseState.GONE:
            return
        if start is not None and start.refuse is not None:
            self._stream.answer(start.refuse(disconnect))
            self._leave()
        elif disconnect.code == codes.DISCONNECT_WRITE_ERROR.code:
            wire.abort()
        else:
            if disconnect.code != codes.DISCONNECT_CONNECTION_CLOSED.code:
                self._stream.finish()
            self._leave()

    def _leave(self) -> None:
        """The response is whole: the connection goes on without us, or ends."""
        self.session: None = None
        self._enter(ResponseState.DRAINING)
        if self._stream.release():
            self._enter(ResponseState.GONE)
            self._deadline.close()
            return
        self._deadline.set(CLOSE_TIMEOUT)
        self._wire.close()

    # -- time limits

    def _on_deadline(self) -> None:
        """The client took nothing, or not all in time."""
        if (
            self._state is ResponseState.OPEN
            and self.session is not None
            and not self.session.closed
        ):
            self.session.disconnect(Disconnect(codes.DISCONNECT_WRITE_ERROR))
        self._wire.abort()


class HttpStreamTransport(StreamTransport):
    """HTTP streaming; commands come through ``/emulation``."""

    __slots__ = ()
    name: ClassVar[str] = "http_stream"
    emulation: ClassVar[bool] = True


class SseTransport(StreamTransport):
    """Server-sent events; commands come through ``/emulation``."""

    __slots__ = ()
    name: ClassVar[str] = "sse"
    emulation: ClassVar[bool] = True


class UniHttpStreamTransport(StreamTransport):
    """HTTP streaming for clients that only receive."""

    __slots__ = ()
    name: ClassVar[str] = "uni_http_stream"


class UniSseTransport(StreamTransport):
    """Server-sent events for clients that only receive."""

    __slots__ = ()
    name: ClassVar[str] = "uni_sse"
