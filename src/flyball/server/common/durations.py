"""Durations in Go's spelling: ``1h30m``, ``300ms``."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART: Final = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LIMIT: Final = 2**63
NANOSECONDS: Final = 1_000_000_000

EXPECTED: Final = "a duration such as 300ms, 10s or 1h30m (units ns, us, ms, s, m, h)"


_LONGEST: Final = 1000


def parse_duration(text: str) -> float:
    """Returns the seconds that ``text`` says.

    Raises:
        ValueError: ``text`` is no duration in Go's spelling or does not fit 64 bits.
    """
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in {"-", "+"} else text
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(EXPECTED)
    total = 0
    while rest:
        match = _PART.match(rest)
        if match is None or not (match[1] or match[2]):
            raise ValueError(EXPECTED)
        if len(match[0]) > _LONGEST:  # Python reads no number of any length
            raise ValueError(EXPECTED)
        unit = _UNITS[match[3]]
        total += int(match[1] or 0) * unit
        if match[2]:
            total += int(match[2]) * unit // 10 ** len(match[2])
        rest = rest[match.end() :]
    if total >= _LIMIT + (sign < 0):
        raise ValueError(f"{EXPECTED} below 2562047h47m16s")
    return sign * total / NANOSECONDS


def format_duration(seconds: float) -> str:
    """Spells ``seconds`` as Go prints a duration: ``1m0s``, ``100ms``, ``720h0m0s``."""
    nanos = round(seconds * NANOSECONDS)
    if nanos == 0:
        return "0s"
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    if nanos < NANOSECONDS:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if nanos >= size:
                return f"{sign}{_decimal(nanos, size)}{unit}"
    minutes, rest = divmod(nanos, 60 * NANOSECONDS)
    hours, minutes = divmod(minutes, 60)
    tail = f"{_decimal(rest, NANOSECONDS)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{tail}"
    return f"{sign}{minutes}m{tail}" if minutes else f"{sign}{tail}"


def _decimal(value: int, size: int) -> str:
    """Spells ``value / size`` exactly; ``size`` is a power of ten."""
    whole, fraction = divmod(value, size)
    if not fraction:
        return str(whole)
    return f"{whole}.{str(fraction).zfill(len(str(size)) - 1)}".rstrip("0")
