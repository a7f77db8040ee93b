"""One request that is answered with frames: a stream of them, or the next one."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from flyball.aio.states import State
from flyball.http.messages import Response
from flyball.http.timeouts import WriteDeadline
from flyball.transports.sockjs.kinds import RESPONSE_LIMIT, form_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.http.streams import ResponseStream
    from flyball.transports.sockjs.kinds import ReceiverKind
    from flyball.transports.sockjs.transport import SockJsTransport

CLOSE_TIMEOUT: Final = 5.0
"""Seconds for which the end of an answer may still be on its way."""


class ReceiverState(State):
    """Where a receiver stands."""

    NEW = "new"  # not attached: whatever the wire says is not yet the transport's business
    OPEN = "open"
    ENDING = "ending"  # the end of the answer is being written
    LEAVING = "leaving"  # the answer is complete, but not all of it taken
    GONE = "gone"  # the wire is lost, or somebody else's


# A receiver is opened by the session that it is attached to, or answers at once with what there
# is. It ends with a last frame, and leaves once the client has taken everything: the connection
# goes on with its next request, or is closed if that is refused it; it may be lost before
# anybody takes it.
_TRANSITIONS: Final = {
    ReceiverState.NEW: {
        ReceiverState.OPEN,
        ReceiverState.ENDING,
        ReceiverState.LEAVING,
        ReceiverState.GONE,
    },
    ReceiverState.OPEN: {ReceiverState.ENDING, ReceiverState.LEAVING, ReceiverState.GONE},
    ReceiverState.ENDING: {ReceiverState.LEAVING, ReceiverState.GONE},
    ReceiverState.LEAVING: {ReceiverState.LEAVING, ReceiverState.GONE},
    ReceiverState.GONE: {ReceiverState.LEAVING, ReceiverState.GONE},
}


class Receiver(asyncio.Protocol, ABC):
    """The wire of one request, for as long as its answer takes.

    Tells its transport when the wire is full, writable again, or lost. Once the answer is
    complete (:attr:`is_open` False) the transport has nothing to do with it any more.
    """

    __slots__ = (
        "_deadline",
        "_is_full",
        "_state",
        "_stream",
        "_transport",
        "_wire",
    )

    def __init__(self, transport: SockJsTransport, stream: ResponseStream) -> None:
        self._transport = transport
        self._stream = stream
        self._wire = wire = stream.wire
        self._state = ReceiverState.NEW
        self._is_full = False
        self._deadline = WriteDeadline(
            transport.node.timers, self._on_deadline, wire.get_write_buffer_size
        )
        wire.set_protocol(self)
        wire.set_write_buffer_limits(high=1, low=0)

    def _enter(self, state: ReceiverState) -> None:
        assert state in _TRANSITIONS[self._state], (self._state, state)
        self._state = state

    @property
    def is_open(self) -> bool:
        """It takes frames."""
        return self._state is ReceiverState.OPEN

    def open(self) -> bool:
        """It is attached; True if it takes frames at once."""
        self._enter(ReceiverState.OPEN)
        if self._is_full:
            self._await_progress()
        return not self._is_full

    @abstractmethod
    def write(self, frame: bytes) -> bool:
        """Sends one frame; False if the answer is complete with it."""

    @abstractmethod
    def finish(self, frame: bytes = b"") -> None:
        """Completes the answer, with a last frame if there is one."""

    def abort(self) -> None:
        """Drops the connection."""
        self._enter(ReceiverState.LEAVING)
        self._wire.abort()

    # -- asyncio's protocol

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        """Nothing may come before the answer: what did is lost, and the connection with it."""
        self._stream.disable_keep_alive()

    def eof_received(self) -> None:
        """The client went away: asyncio closes the connection."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is gone."""
        was_open = self.is_open
        self._enter(ReceiverState.GONE)
        self._deadline.close()
        if was_open:
            self._transport.interrupted()

    def pause_writing(self) -> None:
        """The client does not take everything."""
        self._is_full = True
        if self.is_open:
            self._transport.pause()
            self._await_progress()

    def resume_writing(self) -> None:
        """The client took everything."""
        self._is_full = False
        if self.is_open:
            self._deadline.clear()
            self._transport.resume()
        elif self._state is ReceiverState.LEAVING:
            self._leave()

    # -- the end

    def _complete(self) -> None:
        """The answer is written: the connection goes on without us once it is taken."""
        self._enter(ReceiverState.LEAVING)
        if self._is_full:
            self._deadline.set(CLOSE_TIMEOUT)
        else:
            self._leave()

    def _leave(self) -> None:
        self._deadline.close()
        self._enter(ReceiverState.GONE)  # the connection may find its next protocol in release()
        if self._wire.is_closing() or not self._stream.release():
            self._enter(ReceiverState.LEAVING)
            self._deadline.set(CLOSE_TIMEOUT)
            self._wire.close()

    # -- time limits

    @property
    def _write_timeout(self) -> float:
        """Seconds for which a client may take no byte at all; 0: any number."""
        timeout = self._transport.write_timeout
        return max(timeout, self._stream.min_write_timeout) if timeout else 0.0

    def _await_progress(self) -> None:
        timeout = self._write_timeout
        if timeout:
            self._deadline.expect_progress(timeout)

    def _on_deadline(self) -> None:
        """The client took nothing, or not all in time."""
        if self.is_open:
            self._transport.write_failed()
        self._wire.abort()


