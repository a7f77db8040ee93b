"""Time limits of connections: what a peer may take, on the timer wheel.

A connection has one :class:`Deadline` at most, made when it is first needed. All times are
seconds.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from flyball.aio.timers import TimerWheel

NEVER: Final = inf


class Limited(Protocol):
    """A connection with a time limit."""

    def on_deadline(self) -> None:
        """The time is over."""


class Writer(Limited, Protocol):
    """A connection that also looks whether its peer takes what it is sent."""

    def unsent_bytes(self) -> int:
        """What the peer has not taken."""


class Deadline:
    """One deadline at a time for a connection.

    Setting it later costs no more than an assignment: the wheel's entry follows when it comes
    due. While nothing is set the wheel may still hold the entry, which then does nothing.
    """

    __slots__ = ("_armed_for", "_owner", "_timers", "due", "timer_tick")

    def __init__(self, timers: TimerWheel, owner: Limited) -> None:
        self._timers = timers
        self._owner = owner
        self._armed_for = NEVER
        self.due = NEVER
        """When the time is over, by the wheel's clock. May be assigned a later time than
        :meth:`set` did."""
        self.timer_tick = 0

    def set(self, seconds: float) -> None:
        """The time is over in ``seconds``, whatever was set before."""
        self.due = due = self._timers.clock.monotonic() + seconds
        if not self.timer_tick or due < self._armed_for:
            self._armed_for = due
            self._timers.arm(self, due)

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
        self._owner.on_deadline()


class WriteDeadline(Deadline):
    """The same, with an eye on a wire that takes nothing.

    Slow is allowed: it is the queue's limit that looks after that.
    """

    __slots__ = ("_stuck_bytes", "_write_timeout", "_writer")

    def __init__(self, timers: TimerWheel, owner: Writer) -> None:
        super().__init__(timers, owner)
        self._writer = owner
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
        self._stuck_bytes = self._writer.unsent_bytes()

    def _expire(self) -> None:
        timeout = self._write_timeout
        if timeout and self._writer.unsent_bytes() < self._stuck_bytes:
            self.expect_progress(timeout)
        else:
            super()._expire()
