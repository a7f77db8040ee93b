"""Counters of the server API: plain numbers, read by whoever exports them."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from flyball.core.metrics import Histogram

UNMARSHAL: Final = "unmarshal"
"""Error label of a request that could not be decoded."""
MARSHAL: Final = "marshal"
"""Error label of a result that could not be encoded."""


class ApiMetrics:
    """How long API calls took and why they failed. One object serves all API protocols."""

    __slots__ = ("durations", "errors")

    def __init__(self) -> None:
        self.durations: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        """protocol (http, grpc, consuming), method; seconds"""
        self.errors: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """protocol, method, error (the code, ``unmarshal`` or ``marshal``)"""

    def count_error(self, protocol: str, method: str, error: int | str) -> None:
        """One more failure of ``method``."""
        self.errors[protocol, method, str(error)] += 1