class StreamReceiver(Receiver):
    """A stream: frame after frame, up to a number of bytes."""

    __slots__ = ("_form", "_left")

    def __init__(
        self, transport: SockJsTransport, stream: ResponseStream, kind: ReceiverKind
    ) -> None:
        super().__init__(transport, stream)
        self._form = form_of(kind, chunked=stream.chunked)
        self._left = RESPONSE_LIMIT

    def start(self, headers: Sequence[tuple[str, str]], opening: bytes, frame: bytes = b"") -> None:
        """Sends the head, what a stream begins with, and a first frame if there is one."""
        data = self._form.chunk(opening)
        if frame:
            data += self._form.wrap(frame)
        self._stream.start(200, headers, data)

    def write(self, frame: bytes) -> bool:
        """See :meth:`Receiver.write`; broadcasts run through here."""
        form = self._form
        data = form.wrapped if frame is form.frame else form.wrap(frame)
        self._left -= len(data)
        self._wire.write(data)
        if self._left > 0:
            return True
        self.finish()
        return False

    def finish(self, frame: bytes = b"") -> None:
        """See :meth:`Receiver.finish`."""
        self._enter(ReceiverState.ENDING)
        if frame:
            self._wire.write(self._form.wrap(frame))
        self._stream.finish()
        self._complete()


class PollReceiver(Receiver):
    """A poll: the next frame is the answer."""

    __slots__ = ("_callback", "_headers", "_kind")

    def __init__(
        self,
        transport: SockJsTransport,
        stream: ResponseStream,
        kind: ReceiverKind,
        headers: tuple[tuple[str, str], ...],
        callback: bytes,
    ) -> None:
        super().__init__(transport, stream)
        self._kind = kind
        self._headers = headers
        self._callback = callback

    def write(self, frame: bytes) -> bool:
        """See :meth:`Receiver.write`."""
        # First of all: TLS may say that it is full, and is not, within a write.
        self._enter(ReceiverState.ENDING)
        kind = self._kind
        body = kind.wrap(frame, self._callback)
        response = Response(body, content_type=kind.content_type, headers=self._headers)
        self._stream.answer(response)
        self._complete()
        return False

    def finish(self, frame: bytes = b"") -> None:
        """See :meth:`Receiver.finish`."""
        if frame:
            self.write(frame)
        else:
            self.abort()
