"""Upkeep of HTTP connections once a second: timeouts, and headers that all answers have."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import Final, Protocol

INTERVAL: Final = 1.0
"""Seconds between two rounds, and so the precision of HTTP timeouts."""


class Watched(Protocol):
    """A connection with timeouts."""

    def tick(self, seconds: float) -> None:
        """``seconds`` have passed since the last call."""


class Watch:
    """Looks after the connections of one listener with a single timer.

    Adding and discarding are set operations, so that a WebSocket connection pays next to
    nothing for the time limit of its handshake.
    """

    __slots__ = (
        "_handle",
        "_members",
        "add",
        "alternative",
        "common",
        "common_lines",
        "discard",
        "json_head",
    )

    def __init__(self) -> None:
        self._members: set[Watched] = set()
        self.add = self._members.add
        self.discard = self._members.discard
        self._handle: asyncio.TimerHandle | None = None
        self.alternative = ""
        """``Alt-Svc`` of all answers (RFC 7838), empty for none. Set before :meth:`start`."""
        self.common: tuple[tuple[str, str], ...] = ()
        """Headers of all answers: the date, exact to the second, and the alternative."""
        self.common_lines = ""
        """The same as lines of HTTP/1.1."""
        self.json_head = b""
        """Start of a 200 answer with JSON, up to the value of Content-Length."""
        self._set_common()

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> list[Watched]:
        """The connections watched now."""
        return list(self._members)

    def start(self) -> None:
        """Starts the rounds on the running loop."""
        self._set_common()
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(INTERVAL, self._round)

    def stop(self) -> None:
        """Ends the rounds."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _round(self) -> None:
        self.start()
        for member in self.members:
            member.tick(INTERVAL)

    def _set_common(self) -> None:
        self.common = (("Date", formatdate(time.time(), usegmt=True)),)
        if self.alternative:
            self.common += (("Alt-Svc", self.alternative),)
        self.common_lines = "".join([f"{name}: {value}\r\n" for name, value in self.common])
        self.json_head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"{self.common_lines}Content-Length: "
        ).encode()
