"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random
from typing import Final

FIRST_DELAY: Final = (0.010, 0.020)
"""Seconds, between these: the first attempts of many loops are spread."""
LONGEST_DELAY: Final = 5.0
"""Seconds, however often it failed."""


class Backoff:
    """Delays, doubled each time up to a bound, of one loop."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait now."""
        # 2^16 times the least first delay is more than the bound; the power needs no more.
        factor = 2 ** min(self._failures, 16)
        self._failures += 1
        delay: float = random.uniform(*FIRST_DELAY) * factor  # noqa: S311 - spreads attempts
        return min(delay, LONGEST_DELAY)

    def reset(self) -> None:
        """It worked."""
        self._failures = 0
