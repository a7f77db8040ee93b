"""A clock that stands still until the test moves it."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


SETTLE_TURNS = 20
"""Turns of the event loop that :func:`settle` gives; a chain of handlers takes a few."""


async def settle(turns: int = SETTLE_TURNS) -> None:
    """Lets the event loop work off what is ready, without any time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)


class _Timer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class TestClock:
    """See :class:`flyball.aio.clock.Clock`. Starts at Unix time 1 800 000 000."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._start = start
        self._now = 1000.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._count = 0

    def monotonic(self) -> float:
        """Seconds; grows with :meth:`advance` only."""
        return self._now

    def time(self) -> float:
        """Unix seconds."""
        return self._start + self._now - 1000.0

    def call_later(self, delay: float, callback: Callable[[], None]) -> _Timer:
        """Calls ``callback`` from the :meth:`advance` that passes its time."""
        timer = _Timer(callback)
        self._count += 1
        heappush(self._timers, (self._now + max(delay, 0.0), self._count, timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Moves time on, calling back in order whatever falls due on the way."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._now, _, timer = heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
        self._now = end

    @property
    def pending(self) -> int:
        """Timers that are still to come."""
        return sum(1 for _, _, timer in self._timers if timer.callback is not None)
