"""Who is connected: questions that every node answers with a page, in bounded work.

Pages are in the order of client ids, or of users, over all nodes: each node gives the first of
its own after the cursor, and whoever asks takes the first of all. A node looks through its
connections in slices, so that a question over very many of them holds nobody else up.
"""

from __future__ import annotations

import asyncio
from heapq import merge, nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from flyball.core.errors import Error
from flyball.core.glob import compile_glob
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from flyball.aio.clock import Clock
    from flyball.core.cluster import SurveyHandler, SurveyResult
    from flyball.core.hub import Hub
    from flyball.core.session import Session

__all__ = [
    "MAX_PAGE",
    "ChannelState",
    "ConnectionEntry",
    "ConnectionsPage",
    "ConnectionsQuery",
    "UserEntry",
    "UsersPage",
    "UsersQuery",
]

MAX_PAGE: Final = 1000
"""Entries of a page at most."""
MAX_CHANNELS: Final = 100
"""Names of channels that are told of one connection; all of them are counted."""
SLICE: Final = 2000
"""Connections looked at before others have their turn."""
CONNECTIONS: Final = "flyball_connections"
USERS: Final = "flyball_users"
CHANNEL: Final = "flyball_channel"

T = TypeVar("T")


class ConnectionsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which connections are wanted. What is empty does not matter."""

    user: str | None = None
    """Those of one user; the empty text means anonymous ones."""
    client: str = ""
    """The one with this id."""
    transport: str = ""
    """Name of a transport, such as ``websocket``."""
    name: str = ""
    """What the client calls itself, such as ``js``."""
    channel: str = ""
    """Those that are subscribed to it."""
    min_age: float = 0.0
    """Connected for as many seconds."""
    limit: int = 100
    """Entries of the page, 1 to :data:`MAX_PAGE`."""
    cursor: str = ""
    """``cursor`` of the page before."""


class ConnectionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as it was when asked for."""

    client: str
    """Id of the connection."""
    user: str
    """Empty: anonymous."""
    node: str
    """Id of the node that it is on."""
    name: str
    """What the client calls itself."""
    version: str
    """Version that the client tells."""
    transport: str
    """Name of the transport."""
    protocol: str
    """``json`` or ``protobuf``."""
    remote_addr: str
    """Address of the peer, empty if not known."""
    connected_at: float
    """Unix seconds."""
    latency: float
    """Seconds that its last answer to a ping took; 0 before the first one, and without pongs."""
    num_channels: int
    """Channels that it is subscribed to."""
    channels: list[str]
    """The first :data:`MAX_CHANNELS` of them."""


class ConnectionsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some connections of all nodes."""

    connections: list[ConnectionEntry]
    """In the order of their ids."""
    total: int
    """How many there are, on all pages."""
    cursor: str = ""
    """Asks for the next page; empty: this is the last."""


class UsersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which users are wanted."""

    pattern: str = ""
    """A glob for their ids, see :mod:`flyball.core.glob`."""
    limit: int = 100
    """Entries of the page, 1 to :data:`MAX_PAGE`."""
    cursor: str = ""
    """``cursor`` of the page before."""


class UserEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A user who is connected."""

    user: str
    """Never empty: anonymous connections are nobody's."""
    num_clients: int
    """Connections, over all nodes."""


class UsersPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some users of all nodes."""

    users: list[UserEntry]
    """In the order of their ids."""
    cursor: str = ""
    """Asks for the next page; empty: this is the last."""


class ChannelState(msgspec.Struct, frozen=True, kw_only=True):
    """Who has subscribers in a channel."""

    nodes: dict[str, int]
    """Id of each node with subscribers, to how many."""

    @property
    def num_clients(self) -> int:
        """Subscribers on all nodes."""
        return sum(self.nodes.values())


class Census:
    """Answers for one node, and puts the answers of all together.

    Args:
        node_id: of this node.
        clock: tells how old connections are.
        hub: gives the connections of the node's run.
    """

    def __init__(self, node_id: str, clock: Clock, hub: Callable[[], Hub]) -> None:
        self._node_id = node_id
        self._clock = clock
        self._hub = hub

    def handlers(self) -> dict[str, SurveyHandler]:
        """Survey to who answers it."""
        return {
            CONNECTIONS: self._connections_here,
            USERS: self._users_here,
            CHANNEL: self._channel_here,
        }

    async def _connections_here(self, asked: bytes) -> bytes:
        query = msgspec.json.decode(asked, type=ConnectionsQuery)
        fits = _filter(query, self._clock.time())
        found: list[str] = []
        total = 0
        sessions = self._hub().sessions
        async for part in in_turns(self._candidates(query)):
            fitting = [session.client_id for session in part if fits(session)]
            total += len(fitting)
            later = (client for client in fitting if client > query.cursor)
            found = nsmallest(query.limit + 1, [*found, *later])
        entries = [self._entry(sessions[client]) for client in found if client in sessions]
        return msgspec.json.encode(ConnectionsPage(connections=entries, total=total))

    def _candidates(self, query: ConnectionsQuery) -> list[Session]:
        """As few as one look into a table tells."""
        hub = self._hub()
        if query.client:
            session = hub.sessions.get(query.client)
            return [] if session is None else [session]
        if query.user is not None:
            return list(hub.users.get(query.user, ()))
        return list(hub.sessions.values())

    def _entry(self, session: Session) -> ConnectionEntry:
        channels = session.live_channels()
        shown = nsmallest(MAX_CHANNELS, channels)
        return ConnectionEntry(
            client=session.client_id,
            user=session.user,
            node=self._node_id,
            name=session.name,
            version=session.version,
            transport=session.transport.name,
            protocol=session.transport.framing.codec.name,
            remote_addr=session.remote_addr,
            connected_at=session.connected_at,
            latency=session.latency,
            num_channels=len(channels),
            channels=shown,
        )

    async def _users_here(self, asked: bytes) -> bytes:
        query = msgspec.json.decode(asked, type=UsersQuery)
        fits = compile_glob(query.pattern)
        found: list[str] = []
        users = self._hub().users
        async for part in in_turns(list(users)):
            later = (user for user in part if user > query.cursor and fits(user))
            found = nsmallest(query.limit + 1, [*found, *later])
        entries = [UserEntry(user=u, num_clients=len(users[u])) for u in found if u in users]
        return msgspec.json.encode(UsersPage(users=entries))

    def _channel_here(self, asked: bytes) -> bytes:
        channel = self._hub().channels.get(asked.decode())
        return b"%d" % (0 if channel is None else channel.num_subscribers)


def _filter(query: ConnectionsQuery, now: float) -> Callable[[Session], bool]:
    latest = now - query.min_age

    def fits(session: Session) -> bool:
        return (
            (query.user is None or session.user == query.user)
            and (not query.transport or session.transport.name == query.transport)
            and (not query.name or session.name == query.name)
            and (not query.channel or session.is_subscribed(query.channel))
            and (not query.min_age or session.connected_at <= latest)
        )

    return fits


async def in_turns(items: list[T], size: int = 0) -> AsyncIterator[list[T]]:
    """Slices of a long list, of ``size`` or :data:`SLICE`; others have their turn between two."""
    size = size or SLICE
    for start in range(0, len(items), size):
        if start:
            await asyncio.sleep(0)
        yield items[start : start + size]


def check_limit(limit: int) -> None:
    """Raises Error 107 for a limit that no page can have."""
    if not 0 < limit <= MAX_PAGE:
        detail = f"limit is {limit}, allowed are 1 to {MAX_PAGE}"
        raise Error(codes.BAD_REQUEST, detail=detail)


def first_page(names: Iterable[str], limit: int) -> tuple[list[str], str]:
    """The first of ``names`` in their order, and the cursor that asks for those behind them."""
    found = nsmallest(limit + 1, names)
    return found[:limit], found[limit - 1] if len(found) > limit else ""


def answers_of(answers: Mapping[str, SurveyResult]) -> Iterable[tuple[str, bytes]]:
    """What the nodes said that know the question; nodes of another kind have no say."""
    for node, answer in answers.items():
        if answer.code == 0:
            yield node, answer.data
        elif answer.code != codes.METHOD_NOT_FOUND.code:
            raise Error(codes.INTERNAL, detail=f"node {node} answered with code {answer.code}")


def join_connections(answers: Mapping[str, SurveyResult], limit: int) -> ConnectionsPage:
    """One page of the pages of all nodes."""
    pages = [msgspec.json.decode(data, type=ConnectionsPage) for _, data in answers_of(answers)]
    found = list(
        islice(merge(*(p.connections for p in pages), key=lambda entry: entry.client), limit + 1)
    )
    cursor = found[limit - 1].client if len(found) > limit else ""
    total = sum(page.total for page in pages)
    return ConnectionsPage(connections=found[:limit], total=total, cursor=cursor)


def join_users(answers: Mapping[str, SurveyResult], limit: int) -> UsersPage:
    """One page of the pages of all nodes; whoever is on several nodes is counted once."""
    counts: dict[str, int] = {}
    for _, data in answers_of(answers):
        for entry in msgspec.json.decode(data, type=UsersPage).users:
            counts[entry.user] = counts.get(entry.user, 0) + entry.num_clients
    found, cursor = first_page(counts, limit)
    users = [UserEntry(user=user, num_clients=counts[user]) for user in found]
    return UsersPage(users=users, cursor=cursor)


def join_channel(answers: Mapping[str, SurveyResult]) -> ChannelState:
    """What all nodes know of a channel."""
    counts: dict[str, Any] = {node: int(data) for node, data in answers_of(answers)}
    return ChannelState(nodes={node: count for node, count in counts.items() if count})
