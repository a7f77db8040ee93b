"""Time limits of work, on the timer wheel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from flyball.aio.timers import TimerWheel

__all__ = ["TimeLimit"]


class TimeLimit:
    """``with TimeLimit(timers, seconds):`` is ``async with asyncio.timeout(seconds)``, but cheaper.

    The task that is in it is cancelled when the time is over, and the wheel's resolution later at
    the most; what it did then ends with ``TimeoutError``.
    """

    __slots__ = ("_cancelling", "_over", "_seconds", "_task", "_timers", "timer_tick")

    def __init__(self, timers: TimerWheel, seconds: float) -> None:
        self._timers = timers
        self._seconds = seconds
        self._over = False
        self.timer_tick: int = 0

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "there is no task that could be cancelled"
        self._task = task
        self._cancelling = task.cancelling()
        self._timers.arm_in(self, self._seconds)

    def on_timer(self, _now: float) -> None:
        """The time is over (called by the wheel)."""
        self._over = True
        self._task.cancel()

    def __exit__(
        self,
        _kind: object,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if not self._over:
            self._timers.cancel(self)
            return
        # Somebody else may have cancelled it too: then it is cancelled, and not late.
        if self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error
