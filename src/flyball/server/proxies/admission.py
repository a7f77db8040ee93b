"""How many questions a backend gets at a time."""

from __future__ import annotations

import asyncio
from collections import deque

from flyball.server.proxies.errors import BackendError

__all__ = ["Admission"]


class Admission:
    """Lets in so many at a time; so many others wait, in order and not for ever.

    Args:
        limit: at a time.
        max_waiting: how many may wait.
        max_wait: seconds for which one may wait.
    """

    __slots__ = ("_inside", "_limit", "_max_wait", "_max_waiting", "_queue", "waiting")

    def __init__(self, limit: int, max_waiting: int, max_wait: float) -> None:
        self._limit = limit
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._inside = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self.waiting: int = 0
        """How many wait."""

    def enter_at_once(self) -> bool:
        """Whether there was room; if so :meth:`leave` must follow."""
        if self._inside >= self._limit:
            return False
        self._inside += 1
        return True

    async def enter(self) -> None:
        """Comes back when there is room; :meth:`leave` must follow.

        Raises:
            BackendError: too many wait already, or this one waited too long.
        """
        if self.enter_at_once():
            return
        if self.waiting >= self._max_waiting:
            raise BackendError(
                f"{self._limit} questions are under way and {self.waiting} wait: it is too slow"
            )
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self.waiting += 1
        try:
            async with asyncio.timeout(self._max_wait):
                await turn
        except BaseException as error:
            if not turn.cancelled():  # its turn came in the moment when it gave up
                self.leave()
            if isinstance(error, TimeoutError):
                detail = f"{self._limit} questions are under way, none ended for this one"
                raise BackendError(f"{detail} within {self._max_wait:g} s") from None
            raise
        finally:
            self.waiting -= 1

    def leave(self) -> None:
        """Gives its place to whoever waits longest."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._inside -= 1
