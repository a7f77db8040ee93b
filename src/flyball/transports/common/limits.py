"""How many connections a node takes, and how fast: answered before any upgrade."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from flyball.aio.lines import LineLimit

if TYPE_CHECKING:
    from collections.abc import Callable

logger: Final = logging.getLogger("flyball.transports")

SILENCE: Final = 60.0
"""Seconds between two lines of the log that say that connections are refused."""


class ConnectionLimits:
    """``client.connection_limit`` and ``client.connection_rate_limit`` of one node::

        limits = flyball.ConnectionLimits(lambda: node.hub.num_clients, limit=1000)

    Shared by all connection endpoints; they answer 503 with an empty body when
    :meth:`admits` says no.
    """

    __slots__ = (
        "_burst",
        "_limit",
        "_lines",
        "_monotonic",
        "_names",
        "_num_clients",
        "_on_refused",
        "_refilled_at",
        "_tokens",
    )

    def __init__(
        self,
        num_clients: Callable[[], int],
        *,
        limit: int = 0,
        rate_limit: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
        on_refused: Callable[[], None] | None = None,
        names: tuple[str, str] = ("limit", "rate_limit"),
    ) -> None:
        """Sets the limits.

        Args:
            num_clients: tells how many clients are connected now.
            limit: connections at a time, 0 for any number.
            rate_limit: connections that may come at once; one more is allowed each second
                (the original's reading of the option). 0 for any rate.
            monotonic: the clock, in seconds.
            on_refused: called for each connection that is not admitted.
            names: what the log calls ``limit`` and ``rate_limit``.
        """
        self._num_clients = num_clients
        self._names = names
        self._limit = limit
        self._burst = float(rate_limit)
        self._tokens = float(rate_limit)
        self._monotonic = monotonic
        self._refilled_at = monotonic()
        self._on_refused = on_refused
        self._lines = LineLimit(1, SILENCE)

    def admits(self) -> bool:
        """Whether one more connection may be made; counts it against the rate."""
        if not self._in_rate():
            self._refuse(self._names[1])
            return False
        if self._limit and self._num_clients() >= self._limit:
            self._refuse(self._names[0])
            return False
        return True

    def _refuse(self, key: str) -> None:
        if self._on_refused is not None:
            self._on_refused()
        if self._lines.allows(self._monotonic()):
            logger.warning("connections are refused: %s is reached", key)

    def _in_rate(self) -> bool:
        if not self._burst:
            return True
        now = self._monotonic()
        self._tokens = min(self._burst, self._tokens + now - self._refilled_at)
        self._refilled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
