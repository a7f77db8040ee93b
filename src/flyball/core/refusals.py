"""What the log is told when a client is refused something: why, and how often."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from flyball.aio.lines import LineLimit
from flyball.protocol import codes

if TYPE_CHECKING:
    from flyball.aio.clock import Clock
    from flyball.core.errors import Disconnect, Error
    from flyball.core.session import Session

__all__ = ["RefusalLog"]

logger: Final = logging.getLogger("flyball.refusals")

LINES: Final = 20
SECONDS: Final = 10.0
"""So many lines in so many seconds: clients can repeat what is refused at will."""

FAULTS: Final = frozenset(
    {
        codes.DISCONNECT_BAD_REQUEST.code,
        codes.DISCONNECT_INAPPROPRIATE_PROTOCOL.code,
        codes.DISCONNECT_TOO_MANY_REQUESTS.code,
    }
)
"""Ends of connections that are the client's fault: the program hears of them."""

ACTIONS: Final = {
    "subscribe": "subscribe to",
    "unsubscribe": "unsubscribe from",
    "publish": "publish to",
    "presence": "presence of",
    "presence_stats": "presence stats of",
    "history": "history of",
    "sub_refresh": "refresh of the subscription to",
}


class RefusalLog:
    """Tells of refusals: as warnings, not too many of them, or for debugging only.

    Args:
        clock: what the limit is measured by.
        warn: False for a program that tells of refusals itself.
    """

    __slots__ = ("_clock", "_level", "_limit")

    def __init__(self, clock: Clock, *, warn: bool) -> None:
        self._clock = clock
        self._level = logging.WARNING if warn else logging.DEBUG
        self._limit = LineLimit(LINES, SECONDS)

    def log(self, session: Session, method: str, problem: Error | Disconnect, on: Any) -> None:
        """``problem`` refuses the request ``on``, or ends the session."""
        if not logger.isEnabledFor(self._level) or not self._limit.allows(self._clock.monotonic()):
            return
        name = getattr(on, "channel", "") or getattr(on, "method", "")
        left_out = self._limit.take_left_out()
        logger.log(
            self._level,
            "%s%s is refused for user %r (client %s, %s): %s%s",
            ACTIONS.get(method, method),
            f" {name!r}" if name else "",
            session.user,
            session.client_id,
            session.transport.name,
            problem,
            f"; {left_out} more refusals were not told of" if left_out else "",
        )
