"""Headers that all answers of a port have."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyball.aio.clock import Clock


class CommonHeaders:
    """The date, exact to the second, and where else the port can be spoken to.

    Made anew when asked for in another second than last time, in the forms that HTTP/1.1 and
    the other versions need.
    """

    __slots__ = ("_alternative", "_fields", "_json_head", "_lines", "_since", "_time", "_until")

    def __init__(self, clock: Clock) -> None:
        self._time = clock.time
        self._since = self._until = 0.0  # the second for which these are right
        self._alternative = ""
        self._fields: tuple[tuple[str, str], ...] = ()
        self._lines = ""
        self._json_head = b""

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Names and values."""
        if not self._since <= self._time() < self._until:
            self._renew()
        return self._fields

    @property
    def lines(self) -> str:
        """Lines of an HTTP/1.1 head."""
        if not self._since <= self._time() < self._until:
            self._renew()
        return self._lines

    @property
    def json_head(self) -> bytes:
        """Start of a 200 answer with JSON over HTTP/1.1, up to the value of Content-Length."""
        if not self._since <= self._time() < self._until:
            self._renew()
        return self._json_head

    def announce(self, alternative: str) -> None:
        """Answers have ``alternative`` as their ``Alt-Svc`` (RFC 7838) from now on."""
        self._alternative = alternative
        self._renew()

    def _renew(self) -> None:
        now = self._time()
        self._since = float(int(now))
        self._until = self._since + 1.0
        self._fields = (("Date", formatdate(now, usegmt=True)),)
        if self._alternative:
            self._fields += (("Alt-Svc", self._alternative),)
        self._lines = "".join([f"{name}: {value}\r\n" for name, value in self._fields])
        self._json_head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{self._lines}Content-Length: "
        ).encode()
