"""How many lines may be written about something that strangers can repeat at will."""

from __future__ import annotations

__all__ = ["LineLimit"]


class LineLimit:
    """At most so many lines in so many seconds; what is left out is counted, never forgotten.

    Args:
        lines: how many.
        seconds: in how long.
    """

    __slots__ = ("_left_out", "_lines", "_seconds", "_since", "_written")

    def __init__(self, lines: int, seconds: float) -> None:
        self._lines = lines
        self._seconds = seconds
        self._since = float("-inf")
        self._written = 0
        self._left_out = 0

    def allows(self, now: float) -> bool:
        """Whether another line may be written at ``now`` (monotonic seconds); counts it if not."""
        if now - self._since >= self._seconds:
            self._since, self._written = now, 0
        if self._written < self._lines:
            self._written += 1
            return True
        self._left_out += 1
        return False

    def take_left_out(self) -> int:
        """How many lines were left out since this was last asked."""
        left_out, self._left_out = self._left_out, 0
        return left_out
