"""Metrics as flat names, for the ``info`` call of the server API.

A name is ``centrifugo.<subsystem>.<name>`` with the labels behind it: ``.<label>.<value>``.
Counters, and sum and count of a summary, tell what was added in the last interval.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flyball.aio.clock import LoopClock
from flyball.server.metrics.table import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample

    from flyball.aio.clock import Clock, TimerHandle


def flatten(families: Iterable[Metric]) -> tuple[dict[str, float], dict[str, float]]:
    """Flat names and values: what grows for ever, and what is true now.

    Histograms are left out, and so are empty labels and quantiles of nothing.
    """
    growing: dict[str, float] = {}
    current: dict[str, float] = {}
    for family in families:
        if not family.name.startswith(PREFIX):
            continue
        for sample in family.samples:
            if family.type == "gauge":
                current[_join(sample.name, "", sample)] = sample.value
            elif family.type == "counter":
                growing[_join(sample.name, "", sample)] = sample.value
            elif family.type == "summary":
                if (q := sample.labels.get("quantile")) is None:
                    suffix = sample.name.removeprefix(family.name + "_")
                    growing[_join(family.name, suffix, sample)] = sample.value
                elif not math.isnan(sample.value):
                    current[_join(family.name, f"quantile.{_percent(q)}", sample)] = sample.value
    return growing, current


class MetricItems:
    """The flat metrics of the last whole interval: :attr:`items`, renewed from start to stop."""

    __slots__ = ("_clock", "_collector", "_previous", "_timer", "interval", "items")

    def __init__(
        self, collector: Collector, interval: float = 60.0, clock: Clock | None = None
    ) -> None:
        """``interval`` in seconds."""
        self._collector = collector
        self._clock: Clock = clock or LoopClock()
        self._timer: TimerHandle | None = None
        self._previous: dict[str, float] = {}
        self.interval: float = interval
        self.items: dict[str, float] = {}

    async def start(self) -> None:
        """Begins the first interval."""
        self._end_interval()

    async def stop(self) -> None:
        """Ends them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_interval(self) -> None:
        self.tick()
        self._timer = self._clock.call_later(self.interval, self._end_interval)

    def tick(self) -> dict[str, float]:
        """Ends an interval and returns its items."""
        growing, current = flatten(self._collector.collect())
        before = self._previous
        self._previous = growing
        added = {name: value - before.get(name, 0.0) for name, value in growing.items()}
        self.items = added | current
        return self.items


def _join(name: str, suffix: str, sample: Sample) -> str:
    # Prefix and subsystem are the first two words of a name; the rest keeps its underscores.
    parts = name.split("_", 2)
    if suffix:
        parts.append(suffix)
    for label, value in sorted(sample.labels.items()):
        if value and label != "quantile":
            parts += (label, value)
    return ".".join(parts)


def _percent(q: str) -> str:
    """``0.5`` → 50, ``0.99`` → 99, ``0.999`` → 999."""
    return q.removeprefix("0.").ljust(2, "0")
