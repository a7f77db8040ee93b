"""What the log hears of a backend that fails: a line when it begins, and one when it is over."""

from __future__ import annotations

from typing import Final

import structlog

__all__ = ["Outages"]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.proxies")

QUIET: Final = 1.0
"""Seconds that have to lie between two lines about one backend."""
REMIND: Final = 60.0
"""Seconds after which a backend that still fails is spoken of again."""


class Outages:
    """Follows one backend. A thousand failures are one line with a count, not a thousand.

    Args:
        key: path of its options.
        endpoint: where it is.
    """

    __slots__ = ("_began", "_endpoint", "_failing", "_key", "_spoken", "_untold")

    def __init__(self, key: str, endpoint: str) -> None:
        self._key = key
        self._endpoint = endpoint
        self._failing = False
        self._began = 0.0
        self._spoken = float("-inf")
        self._untold = 0

    def failed(self, kind: str, reason: str, now: float) -> None:
        """A question got no answer; ``now`` is monotonic seconds."""
        self._untold += 1
        if not self._failing:
            self._failing, self._began = True, now
        elif now - self._spoken < REMIND:
            return
        if now - self._spoken >= QUIET:
            logger.error(
                "backend gives no answer",
                proxy=self._key,
                endpoint=self._endpoint,
                type=kind,
                reason=reason,
                failures=self._speak(now),
            )

    def answered(self, now: float) -> None:
        """A question got an answer."""
        if not self._failing:
            return
        if now - self._spoken < QUIET:
            return  # it fails now and then: spoken of later, if it goes on
        self._failing = False
        logger.warning(
            "backend answers again",
            proxy=self._key,
            endpoint=self._endpoint,
            seconds=round(now - self._began, 3),
            failures=self._speak(now),
        )

    def _speak(self, now: float) -> int:
        """The failures that are told of now."""
        self._spoken = now
        untold, self._untold = self._untold, 0
        return untold
