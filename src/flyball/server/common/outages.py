"""What the log hears of a part that fails: a line when it begins, and one when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import structlog

__all__ = ["Outages"]

QUIET: Final = 1.0
"""Seconds that have to lie between two lines about one part."""
REMIND: Final = 60.0
"""Seconds after which a part that still fails is spoken of again."""


class Outages:
    """Follows one part. A thousand failures are one line with a count, not a thousand.

    Args:
        logger: whom it is told.
        begins: what a line says when the part fails.
        ends: what a line says when it works again.
        facts: which part it is, for both.
    """

    __slots__ = (
        "_began",
        "_begins",
        "_ends",
        "_facts",
        "_failing",
        "_logger",
        "_spoken",
        "_told",
        "_untold",
        "reason",
    )

    def __init__(
        self, logger: structlog.stdlib.BoundLogger, begins: str, ends: str, **facts: str
    ) -> None:
        self._logger = logger
        self._begins = begins
        self._ends = ends
        self._facts = facts
        self._failing = False
        self._told = False  # the log knows of this outage
        self._began = 0.0
        self._spoken = float("-inf")
        self._untold = 0
        self.reason: str = ""
        """Why it failed last; empty: it worked since."""

    def failed(self, reason: str, now: float, **more: Any) -> None:
        """It failed once; ``now`` is monotonic seconds, ``more`` stands in the line too."""
        self._untold += 1
        self.reason = reason
        if not self._failing:
            self._failing, self._told, self._began = True, False, now
        if now - self._spoken >= (REMIND if self._told else QUIET):
            self._told = True
            failures = self._speak(now)
            self._logger.error(
                self._begins, **self._facts, **more, reason=reason, failures=failures
            )

    def answered(self, now: float) -> None:
        """It worked once."""
        self.reason = ""
        if not self._failing:
            return
        if now - self._spoken < QUIET:
            return  # it fails now and then: spoken of later, if it goes on
        self._failing = False
        seconds = round(now - self._began, 3)
        failures = self._speak(now)
        self._logger.warning(self._ends, **self._facts, seconds=seconds, failures=failures)

    def _speak(self, now: float) -> int:
        """The failures that are told of now."""
        self._spoken = now
        untold, self._untold = self._untold, 0
        return untold
