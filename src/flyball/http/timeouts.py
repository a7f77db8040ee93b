"""Time limits of connections: what a peer may take, on the timer wheel.

A connection has one :class:`Deadline` at most, made when it is first needed. All times are
seconds.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.clock import Clock
    from flyball.aio.timers import TimerWheel

NEVER: Final = inf


class Deadline:
    """One deadline at a time for a connection.

    Setting it later costs no more than an assignment: the wheel's entry follows when it comes
    due. While nothing is set the wheel may still hold the entry, which then does nothing.
    """

    __slots__ = ("_armed_for", "_on_deadline", "_timers", "due", "timer_tick")

    def __init__(self, timers: TimerWheel, on_deadline: Callable[[], None]) -> None:
        """``on_deadline`` is called when the time is over."""
        self._timers = timers
        self._on_deadline = on_deadline
        self._armed_for = NEVER
        self.due: float = NEVER
        """When the time is over, by the wheel's clock."""
        self.timer_tick: int = 0

    def set(self, seconds: float) -> None:
        """The time is over in ``seconds``, whatever was set before."""
        self.due = due = self._timers.clock.monotonic() + seconds
        if not self.timer_tick or due < self._armed_for:
            self._armed_for = due
            self._timers.arm(self, due)

    def extend(self, seconds: float) -> None:
        """As :meth:`set`, in a tenth of its time, and too early by what the wheel's ``now`` is old.

        For limits that are long, where every request moves them.
        """
        due = self._timers.now + seconds
        if self.timer_tick and due >= self._armed_for:
            self.due = due
        else:
            self.set(seconds)

    def clear(self) -> None:
        """There is no limit for now; :meth:`set` is cheap after that."""
        self.due = NEVER

    def close(self) -> None:
        """There is no limit any more."""
        self.due = NEVER
        self._timers.cancel(self)

    def on_timer(self, now: float) -> None:
        """Called by the wheel."""
        due = self.due
        if now >= due:
            self.due = NEVER
            self._expire()
        elif due != NEVER:
            self._armed_for = due
            self._timers.arm(self, due)

    def _expire(self) -> None:
        self._on_deadline()


class WriteDeadline(Deadline):
    """The same, with an eye on a wire that takes nothing.

    Slow is allowed: it is the queue's limit that looks after that.
    """

    __slots__ = ("_stuck_bytes", "_unsent_bytes", "_write_timeout")

    def __init__(
        self,
        timers: TimerWheel,
        on_deadline: Callable[[], None],
        unsent_bytes: Callable[[], int],
    ) -> None:
        """``unsent_bytes`` tells what the peer has not taken."""
        super().__init__(timers, on_deadline)
        self._unsent_bytes = unsent_bytes
        self._write_timeout = 0.0  # while progress is expected
        self._stuck_bytes = 0  # unsent when it was last looked for

    def set(self, seconds: float) -> None:
        """See :meth:`Deadline.set`; progress is not looked for."""
        self._write_timeout = 0.0
        super().set(seconds)

    def expect_progress(self, seconds: float) -> None:
        """The wire is full: the time is over unless some of it is taken every ``seconds``."""
        super().set(seconds)
        self._write_timeout = seconds
        self._stuck_bytes = self._unsent_bytes()

    def _expire(self) -> None:
        timeout = self._write_timeout
        if timeout and self._unsent_bytes() < self._stuck_bytes:
            self.expect_progress(timeout)
        else:
            super()._expire()


class RateLimit:
    """How often a peer may do in a second what costs us more than it."""

    __slots__ = ("_clock", "_count", "_limit", "_since")

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._count = 0
        self._since = clock.monotonic()

    def count(self) -> None:
        """It was done once more."""
        now = self._clock.monotonic()
        if now - self._since >= 1.0:
            self._since, self._count = now, 0
        self._count += 1

    @property
    def is_exceeded(self) -> bool:
        """It was done too often in the last second."""
        return self._count > self._limit


async def wait_while(is_busy: Callable[[], bool], seconds: float) -> None:
    """Gives connections of several protocols time to end, at the end of their listener.

    On the event loop's own clock: a listener is closed for good also where a test holds the time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while is_busy() and loop.time() < deadline:  # noqa: ASYNC110 - there is no common event
        await asyncio.sleep(0.02)
