"""Connections whose writes are coroutines: somebody else's server does the sending."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from flyball.core.errors import Disconnect
from flyball.core.transport import Transport
from flyball.http.timeouts import NEVER, Deadline
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flyball.core.node import Node
    from flyball.core.transport import Framing

WRITE_TIMEOUT: Final = 10.0
"""Seconds that one write may take. Progress within it cannot be seen from here."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds for which what was written may still be on its way when the connection is ended."""


class OutboxTransport(Transport):
    """Frames wait in an outbox for :meth:`run`, which writes them one by one.

    A frame that finds the connection idle goes to the outbox; what comes while that is being
    written waits in the transport's own bounded queue.
    """

    __slots__ = (
        "_deadline",
        "_is_ending",
        "_outbox",
        "_runner",
        "_wake",
        "_writes",
        "_writes_seen",
    )

    def __init__(self, node: Node, framing: Framing) -> None:
        super().__init__(framing, max_queue_size=node.options.queue_max_size)
        self._outbox: list[bytes] = []
        self._wake: asyncio.Future[None] | None = None
        self._runner: asyncio.Task[object] | None = None
        self._is_ending = False
        """The session is over; what was written may still get out."""
        self._deadline = Deadline(node.timers, self._on_deadline)
        self._writes = 0
        """Twice the writes so far, and one more while one is under way."""
        self._writes_seen = 0  # at the last look

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Writes until the session is closed and everything is out.

        Raises:
            asyncio.CancelledError: the client went away, or did not take what it was sent.
        """
        self._runner = asyncio.current_task()
        try:
            while True:
                outbox, self._outbox = self._outbox, []
                for frame in outbox:
                    self._writes += 1
                    await write(frame)
                    self._writes += 1
                if self._outbox:
                    continue
                if self._closed:
                    return
                self.resume()  # takes what waited meanwhile
                if not self._outbox and not self._closed:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
        finally:
            self._runner = None
            self._deadline.close()
            self.lost()

    def lost(self) -> None:
        """The client is gone."""
        session = self.release_session()
        if session is not None:
            session.connection_lost()
        self.mark_closed()
        self._rouse()

    # -- output

    def _write(self, data: bytes) -> None:
        self._outbox.append(data)
        self._begin()

    def _write_all(self, frames: list[bytes]) -> None:
        self._outbox += frames
        self._begin()

    def _begin(self) -> None:
        self.pause()
        self._rouse()
        if self._deadline.due == NEVER:
            self._watch_write()

    def _rouse(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    def _close(self, disconnect: Disconnect) -> None:
        self._rouse()
        runner = self._runner
        if runner is None:
            return
        if disconnect.code == codes.DISCONNECT_WRITE_ERROR.code:
            runner.cancel()
        else:
            self._is_ending = True
            self._deadline.set(CLOSE_TIMEOUT)

    # -- writes that take too long

    def _watch_write(self) -> None:
        self._writes_seen = self._writes
        self._deadline.set(WRITE_TIMEOUT)

    def _on_deadline(self) -> None:
        """Looks whether the write of last time is still under way, or ends what should be over."""
        runner = self._runner
        if runner is None:
            return
        if not self._is_ending:
            if not self._writes & 1:
                return
            if self._writes != self._writes_seen:
                self._watch_write()
                return
            if self.session is not None and not self.session.closed:
                self.session.disconnect(Disconnect(codes.DISCONNECT_WRITE_ERROR))
                return
        runner.cancel()
