"""What the core asks of a transport, and the flow control that all of them share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

from flyball.core.errors import Disconnect
from flyball.protocol import codes
from flyball.protocol.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.core.session import Session
    from flyball.core.types import Publication
    from flyball.protocol.codec import Codec
    from flyball.protocol.messages import Push

logger: Final = logging.getLogger("flyball.core")

MAX_MESSAGES_IN_FRAME = 16
"""Replies packed into one frame (client-protocol reference, section 2)."""
OVERFLOWN = -1
"""Queued bytes of a slow reader that is about to be closed: nothing more is queued."""


class Framing(ABC):
    """How messages look on the wire of one kind of connection.

    Stateless and shared: the hub encodes a publication once for each framing among the
    subscribers and hands the same bytes to all of them.
    """

    codec: Codec
    unidirectional: ClassVar[bool] = False

    @property
    def ping(self) -> bytes:
        """The message of a server ping."""
        return self.codec.ping

    @abstractmethod
    def frame(self, messages: Sequence[bytes]) -> bytes:
        """Encoded messages (1 to 16) as the bytes that go to the wire."""

    def push_message(self, push: Push) -> bytes:
        """Any push as one message."""
        if self.unidirectional:
            return self.codec.encode_push(push)
        return self.codec.encode_reply(Reply(push=push))

    def publication_message(self, channel: str, publication: Publication) -> bytes:
        """A publication push as one message."""
        if self.unidirectional:
            return self.codec.encode_publication_uni(channel, publication)
        return self.codec.encode_publication_push(channel, publication)


class Transport(ABC):
    """One connection to a client.

    A transport creates its :class:`~flyball.core.session.Session` with
    ``node.open_session(self, ...)``, gives it whole frames with ``session.receive(frame)``
    and tells the end of the connection with ``session.connection_lost()``. The session
    sends through :meth:`send` (ready frames) and :meth:`send_message` (one message), and
    ends with :meth:`close`.

    Subclasses implement :meth:`_write` and :meth:`_close`, and call :meth:`pause` and
    :meth:`resume` as the wire stops and starts to take bytes.
    """

    __slots__ = (
        "_closed",
        "_corked",
        "_direct",
        "_messages",
        "_paused",
        "_queue",
        "_queued_bytes",
        "framing",
        "max_queue_size",
        "session",
    )

    name: ClassVar[str]
    """``websocket``, ``sse``, ... as in metrics and proxy requests."""
    emulation: ClassVar[bool] = False
    """Commands come by other requests (``/emulation``); the connect result names the session."""
    ping_interval: ClassVar[float | None] = None
    """Seconds between pings where the transport has its own; None: the node's option."""
    disconnect_push: ClassVar[bool] = False
    """A server's close is announced by a push, for want of close frames."""
    has_close_codes: ClassVar[bool] = False
    """A server's close has a code on the wire, and is counted by it."""

    def __init__(self, framing: Framing, *, max_queue_size: int = 1048576) -> None:
        self.framing: Framing = framing
        self.session: Session | None = None
        self.max_queue_size: int = max_queue_size
        """Bytes that may wait for a slow reader; above it the session ends with 3008."""
        self._direct = True  # neither corked nor paused nor closed: the hot path's only check
        self._closed = False
        self._corked = False
        self._paused = False
        self._messages: list[bytes] | None = None  # replies of this turn, not framed yet
        self._queue: list[bytes] | None = None  # frames that wait for uncork or resume
        self._queued_bytes = 0

    @property
    def app_ping(self) -> bool:
        """Pings are messages of the protocol (not, say, WebSocket ping frames)."""
        return True

    def remote_address(self) -> str:
        """``host:port`` of the peer, empty where it cannot be told.

        For transports that can tell later what sessions need not keep: asked where somebody
        wants to see it.
        """
        return ""

    # -- sending

    def send(self, frame: bytes) -> None:
        """Sends ready bytes, in order with everything else; queues while the wire is full."""
        if self._direct:
            self._write(frame)
        else:
            self._enqueue(frame)

    def send_message(self, message: bytes) -> None:
        """Sends one encoded message; while corked, neighbours share a frame."""
        if not self._corked:
            self.send(self.framing.frame((message,)))
            return
        if self._messages is None:
            self._messages = [message]
        else:
            self._messages.append(message)
            if len(self._messages) == MAX_MESSAGES_IN_FRAME:
                self._frame_messages()

    def cork(self) -> None:
        """Holds everything back until :meth:`uncork`, to leave in one write."""
        self._corked = True
        self._direct = False

    def uncork(self) -> None:
        """Writes what was held back."""
        self._corked = False
        if self._closed:
            return
        if self._messages:
            if self._queue is None and not self._paused and self._queued_bytes == 0:
                messages, self._messages = self._messages, None
                self._direct = True
                self._write(self.framing.frame(messages))
                return
            self._frame_messages()
        self._flush()

    def close(self, disconnect: Disconnect) -> None:
        """Flushes what is queued, then ends the connection with ``disconnect``."""
        if self._closed:
            return
        self._frame_messages()
        queue, self._queue = self._queue, None
        # A slow reader gets no flush: its queue is what it is closed for.
        if queue and disconnect.code != codes.DISCONNECT_SLOW.code:
            self._write_all(queue)
        self.mark_closed()
        try:
            self._close(disconnect)
        except Exception:
            logger.exception("%s cannot be closed with %s", self.name, disconnect)
            self._close(Disconnect(codes.DISCONNECT_SERVER_ERROR))

    def release_session(self) -> Session | None:
        """Lets go of the session and returns it: apart, both are freed without the collector."""
        session, self.session = self.session, None
        return session

    def mark_closed(self) -> None:
        """Nothing is sent from now on (the peer went away, or the close is under way)."""
        self._closed = True
        self._direct = False
        self._queue = None
        self._messages = None
        self._queued_bytes = 0

    def linger(self, delay: float) -> None:
        """Connect was refused: input is ignored, the connection dropped in ``delay`` seconds.

        Transports whose connections end in their own way do nothing.
        """

    def pause_reading(self) -> None:
        """The session has commands waiting: reads no more, where the transport can."""

    def resume_reading(self) -> None:
        """The session wants commands again."""

    # -- flow control, for subclasses

    def pause(self) -> None:
        """The wire takes no more bytes now."""
        self._paused = True
        self._direct = False

    def resume(self) -> None:
        """The wire takes bytes again: writes what waited, in one go."""
        self._paused = False
        if not self._corked:
            self._flush()

    @property
    def queued_bytes(self) -> int:
        """Bytes waiting for a slow reader."""
        return self._queued_bytes

    def _frame_messages(self) -> None:
        messages, self._messages = self._messages, None
        if messages:
            self._enqueue(self.framing.frame(messages))

    def _enqueue(self, frame: bytes) -> None:
        if self._closed or self._queued_bytes < 0:
            return
        if self._messages:
            self._frame_messages()  # replies queued before this frame leave before it
        if self._queue is None:
            self._queue = []
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if self._paused and self._queued_bytes > self.max_queue_size and self.session is not None:
            self._queue = None
            self._queued_bytes = OVERFLOWN
            self.session.close_slow()

    def _flush(self) -> None:
        if self._paused or self._corked or self._closed or self._queued_bytes < 0:
            return  # an overflown queue has lost frames: nothing may follow them
        queue, self._queue = self._queue, None
        self._queued_bytes = 0
        self._direct = True
        if queue:
            self._write_all(queue)

    def _write_all(self, frames: list[bytes]) -> None:
        """Gives frames that waited to the wire, in as few writes as it knows."""
        self._write(frames[0] if len(frames) == 1 else b"".join(frames))

    # -- for subclasses

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Gives ``data`` to the wire. Never raises, never calls back into the session."""

    @abstractmethod
    def _close(self, disconnect: Disconnect) -> None:
        """Ends the connection after everything written so far."""
