"""One coarse timer wheel for everything, in place of several timers for each connection."""

from __future__ import annotations

import logging
from math import ceil
from typing import TYPE_CHECKING, Final, Protocol

from flyball.aio.clock import LoopClock

if TYPE_CHECKING:
    from flyball.aio.clock import Clock, TimerHandle

logger: Final = logging.getLogger("flyball.timers")


class Timed(Protocol):
    """What the wheel calls."""

    timer_tick: int
    """Kept by the wheel: the slot this entry stands in, 0 for none."""

    def on_timer(self, now: float) -> None:
        """The deadline has passed; ``now`` is monotonic time in seconds."""


class TimerWheel:
    """Calls entries at about their deadline, up to ``resolution`` seconds late.

    An entry has one deadline at a time. Arming, moving and cancelling are dictionary
    operations; the event loop sees a single timer, and none while the wheel is empty: it
    needs no end of its own.
    """

    __slots__ = ("_done", "_handle", "_resolution", "_slots", "clock", "now")

    def __init__(self, clock: Clock | None = None, resolution: float = 0.05) -> None:
        self.clock: Clock = clock or LoopClock()
        """Where time comes from; the event loop's if none was given."""
        self.now: float = 0.0
        """Monotonic seconds when the wheel last turned: right but for ``resolution`` while
        anything is armed, and old otherwise. Cheaper than to ask the clock."""
        self._resolution = resolution
        self._slots: dict[int, dict[Timed, None]] = {}
        self._done = 0
        self._handle: TimerHandle | None = None

    @property
    def num_armed(self) -> int:
        """Entries that have a deadline."""
        return sum(map(len, self._slots.values()))

    def arm(self, entry: Timed, deadline: float) -> None:
        """Calls ``entry.on_timer`` at ``deadline`` (monotonic seconds), and not before."""
        if self._handle is None:
            self.now = self.clock.monotonic()
            self._done = int(self.now / self._resolution)
            self._handle = self.clock.call_later(self._resolution, self._turn)
        tick = ceil(deadline / self._resolution)
        if tick <= self._done:
            tick = self._done + 1
        armed = entry.timer_tick
        if armed == tick:
            return
        if armed:
            self.cancel(entry)
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = {}
        slot[entry] = None
        entry.timer_tick = tick

    def arm_in(self, entry: Timed, seconds: float) -> None:
        """The same, ``seconds`` from now."""
        self.arm(entry, self.clock.monotonic() + seconds)

    def cancel(self, entry: Timed) -> None:
        """Forgets the deadline of ``entry``, if any."""
        slot = self._slots.get(entry.timer_tick)
        if slot is not None:
            slot.pop(entry, None)
            if not slot:
                del self._slots[entry.timer_tick]
        entry.timer_tick = 0

    def restart(self) -> None:
        """Goes on in the event loop that runs now, if another one had the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._go_on()

    def rest(self) -> None:
        """Stands still at once if nothing is armed; by itself it does so a little later."""
        if not self._slots and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _turn(self) -> None:
        self._handle = None
        self.now = now = self.clock.monotonic()
        tick = int(now / self._resolution)
        passed = range(self._done + 1, tick + 1)
        if len(passed) > len(self._slots):  # the clock jumped, or there is little to do
            due = sorted(t for t in self._slots if t <= tick)
        else:
            due = [t for t in passed if t in self._slots]
        self._done = tick
        for t in due:
            # Entries move and cancel one another while they are called.
            for entry in list(self._slots.get(t, ())):
                if entry.timer_tick == t:
                    self.cancel(entry)
                    self._call(entry, now)
        self._go_on()

    def _go_on(self) -> None:
        if self._slots and self._handle is None:
            self._handle = self.clock.call_later(self._resolution, self._turn)

    def _call(self, entry: Timed, now: float) -> None:
        try:
            entry.on_timer(now)
        except Exception:
            logger.exception("the timer of %s failed", type(entry).__name__)
