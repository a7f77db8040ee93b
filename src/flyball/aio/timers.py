"""One coarse timer wheel for the node, in place of several timers for each connection."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flyball.aio.clock import Clock, TimerHandle


class Timed(Protocol):
    """What the wheel calls."""

    timer_tick: int
    """Kept by the wheel: the slot this entry stands in, 0 for none."""

    def on_timer(self, now: float) -> None:
        """The deadline has passed; ``now`` is monotonic time in seconds."""


class TimerWheel:
    """Calls entries at about their deadline, up to ``resolution`` seconds late.

    An entry has one deadline at a time. Arming, moving and cancelling are dictionary
    operations; the event loop sees a single timer, and none while the wheel is empty.
    """

    __slots__ = ("_clock", "_done", "_handle", "_resolution", "_slots")

    def __init__(self, clock: Clock, resolution: float = 0.05) -> None:
        self._clock = clock
        self._resolution = resolution
        self._slots: dict[int, dict[Timed, None]] = {}
        self._done = 0
        self._handle: TimerHandle | None = None

    def arm(self, entry: Timed, deadline: float) -> None:
        """Calls ``entry.on_timer`` at ``deadline`` (monotonic seconds), and not before."""
        if self._handle is None:
            self._done = int(self._clock.monotonic() / self._resolution)
            self._handle = self._clock.call_later(self._resolution, self._turn)
        tick = max(ceil(deadline / self._resolution), self._done + 1)
        if entry.timer_tick == tick:
            return
        if entry.timer_tick:
            self.cancel(entry)
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = {}
        slot[entry] = None
        entry.timer_tick = tick

    def cancel(self, entry: Timed) -> None:
        """Forgets the deadline of ``entry``, if any."""
        slot = self._slots.get(entry.timer_tick)
        if slot is not None:
            slot.pop(entry, None)
            if not slot:
                del self._slots[entry.timer_tick]
        entry.timer_tick = 0

    def close(self) -> None:
        """Forgets everything."""
        for slot in self._slots.values():
            for entry in slot:
                entry.timer_tick = 0
        self._slots.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _turn(self) -> None:
        self._handle = None
        now = self._clock.monotonic()
        tick = int(now / self._resolution)
        passed = range(self._done + 1, tick + 1)
        if len(passed) > len(self._slots):  # the clock jumped, or there is little to do
            due = sorted(t for t in self._slots if t <= tick)
        else:
            due = [t for t in passed if t in self._slots]
        self._done = tick
        for t in due:
            slot = self._slots.pop(t, None)
            if slot is None:
                continue
            for entry in slot:
                entry.timer_tick = 0
            for entry in slot:
                entry.on_timer(now)
        if self._slots and self._handle is None:
            self._handle = self._clock.call_later(self._resolution, self._turn)
