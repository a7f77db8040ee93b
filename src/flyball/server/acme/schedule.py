"""When to renew, and when to try again."""

from __future__ import annotations

from typing import Final

_DAY: Final = 86400.0
_SHORT_LIFE: Final = 10 * _DAY
_SPREAD: Final = 0.01

_FIRST_WAIT: Final = 60.0
_GROWTH: Final = 3.0
_LONGEST_WAIT: Final = 6 * 3600.0

WANTED_WAIT: Final = 720.0
"""Seconds between attempts while clients ask for a name that has no certificate: Let's Encrypt
gives one more failure back every twelve minutes."""


def renewal_time(not_before: float, not_after: float, draw: float) -> float:
    """Unix time at which to renew a certificate that is valid between these two.

    After two thirds of its life (30 days before the end of 90), after half of a life of less
    than ten days, as Let's Encrypt advises. ``draw``, from 0 to 1, moves it forward by up to one
    percent of the life, so that the certificates of many servers do not fall due together.
    """
    life = max(not_after - not_before, 0.0)
    part = 2 / 3 if life >= _SHORT_LIFE else 1 / 2
    return not_before + life * (part - _SPREAD * draw)


def retry_delay(failures: int, draw: float, asked: float = 0.0) -> float:
    """Seconds to wait after so many failures in a row (at least 1).

    One minute, three times longer each time, six hours at most: five attempts come in the first
    hour, which is what Let's Encrypt allows. At least ``asked``, the wait the authority wants.
    ``draw``, from 0 to 1, adds up to a tenth.
    """
    grown = _FIRST_WAIT * _GROWTH ** min(failures - 1, 20)
    return max(min(grown, _LONGEST_WAIT), asked) * (1 + draw / 10)
