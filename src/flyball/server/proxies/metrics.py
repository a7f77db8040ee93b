"""What is counted about backends."""

from __future__ import annotations

from collections import defaultdict
from typing import TypeAlias

from flyball.core.metrics import Histogram

__all__ = ["Key", "ProxyMetrics"]

Key: TypeAlias = tuple[str, str, str]
"""protocol, type, name"""


class ProxyMetrics:
    """Counters of all backends. Keys are label values: protocol, kind of question, name."""

    __slots__ = ("durations", "errors", "inflight")

    def __init__(self) -> None:
        self.durations: defaultdict[Key, Histogram] = defaultdict(Histogram)
        """Seconds from the question to its answer; failures count too."""
        self.errors: defaultdict[Key, int] = defaultdict(int)
        """Questions without an answer."""
        self.inflight: defaultdict[Key, int] = defaultdict(int)
        """Questions under way."""

    def announce(self, key: Key) -> None:
        """Shows the series of ``key`` from the start."""
        self.durations[key], self.errors[key], self.inflight[key]
