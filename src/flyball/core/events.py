"""Events: what handlers get. One class for each step of a connection's life.

Handlers are registered on the node (``@node.on_subscribe``); each event says what its
handler may return. A handler that is asked may raise :class:`~flyball.core.errors.Error`
(the command is refused) or :class:`~flyball.core.errors.Disconnect` (the connection ends).
One that is told of what happened (``Connected``, ``Subscribed``, ``Unsubscribed``,
``Disconnected``, ``ChannelOccupied``, ``ChannelVacated``) decides nothing: what it raises is
logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload

import msgspec
from msgspec import Raw

from flyball.core.connection import Connection
from flyball.core.expiry import is_past
from flyball.core.payload import Data, decode_json
from flyball.core.types import (
    NO_DATA,
    ClientInfo,
    HistoryFilter,
    StreamPosition,
    SubscribeOptions,
)

T = TypeVar("T")


class Event(msgspec.Struct, frozen=True):
    """What all events carry: the connection they are about."""

    connection: Connection
    """The connection; its ``client_id``, ``user``, ``transport`` and so on are readable."""

    @property
    def user(self) -> str:
        """User id of the connection, empty for anonymous ones."""
        return self.connection.user

    @property
    def client_id(self) -> str:
        """Id of the connection."""
        return self.connection.client_id


class DataEvent(Event, frozen=True):
    """An event with a payload: ``data`` is what the client sent, ``raw`` the same unseen."""

    @property
    def data(self) -> Data:
        """The payload: bytes, empty if the client sent none."""
        return Data(self.raw)  # type: ignore[attr-defined]  # of the classes below

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, type: type[T]) -> T: ...
    def json(self, type: Any = Any) -> Any:  # noqa: A002
        """The payload, decoded from JSON; None if there was none.

        Args:
            type: what it must be, see :meth:`Data.json`.

        Raises:
            Error: 107, it is no JSON (binary data of a Protobuf client), or does not fit ``type``.
        """
        return decode_json(self.raw, type)  # type: ignore[attr-defined]


class Connecting(DataEvent, frozen=True):
    """A client asks to connect. Return ``Credentials`` (or raise)."""

    token: str = ""
    """What the client authenticates with: yours to check."""
    raw: Raw = NO_DATA
    """What it sends along: ``data`` as ``msgspec.Raw``, to be passed on into JSON without a look."""
    name: str = ""
    """What the client calls itself, such as ``js``."""
    version: str = ""
    """Version that the client tells."""
    headers: Mapping[str, str] = {}
    """HTTP headers of the request that opened the connection, names in lower case."""
    emulated_headers: Mapping[str, str] = {}
    """Headers that the client sent inside its connect command."""
    subs: tuple[str, ...] = ()
    """Server-side subscriptions the client wishes."""


class Connected(Event, frozen=True):
    """The connect reply was sent."""


class Refreshing(Event, frozen=True):
    """The connection wants to live on. Return ``RefreshResult``.

    ``token`` is empty when the server itself asks (no client-side refresh).
    """

    token: str = ""
    """The client's new token."""


class RefreshResult(msgspec.Struct, frozen=True):
    """Answer to ``Refreshing`` and ``SubRefreshing``. ``expire_at`` 0 lifts the expiry."""

    expire_at: float = 0.0
    """Unix seconds of the new end; 0: never."""
    expired: bool = False
    """End it: the connection with 3005, the subscription with 2501 or 3006."""
    info: Raw | None = None
    """Replaces the connection's (or the channel's) info."""
    subs: frozenset[str] | None = None
    """The server-side channels of the new token: if the connection has not all of them, or others
    from its credentials, it ends with 3010."""
    meta: Any = None
    """Replaces the connection's ``meta``; None leaves it."""

    def over(self, now: float) -> bool:
        """Whether it has expired at ``now`` (Unix seconds)."""
        return self.expired or is_past(self.expire_at, now)


