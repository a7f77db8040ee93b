"""What links to servers have in common: when to try again, and a watch over what is connected."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from flyball.core.errors import FlyballError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["LinkWatch", "Watched", "forget", "keep_trying", "retry_delays"]

logger: Final = logging.getLogger("flyball.engine")

FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 1.0
"""Seconds between attempts to connect."""
LOOKS: Final = 8
"""How often in the time for an answer a connection is looked at."""


class Watched(Protocol):
    """A connection to a server."""

    @property
    def heard_at(self) -> float:
        """Loop time when something last came."""

    @property
    def waits_since(self) -> float:
        """Loop time since when an answer is missing, if one is."""

    def abort(self, reason: str) -> None:
        """Gives it up."""


C = TypeVar("C", bound=Watched)


def retry_delays() -> Iterator[float]:
    """Seconds to wait before each next attempt to connect, doubled up to a bound, and spread."""
    delay = FIRST_DELAY
    while True:
        yield delay * (0.5 + random.random() / 2)  # noqa: S311 - spreads attempts
        delay = min(delay * 2, LONGEST_DELAY)


async def keep_trying(
    connect: Callable[[], Awaitable[object]], failed: Callable[[str], object]
) -> None:
    """Connects again and again until that works.

    Nothing ends it before: a link must not stay down for a failure that nobody expected.

    Args:
        connect: makes the connection.
        failed: told each time why there is none.
    """
    for delay in retry_delays():
        try:
            await connect()
        except (FlyballError, TimeoutError) as error:
            failed(str(error) or "no answer")
        except Exception as error:
            logger.exception("connecting failed")
            failed(f"{type(error).__name__}: {error}")
        else:
            return
        await asyncio.sleep(delay)


class LinkWatch(Generic[C]):
    """Looks at a connection again and again.

    A server that does not answer is as good as gone; one of which nothing was heard is asked.

    Args:
        limit: seconds for an answer.
        waits: whether an answer of the connection is missing.
        ask: sends something that is answered.
    """

    __slots__ = ("_ask", "_limit", "_timer", "_waits")

    def __init__(
        self, limit: float, waits: Callable[[C], bool], ask: Callable[[C], object]
    ) -> None:
        self._limit = limit
        self._waits = waits
        self._ask = ask
        self._timer: asyncio.TimerHandle | None = None

    def start(self, connection: C) -> None:
        """Watches ``connection`` from now on."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limit / LOOKS, self._look, connection)

    def stop(self) -> None:
        """There is nothing to watch any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, connection: C) -> None:
        now = asyncio.get_running_loop().time()
        if self._waits(connection):
            if now - connection.waits_since >= self._limit * (LOOKS - 1) / LOOKS:
                connection.abort(f"no answer within {self._limit:g} s")
                return
        elif now - connection.heard_at >= self._limit / 2:
            self._ask(connection)
        self.start(connection)


def forget(future: asyncio.Future[Any]) -> None:
    """Whatever became of it: the link's loss is told elsewhere."""
    if not future.cancelled():
        future.exception()
