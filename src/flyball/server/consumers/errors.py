"""Why a loop of a consumer does not go on."""

from __future__ import annotations

from flyball.core.errors import FlyballError


class TryAgainError(FlyballError):
    """A message could not be done now; later it may be."""


class DroppedError(FlyballError):
    """A message can never be done: it is malformed, or what it wants is refused."""


class SourceError(FlyballError):
    """A source is out of reach, or does not do what was asked of it."""


class StoppedError(FlyballError):
    """The consumer stops: its loops end where nothing is half done."""
