"""What is counted about consumers."""

from __future__ import annotations

from collections import defaultdict


class ConsumerMetrics:
    """Counters of all consumers, by their names."""

    __slots__ = ("errors", "processed")

    def __init__(self) -> None:
        self.processed: defaultdict[str, int] = defaultdict(int)
        """Messages that were done or dropped: their source need not keep them."""
        self.errors: defaultdict[str, int] = defaultdict(int)
        """Messages dropped, attempts to do one that failed, and failures of a source."""

    def announce(self, name: str) -> None:
        """Shows the series of a consumer from the start."""
        self.processed[name], self.errors[name]
