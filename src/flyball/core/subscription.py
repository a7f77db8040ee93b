"""One subscription of one session: its options, its position, and what it may be sent.

Its life is a critical section and what comes after it:

1. A subscription begins ASKED: the program is asked, or it waits for that. It takes its place
   in the session, so that a second subscribe is refused.
2. In the hub it is JOINING: it reads the stream and recovers; what arrives meanwhile is buffered.
3. When its reply was sent it is LIVE.
4. ENDED is taken out of the hub: ended by client, server or the session's end, or refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from flyball.aio.states import State
from flyball.core.types import SubscribeOptions, SubscriptionSource

if TYPE_CHECKING:
    from flyball.core.feed import Feed
    from flyball.core.session import Session
    from flyball.core.transport import Transport
    from flyball.core.types import ClientInfo, Publication, StreamPosition
    from flyball.protocol.codes import UnsubscribeCode
    from flyball.protocol.filter import TagsFilter
    from flyball.protocol.messages import Push

NO_BASE = -1
"""``Subscription.base_offset`` while the client holds no value to patch."""
NO_OPTIONS = SubscribeOptions()


class SubscriptionState(State):
    """The states of a subscription, in the order of a life."""

    ASKED = "asked"
    JOINING = "joining"
    LIVE = "live"
    ENDED = "ended"


TRANSITIONS: Final = {
    SubscriptionState.ASKED: frozenset({SubscriptionState.JOINING, SubscriptionState.ENDED}),
    SubscriptionState.JOINING: frozenset({SubscriptionState.LIVE, SubscriptionState.ENDED}),
    SubscriptionState.LIVE: frozenset({SubscriptionState.ENDED}),
    SubscriptionState.ENDED: frozenset[SubscriptionState](),
}
"""State to the states that may follow."""


class Buffered(NamedTuple):
    """Something for a subscriber that arrived before its subscribe reply was sent."""

    publication: Publication | None
    position: StreamPosition | None = None
    previous: Publication | None = None
    push: Push | None = None
    """A join or leave, if this is no publication."""


class Subscription:
    """State of one subscription; the hub reads it for each publication."""

    __slots__ = (
        "base_offset",
        "buffer",
        "channel",
        "checked_at",
        "delta",
        "ended_by",
        "epoch",
        "expire_at",
        "expire_deadline",
        "feed",
        "info",
        "offset",
        "options",
        "positioned",
        "present",
        "push_join_leave",
        "recoverable",
        "server_side",
        "session",
        "source",
        "state",
        "suspect_offset",
        "tags_filter",
        "transport",
    )

    def __init__(
        self, session: Session, channel: str, *, server_side: bool, source: SubscriptionSource
    ) -> None:
        self.session: Session = session
        self.transport: Transport = session.transport
        self.channel: str = channel
        self.server_side: bool = server_side
        self.source: SubscriptionSource = source
        self.state: SubscriptionState = SubscriptionState.ASKED
        self.options: SubscribeOptions = NO_OPTIONS
        self.present: bool = False
        """Has an entry in presence."""
        self.positioned: bool = False
        self.recoverable: bool = False
        self.push_join_leave: bool = False
        self.offset: int = 0
        """Offset of the last publication this subscriber knows of."""
        self.epoch: str = ""
        self.delta: bool = False
        self.base_offset: int = NO_BASE
        """Offset of the value that the client holds as the base of a patch."""
        self.tags_filter: TagsFilter | None = None
        self.info: ClientInfo = session.client_info
        self.buffer: list[Buffered] | None = None
        """What arrived while a positioned subscription joins; None otherwise."""
        self.expire_at: float = 0.0
        """Unix seconds, 0 never."""
        self.expire_deadline: float = 0.0
        """Monotonic seconds when the subscription is ended, 0 never."""
        self.checked_at: float = 0.0
        """Monotonic seconds of the last proof that the position is right."""
        self.suspect_offset: int = -1
        """Offset at which a position check found the stream ahead; the next one decides."""
        self.feed: Feed | None = None
        """What the program sends to this subscriber alone."""
        self.ended_by: UnsubscribeCode | None = None
        """Ended by the server before it was live: carried out right after the reply."""

    def become(self, state: SubscriptionState) -> None:
        """Takes the next state."""
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state

    @property
    def live(self) -> bool:
        """The subscribe reply was sent, and it has not ended."""
        return self.state is SubscriptionState.LIVE

    @property
    def is_in_hub(self) -> bool:
        """The hub has it: it joins, or is live."""
        return self.state in (SubscriptionState.JOINING, SubscriptionState.LIVE)

    @property
    def individual(self) -> bool:
        """Needs more than the same bytes as its neighbours: see :meth:`Hub.broadcast`."""
        return self.buffer is not None or self.delta or self.tags_filter is not None

    def advance(self, offset: int, epoch: str, now: float) -> bool | None:
        """Takes note of a publication at (``offset``, ``epoch``).

        Returns True if it is the next one, False if it is an old one to be dropped, None if
        there is a gap: the subscription has lost its state.
        """
        if epoch != self.epoch:
            return None
        if offset <= self.offset:
            return False
        if offset != self.offset + 1:
            return None
        self.offset = offset
        self.checked_at = now
        return True
