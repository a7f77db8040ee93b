"""A session over HTTP: it lives between the requests that bring its frames to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from flyball.core.errors import Disconnect
from flyball.core.transport import Transport
from flyball.http.timeouts import Deadline
from flyball.protocol import codes
from flyball.transports.sockjs.framing import FRAMING, INTERRUPTED, close_frame, join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.core.node import Node

DISCONNECT_DELAY: Final = 5.0
"""Seconds that a session lives without a receiver, and for which its end is remembered."""


class FrameReceiver(Protocol):
    """A request that takes frames to the client."""

    def open(self) -> bool:
        """It is attached; True if it takes frames at once."""
        ...

    def write(self, frame: bytes) -> bool:
        """Sends one frame; False if the answer is complete with it."""
        ...

    def finish(self, frame: bytes = b"") -> None:
        """Completes the answer, with a last frame if there is one."""

    def abort(self) -> None:
        """Drops the connection."""


class SessionKeeper(Protocol):
    """Knows sessions by their ids, also for some time after their end."""

    def keep_end(self, transport: SockJsTransport) -> None:
        """The session has ended: receivers that come late are to be told."""

    def forget(self, transport: SockJsTransport) -> None:
        """The id is free again."""


class SockJsTransport(Transport):
    """The connection of one session id, with a receiver or, between two of them, without.

    Without one, the wire counts as full: frames wait in the queue of the base class. A poll
    takes all that wait as one frame, and is gone. A session that has ended tells so to
    receivers for some time: a poll that finds nothing would open a new session.
    """

    __slots__ = (
        "_deadline",
        "_goodbye",
        "_keeper",
        "_receiver",
        "_rest",
        "id",
        "node",
        "write_timeout",
    )
    name: ClassVar[str] = "sockjs"
    has_close_codes: ClassVar[bool] = True

    def __init__(self, node: Node, keeper: SessionKeeper, id_: str, write_timeout: float) -> None:
        """Makes the transport of a session.

        Args:
            node: its node.
            keeper: is told of its end.
            id_: what the client calls its session.
            write_timeout: seconds for which a client may take no byte at all; 0: any number.
        """
        super().__init__(FRAMING, max_queue_size=node.options.queue_max_size)
        self._keeper = keeper
        self.id: str = id_
        self.node: Node = node
        self.write_timeout: float = write_timeout
        self._receiver: FrameReceiver | None = None
        self._rest = b""  # waited for a receiver when the session was closed
        self._goodbye = b""
        self._deadline = Deadline(node.timers, self._on_deadline)
        self.pause()

    # -- receivers

    @property
    def is_attached(self) -> bool:
        """There is a receiver."""
        return self._receiver is not None

    @property
    def is_closed(self) -> bool:
        """The session has ended; only its end is to be told."""
        return self._closed

    def attach(self, receiver: FrameReceiver) -> None:
        """Takes a receiver; it is given what waits."""
        self._receiver = receiver
        self._deadline.clear()
        if receiver.open():
            self.resume()

    def detach(self) -> None:
        """The receiver has done its work."""
        self._receiver = None
        self.pause()
        self._wait()

    def take_waiting(self) -> bytes:
        """What waits, as the one frame of a poll; empty if nothing does."""
        if self._closed:
            rest, self._rest = self._rest, b""
            return rest or self._goodbye
        queue = self._queue
        if not queue or self._queued_bytes < 0:
            return b""
        self._queue = None
        self._queued_bytes = 0
        self._wait()
        return join(queue)

    def interrupted(self) -> None:
        """The receiver's connection broke: messages may be lost, so the session is too."""
        self._receiver = None
        self._lose()
        self._goodbye = INTERRUPTED
        self._keeper.keep_end(self)

    def write_failed(self) -> None:
        """The receiver takes no byte."""
        if self.session is not None:
            self.session.disconnect(Disconnect(codes.DISCONNECT_WRITE_ERROR))

    # -- input

    def receive(self, messages: Sequence[bytes]) -> None:
        """Frames of commands that the client sent by a request of its own."""
        session = self.session
        if session is None:
            return
        self.cork()
        for message in messages:
            session.receive(message)
        self.uncork()

    # -- output

    def send(self, frame: bytes) -> None:
        """See :meth:`Transport.send`; one call shorter, as broadcasts run through here."""
        if not self._direct:
            self._enqueue(frame)
        elif not self._receiver.write(frame):  # type: ignore[union-attr]  # direct: there is one
            self.detach()

    def _write(self, data: bytes) -> None:
        if self._receiver is None:
            self._rest = data  # the session is being closed
        elif not self._receiver.write(data):
            self.detach()

    def _write_all(self, frames: list[bytes]) -> None:
        self._write(join(frames))

    def _close(self, disconnect: Disconnect) -> None:
        receiver, self._receiver = self._receiver, None
        self.session: None = None
        code = disconnect.code
        self._goodbye = close_frame(code, disconnect.reason)
        if receiver is not None:
            if code == codes.DISCONNECT_WRITE_ERROR.code:
                receiver.abort()
            elif code == codes.DISCONNECT_CONNECTION_CLOSED.code:
                receiver.finish()
            else:
                receiver.finish(self._goodbye)
        self._keeper.keep_end(self)

    def _lose(self) -> None:
        session = self.release_session()
        if session is not None:
            session.connection_lost()
        self.mark_closed()

    # -- time without a receiver

    def _wait(self) -> None:
        self._deadline.set(DISCONNECT_DELAY)

    def keep_end(self) -> None:
        """Remembers the end of the session, for as long as it had waited for a receiver."""
        self._wait()

    def _on_deadline(self) -> None:
        """No receiver came."""
        if self._receiver is None:
            self._lose()
            self._keeper.forget(self)
