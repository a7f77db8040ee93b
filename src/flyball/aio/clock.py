"""Time, injected: the real clock and, in :mod:`flyball.testing`, one that tests move."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class TimerHandle(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """The call will not happen. Harmless when it already did."""


class Clock(Protocol):
    """Where the engine takes time from."""

    def monotonic(self) -> float:
        """Seconds that only grow, for durations."""
        ...

    def time(self) -> float:
        """Unix time in seconds, for token expiry and timestamps."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> TimerHandle:
        """Calls ``callback`` in ``delay`` seconds, from the event loop."""
        ...


class LoopClock:
    """The clock of the running event loop."""

    __slots__ = ()

    # The functions themselves: to be told the time costs a third of a method's call.
    monotonic: staticmethod[[], float] = staticmethod(time.monotonic)
    time: staticmethod[[], float] = staticmethod(time.time)

    def call_later(self, delay: float, callback: Callable[[], None]) -> TimerHandle:
        """See :meth:`Clock.call_later`."""
        return asyncio.get_running_loop().call_later(delay, callback)
