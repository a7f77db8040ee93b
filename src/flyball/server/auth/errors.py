"""Why a token is not accepted."""

from __future__ import annotations

from flyball.core.errors import FlyballError


class InvalidToken(FlyballError):
    """A token is malformed, badly signed or not meant for us. The text is for the log only."""


class TokenExpired(FlyballError):
    """The token is right, but its time is over (or did not come yet)."""
