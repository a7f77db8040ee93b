"""Running out of file descriptors: noticed before the system does, said, and counted.

Event loops take connections off the queue on their own, and some of them close in silence what
they have no descriptor for. So the last few descriptors are kept for files and other servers.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from flyball.aio.lines import LineLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.clock import Clock

logger: Final = logging.getLogger("flyball.http")

RESERVE: Final = 64
"""Descriptors that connections may not take."""
LOOK_EVERY: Final = 16
"""Connections between two looks, while there are enough."""
TELL_EVERY: Final = 1.0
"""Seconds between two lines about it."""


def max_files() -> int:
    """How many descriptors this process may have open; 0 where nobody tells."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft


class FileBudget:
    """Tells whether another connection may have a descriptor.

    Args:
        clock: for how often it is said.
        limit: how many the process may have, 0 for no limit.
        on_refused: called for each connection that may not.
    """

    __slots__ = (
        "_clock",
        "_is_short",
        "_limit",
        "_lines",
        "_next_look",
        "_on_refused",
    )

    def __init__(
        self, clock: Clock, limit: int, on_refused: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._on_refused = on_refused
        self._next_look = 1
        self._is_short = False
        self._lines = LineLimit(1, TELL_EVERY)

    def admits(self) -> bool:
        """Whether there is one; counts and tells if not. Cheap: most calls look at nothing."""
        self._next_look -= 1
        if self._next_look <= 0 or self._is_short:
            self._look()
        if self._is_short:
            self._refuse()
        return not self._is_short

    def _look(self) -> None:
        self._next_look = LOOK_EVERY
        try:
            # The system gives the lowest number that is free.
            lowest = os.open(os.devnull, os.O_RDONLY)
            os.close(lowest)
        except OSError:
            lowest = self._limit
        self._is_short = 0 < self._limit <= lowest + RESERVE

    def _refuse(self) -> None:
        self._on_refused()
        if self._lines.allows(self._clock.monotonic()):
            logger.error(
                "out of file descriptors: connections are refused (%d of %d may be open, %d refused"
                " since the last line); raise the limit (ulimit -n, LimitNOFILE)",
                self._limit - RESERVE,
                self._limit,
                self._lines.take_left_out() + 1,
            )


class RefusedConnection(asyncio.Protocol):
    """A connection that is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Gives its descriptor back."""
        transport.abort()  # type: ignore[attr-defined]  # a Transport, or uvloop's likeness of it
