"""How far away an expiry may be, and how it is told."""

from __future__ import annotations

from typing import Final

MAX_EXPIRY: Final = 365 * 24 * 3600.0
"""Seconds: expiries of connections further away are cut to this."""

MAX_SUB_EXPIRY: Final = 2.0**32 - 1
"""The same of subscriptions: what their time to live can be told in."""


def cut_expiry(expire_at: float, now: float, longest: float = MAX_EXPIRY) -> float:
    """``expire_at`` (Unix seconds, 0 or less: never), at most ``longest`` ahead of ``now``."""
    # First the smaller one: a number of a token may be too large for a float.
    return float(min(expire_at, now + longest)) if expire_at > 0 else 0.0


def is_past(expire_at: float, now: float) -> bool:
    """Whether ``expire_at`` (Unix seconds, 0 or less: never) is over at ``now``."""
    return 0 < expire_at <= now


def ttl_of(expire_at: float, now: float) -> int:
    """Whole seconds until ``expire_at``, at least 0; both ends are cut to seconds first."""
    return max(int(expire_at) - int(now), 0)
