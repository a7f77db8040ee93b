"""How many questions a backend gets at a time."""

from __future__ import annotations

import asyncio

from flyball.server.proxies.errors import BackendError

__all__ = ["Admission"]


class Admission:
    """Lets in so many at a time; so many others wait, in order and not for ever.

    Args:
        limit: at a time.
        max_waiting: how many may wait.
        max_wait: seconds for which one may wait.
    """

    __slots__ = ("_limit", "_max_wait", "_max_waiting", "_slots", "waiting")

    def __init__(self, limit: int, max_waiting: int, max_wait: float) -> None:
        self._limit = limit
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._slots = asyncio.Semaphore(limit)
        self.waiting: int = 0
        """How many wait."""

    async def enter(self) -> None:
        """Comes back when there is room; :meth:`leave` must follow.

        Raises:
            BackendError: too many wait already, or this one waited too long.
        """
        if not self._slots.locked():
            await self._slots.acquire()  # at once
            return
        if self.waiting >= self._max_waiting:
            raise BackendError(
                f"{self._limit} questions are under way and {self.waiting} wait: it is too slow"
            )
        self.waiting += 1
        try:
            async with asyncio.timeout(self._max_wait):
                await self._slots.acquire()
        except TimeoutError:
            detail = f"{self._limit} questions are under way, none ended for this one"
            raise BackendError(f"{detail} within {self._max_wait:g} s") from None
        finally:
            self.waiting -= 1

    def leave(self) -> None:
        """Makes room for the next one."""
        self._slots.release()