class Subscribing(DataEvent, frozen=True):
    """A client asks for a subscription. Return ``SubscribeOptions`` (or raise).

    Not called for the server-side subscriptions that ``Credentials.subs`` gives options for.
    """

    channel: str
    """Name of the channel."""
    token: str = ""
    """The client's subscription token."""
    raw: Raw = NO_DATA
    """What the client sends along: ``data`` as ``msgspec.Raw``, to be passed on into JSON without a look."""
    type: int = 0
    """Wished subscription type: 0 stream, 1-3 map, 4 shared poll."""
    positioned: bool = False
    """The client wishes its position to be watched."""
    recoverable: bool = False
    """The client wishes to recover after a break."""
    join_leave: bool = False
    """The client wishes to hear of joins and leaves."""
    server_side: bool = False
    """A server-side subscription given by name only, or wished in the connect command."""


class Subscribed(Event, frozen=True):
    """The subscribe reply was sent."""

    channel: str
    """Name of the channel."""
    options: SubscribeOptions
    """As the program answered."""
    recovered: bool = False
    """The client asked for what it had missed, and got all of it."""


class SubRefreshing(Event, frozen=True):
    """A subscription wants to live on. Return ``RefreshResult``."""

    channel: str
    """Name of the channel."""
    token: str = ""
    """The client's new token; empty when the server itself asks."""


class Unsubscribed(Event, frozen=True):
    """A subscription ended. Codes: :mod:`flyball.protocol.codes`."""

    channel: str
    """Name of the channel."""
    code: int
    """0 the client, 1 the connection ended, from 2000 on the server."""
    reason: str
    """The code's text."""
    server_side: bool = False
    """The client had not subscribed itself."""


class Publishing(DataEvent, frozen=True):
    """A client wants to publish. Return ``PublishOptions`` to let the node publish, or a
    ``PublishResult`` if the handler published by itself (or raise).
    """

    channel: str
    """Name of the channel."""
    raw: Raw
    """What is to be published: ``data`` as ``msgspec.Raw``, to be passed on into JSON without a look."""
    type: int = 0
    """0: a stream channel's; map channels have others."""
    key: str = ""
    """Key in a map channel."""
    removed: bool = False
    """The key is to be removed from a map channel."""
    info: ClientInfo | None = None
    """The publisher, as it will stand in the publication."""


class PresenceQuery(Event, frozen=True):
    """A client asks who (``stats`` False) or how many are in a channel. Return True to allow it (or
    raise; False is code 103).
    """

    channel: str
    """Name of the channel."""
    stats: bool = False
    """Only how many."""


class HistoryQuery(Event, frozen=True):
    """A client asks for history. Return True to allow it, or a narrowed ``HistoryFilter``
    (or raise; False is code 103).
    """

    channel: str
    """Name of the channel."""
    query: HistoryFilter
    """What the client asks for, cut to the node's limit."""


class Rpc(DataEvent, frozen=True):
    """A client calls a method. Return the answer's data (any JSON value, bytes/``Raw`` or None)."""

    method: str
    """Name of the method."""
    raw: Raw
    """Its arguments: ``data`` as ``msgspec.Raw``, to be passed on into JSON without a look."""


class Message(DataEvent, frozen=True):
    """A client sent a message without a reply (``send``)."""

    raw: Raw
    """What the client sent: ``data`` as ``msgspec.Raw``, to be passed on into JSON without a look."""


class Disconnected(Event, frozen=True):
    """The connection ended, by the client (3000) or the server."""

    code: int
    """3000 the client; others: :mod:`flyball.protocol.codes`, or the program's."""
    reason: str
    """The code's text."""


class ChannelOccupied(msgspec.Struct, frozen=True):
    """A channel got its first subscriber on this node."""

    channel: str
    """Name of the channel."""


class ChannelVacated(msgspec.Struct, frozen=True):
    """A channel lost its last subscriber on this node."""

    channel: str
    """Name of the channel."""


__all__ = [
    "ChannelOccupied",
    "ChannelVacated",
    "Connected",
    "Connecting",
    "Disconnected",
    "Event",
    "HistoryQuery",
    "Message",
    "PresenceQuery",
    "Publishing",
    "RefreshResult",
    "Refreshing",
    "Rpc",
    "StreamPosition",
    "SubRefreshing",
    "Subscribed",
    "Subscribing",
    "Unsubscribed",
]
