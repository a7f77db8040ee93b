"""What everything in a node stands on while it runs: options, time, counters, handlers, tasks."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from flyball.aio.held import HeldBytes
from flyball.aio.lines import RepeatedLines
from flyball.aio.tasks import TaskOwner
from flyball.aio.timers import TimerWheel
from flyball.core.refusals import RefusalLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.clock import Clock
    from flyball.core.handlers import Handlers
    from flyball.core.metrics import Metrics
    from flyball.core.options import NodeOptions


class Runtime:
    """Services of one run of a node. Its tasks end with the run; its timers
    run out by themselves, for clients that still leave.
    """

    __slots__ = (
        "clock",
        "failures",
        "handlers",
        "held",
        "metrics",
        "options",
        "random",
        "refusals",
        "tasks",
        "timers",
    )

    def __init__(
        self, options: NodeOptions, clock: Clock, metrics: Metrics, handlers: Handlers
    ) -> None:
        self.options: NodeOptions = options
        self.clock: Clock = clock
        self.metrics: Metrics = metrics
        self.handlers: Handlers = handlers
        self.timers: TimerWheel = TimerWheel(clock)
        self.held: HeldBytes = HeldBytes(
            clock, options.held_bytes_limit, metrics.count_dropped_stranger
        )
        """What clients who are not connected yet have sent and what cannot be worked off yet."""
        self.tasks: TaskOwner = TaskOwner(metrics.background_failures, clock.monotonic)
        """Owns the work that nobody waits for."""
        self.failures: RepeatedLines = RepeatedLines(self.timers)
        """Tells of handlers that fail: clients can have them called again and again."""
        handlers.failures = self.failures
        self.refusals: RefusalLog = RefusalLog(clock, warn=options.warn_of_refusals)
        self.random: Callable[[], float] = random.Random().random  # noqa: S311 - spreads timers, no secret
        """A number from 0 to below 1."""

    def spread(self, interval: float) -> float:
        """A time between half of ``interval`` and all of it, lest everybody comes together."""
        return interval * (0.5 + self.random() / 2)
