"""How much memory strangers may fill: bytes that came before anybody knows who sends them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from flyball.aio.lines import LineLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.clock import Clock

__all__ = ["HeldBytes", "Holder"]

logger: Final = logging.getLogger("flyball.http")

MAX_HELD: Final = 32 * 1024 * 1024
"""Bytes that all strangers of a node may fill together."""
FREE: Final = 1024
"""Bytes of a holder that are not counted: the ends of heads and frames that come in two parts."""
TELL_EVERY: Final = 1.0
"""Seconds between two lines about it."""


class Holder(Protocol):
    """A connection, or a request, of which something has come that cannot be worked off yet."""

    def give_up(self) -> None:
        """Ends it and frees what it holds: the others need the room."""


class HeldBytes:
    """The bytes that the strangers of a node hold together.

    Above the limit those who began first are given up, until it is kept again: an honest
    client sends what it has to say at once, and is gone from here long before.
    """

    __slots__ = ("_clock", "_holders", "_limit", "_lines", "_on_given_up", "size")

    def __init__(
        self, clock: Clock, limit: int = MAX_HELD, on_given_up: Callable[[], None] = lambda: None
    ) -> None:
        """Holds nothing yet.

        Args:
            clock: for how often it is said.
            limit: bytes; 0 for no limit.
            on_given_up: called for each holder that has to end.
        """
        self._clock = clock
        self._limit = limit
        self._on_given_up = on_given_up
        self._holders: dict[Holder, int] = {}  # in the order in which they began
        self._lines = LineLimit(1, TELL_EVERY)
        self.size: int = 0
        """Bytes held now."""

    def hold(self, holder: Holder, size: int) -> None:
        """``holder`` holds ``size`` bytes now; it may be given up at once."""
        if size <= FREE:
            self.free(holder)
            return
        self.size += size - self._holders.get(holder, 0)
        self._holders[holder] = size
        if self.size > self._limit > 0:
            self._make_room()

    def free(self, holder: Holder) -> None:
        """``holder`` holds nothing any more, or is no stranger."""
        self.size -= self._holders.pop(holder, 0)

    def _make_room(self) -> None:
        while self.size > self._limit:
            oldest = next(iter(self._holders))
            self.free(oldest)
            self._on_given_up()
            if self._lines.allows(self._clock.monotonic()):
                logger.warning(
                    "unfinished requests and messages of clients that are not connected yet hold "
                    "more than %d bytes: the oldest are dropped (%d since the last line)",
                    self._limit,
                    self._lines.take_left_out() + 1,
                )
            oldest.give_up()
