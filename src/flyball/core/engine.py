"""An engine: where a node keeps publications and presence, and how it reaches other nodes."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from flyball.aio.lines import LineLimit
from flyball.core.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.core.broker import Broker, Controller, PresenceManager

logger: Final = logging.getLogger("flyball.engine")

LOG_INTERVAL = 1.0
"""Seconds in which the failures of an engine are one line of the log."""


class Engine:
    """The parts that a node is built on; one that is absent is taken from the memory engine.

    A node without a controller knows no other nodes. Parts of different engines may be put
    together: ``Engine(broker=..., presence_manager=...)``.
    """

    __slots__ = ("broker", "controller", "presence_manager")

    def __init__(
        self,
        broker: Broker | None = None,
        presence_manager: PresenceManager | None = None,
        controller: Controller | None = None,
    ) -> None:
        self.broker: Broker | None = broker
        self.presence_manager: PresenceManager | None = presence_manager
        self.controller: Controller | None = controller

    def problems(self) -> list[str]:
        """What keeps its parts from working now, each told once; empty if all is well."""
        parts = (self.broker, self.presence_manager, self.controller)
        found = [part.problem for part in parts if part is not None and part.problem]
        return list(dict.fromkeys(found))


class EngineFaults:
    """Makes the errors of one engine, and tells the log of them: once a second, with a count.

    Args:
        name: of the engine, as the log shows it.
        monotonic: the time, in seconds.
    """

    __slots__ = ("_limit", "_monotonic", "_name", "failed")

    def __init__(self, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._limit = LineLimit(1, LOG_INTERVAL)
        self._monotonic = monotonic
        self.failed: int = 0
        """Operations that failed so far."""

    def error(self, detail: str) -> EngineError:
        """An error to be raised; it is logged here, so that nobody else needs to."""
        self.failed += 1
        if self._limit.allows(self._monotonic()):
            more = self._limit.take_left_out()
            also = f" (and {more} more before)" if more else ""
            logger.error("%s: %s%s", self._name, detail, also)
        return EngineError(detail)
