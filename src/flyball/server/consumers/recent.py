"""What was done lately, for queues that may not have heard of it."""

from __future__ import annotations

from typing import Final

MOST: Final = 10_000
"""Messages that are remembered."""


class Recent:
    """Messages that were done. One that comes again, because its queue was not told, is done still.

    Args:
        most: how many are remembered.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._ids: dict[object, None] = {}

    def add(self, identity: object) -> None:
        """It was done."""
        self._ids[identity] = None
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]

    def __contains__(self, identity: object) -> bool:
        return identity in self._ids
