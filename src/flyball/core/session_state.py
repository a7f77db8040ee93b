"""Where a session stands, and where it may go from there.

1. A session begins NEW: it waits for the connect command, or handles it.
2. A successful connect makes it CONNECTED.
3. A connect that is answered with an error makes it REFUSED: nothing is read any more, and the
   transport is dropped soon. A refusal can come after others saw the session.
4. From everywhere it may be CLOSED, once, and nothing comes after that.
"""

from __future__ import annotations

from typing import Final

from flyball.aio.states import State


class SessionState(State):
    """The states of a session, in the order of a life."""

    NEW = "new"
    CONNECTED = "connected"
    REFUSED = "refused"
    CLOSED = "closed"


TRANSITIONS: Final = {
    SessionState.NEW: frozenset(
        {SessionState.CONNECTED, SessionState.REFUSED, SessionState.CLOSED}
    ),
    SessionState.CONNECTED: frozenset({SessionState.CLOSED}),
    SessionState.REFUSED: frozenset({SessionState.CLOSED}),
    SessionState.CLOSED: frozenset[SessionState](),
}
"""State to the states that may follow."""

LISTENING: Final = (SessionState.NEW, SessionState.CONNECTED)
"""States in which commands are taken."""
