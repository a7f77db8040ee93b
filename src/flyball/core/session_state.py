"""Where a session stands."""

from __future__ import annotations

from enum import Enum


class SessionState(Enum):
    """The states of a session, in the order of a life."""

    NEW = "new"
    """Waits for the connect command, or handles it."""
    CONNECTED = "connected"
    REFUSED = "refused"
    """Connect was answered with an error: nothing is read any more."""
    CLOSED = "closed"
