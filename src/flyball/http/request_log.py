"""What the log is told of requests: each at debug, and what is none once a second."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from flyball.aio.lines import LineLimit
from flyball.http.address import remote_address

if TYPE_CHECKING:
    import asyncio

    from flyball.aio.clock import Clock
    from flyball.http.messages import RequestHead, Response

__all__ = ["RequestLog"]

logger: Final = logging.getLogger("flyball.http")

SECONDS: Final = 1.0
"""Strangers can repeat at will what is no request: a line of each kind in so many seconds."""
MAX_KINDS: Final = 64


class RequestLog:
    """The log of a port."""

    __slots__ = ("_clock", "_limits")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limits: dict[str, LineLimit] = {}

    def now(self) -> float:
        """When a request began, for :meth:`answered`; 0 while nobody wants to know."""
        return self._clock.monotonic() if logger.isEnabledFor(logging.DEBUG) else 0.0

    def answered(
        self, head: RequestHead, status: int, wire: asyncio.BaseTransport, began: float
    ) -> None:
        """Tells of a request, at debug; nothing if it ``began`` while that was off (0)."""
        if began:
            took = (self._clock.monotonic() - began) * 1000
            method, path, address = head.method, head.path, remote_address(wire)
            logger.debug("%s %s %d from %s in %.2f ms", method, path, status, address, took)

    def refused_by(self, refusal: Response, head: RequestHead, wire: asyncio.BaseTransport) -> None:
        """Tells why a request was refused at its head, if the answer says so."""
        if refusal.why:
            self.refused(
                f"HTTP {refusal.status}", wire, f"{refusal.why}: {head.method} {head.path}"
            )

    def refused(self, kind: str, wire: asyncio.BaseTransport, detail: Any = "") -> None:
        """Tells of what is no request, or none that is served: its kind, from where, and why.

        ``kind`` is one of few texts of ours; ``detail`` may come from strangers.
        """
        self.refused_from(kind, remote_address(wire), detail)

    def refused_from(self, kind: str, address: str, detail: Any = "") -> None:
        """The same, of a peer at ``address``."""
        limit = self._limits.get(kind)
        if limit is None and len(self._limits) < MAX_KINDS:
            limit = self._limits[kind] = LineLimit(1, SECONDS)
        if limit is None or not limit.allows(self._clock.monotonic()):
            return
        left_out = limit.take_left_out()
        more = f" ({left_out} more since the last line)" if left_out else ""
        why = f": {detail}" if detail else ""
        logger.info("%s from %s%s%s", kind, address, why, more)
