"""Quantiles of recent observations, estimated from histogram buckets.

Keeping exact quantiles would cost time with every observation. Buckets are counted anyway, so
the quantiles of a summary come from the difference between now and some minutes ago.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

WINDOW: Final = 600.0
"""Seconds that quantiles look back."""
STEP: Final = 60.0
"""Least seconds between two remembered states."""


def quantile(bounds: tuple[float, ...], counts: list[int], q: float) -> float:
    """The value below which the share ``q`` of the observations lies; NaN when there are none.

    Within a bucket observations count as spread evenly; above the last bound the answer is that
    bound.
    """
    total = sum(counts)
    if not total:
        return math.nan
    rank, seen, lower = q * total, 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and seen + count >= rank:
            return lower + (bound - lower) * max(rank - seen, 0.0) / count
        seen += count
        lower = bound
    return bounds[-1]


class Window:
    """Remembers earlier bucket counts of one histogram."""

    __slots__ = ("_states",)

    def __init__(self) -> None:
        self._states: deque[tuple[float, list[int]]] = deque()

    def recent(self, now: float, counts: list[int]) -> list[int]:
        """Observations of the last :data:`WINDOW` seconds in each bucket.

        ``now`` is monotonic seconds, ``counts`` the histogram's counts since its start. Until a
        window has passed, all observations are recent.
        """
        states = self._states
        # The newest state that is old enough is the base; older ones are of no use.
        while len(states) > 1 and states[1][0] <= now - WINDOW:
            states.popleft()
        base = states[0] if states and states[0][0] <= now - WINDOW else None
        if not states or now - states[-1][0] >= STEP:
            states.append((now, list(counts)))
        if base is None:
            return list(counts)
        return [count - before for count, before in zip(counts, base[1], strict=True)]
