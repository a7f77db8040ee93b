"""Values that handlers, engines and callers of the node exchange."""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import Raw

from flyball.protocol.messages import NO_DATA, ClientInfo, Publication, StreamPosition, payload

__all__ = [
    "NO_DATA",
    "ClientInfo",
    "Credentials",
    "HistoryFilter",
    "HistoryResult",
    "Payload",
    "PresenceStats",
    "Publication",
    "PublishOptions",
    "PublishResult",
    "Raw",
    "RecoveryMode",
    "StreamPosition",
    "SubscribeOptions",
    "SubscriptionSource",
    "payload",
    "to_payload",
]

Payload = bytes | Raw | Any
"""What callers may give as data: ``bytes``/``Raw`` are taken as they are (JSON text, or
binary for channels whose clients all use Protobuf), any other value is encoded as JSON."""


def to_payload(value: Payload) -> Raw:
    """``value`` as the payload of a message; None becomes an absent one."""
    if type(value) is Raw:
        return value or NO_DATA
    if value is None:
        return NO_DATA
    if isinstance(value, (bytes, bytearray, memoryview)):
        return payload(bytes(value))
    return Raw(_encode(value))


def _encode_model(value: Any) -> Any:
    """What msgspec does not know: models of Pydantic."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        kind = type(value).__name__
        raise TypeError(f"a payload cannot hold {kind} ({value!r}): convert it to JSON values")
    return dump(mode="json")


_encode = msgspec.json.Encoder(enc_hook=_encode_model).encode


def _no_data() -> Raw:
    return NO_DATA


class RecoveryMode(Enum):
    """What a returning subscriber gets: everything missed, or the latest value."""

    STREAM = "stream"
    CACHE = "cache"


class SubscriptionSource(Enum):
    """Who wanted a subscription."""

    CLIENT = "client"
    """The client: by its subscribe command, or by a wish in its connect command."""
    CONNECT = "connect"
    """The credentials of the connection; compared with those of a refresh."""
    RULE = "rule"
    """A rule of the program for its connections, such as a channel for each user."""
    API = "api"
    """``node.subscribe_user``."""


@dataclass(frozen=True, slots=True)
class SubscribeOptions:
    """How one subscription behaves. Times are Unix seconds, TTLs are seconds.

    The ``allow_*`` options let the client ask for a mode in its request, the plain ones
    switch it on.
    """

    presence: bool = False
    """The subscriber is listed in the channel's presence."""
    join_leave: bool = False
    """Emit join and leave of this subscriber."""
    push_join_leave: bool = False
    """Deliver join and leave of others to this subscriber."""
    allow_join_leave: bool = False
    """Deliver them if the client asks."""
    positioned: bool = False
    """The subscriber's position is watched; a gap ends the subscription, to be recovered."""
    allow_positioning: bool = False
    """The same, if the client asks."""
    recoverable: bool = False
    """The subscriber gets what it missed when it comes back; implies ``positioned``."""
    allow_recovery: bool = False
    """The same, if the client asks."""
    recovery_mode: RecoveryMode = RecoveryMode.STREAM
    """Everything that was missed, or the latest value."""
    auto_cache_recover: bool = False
    """With ``RecoveryMode.CACHE``: the first subscribe gets the latest value, too."""
    history_meta_ttl: float = 0.0
    """Lifetime of the stream's epoch and offset; 0 takes the node's default."""
    allowed_deltas: frozenset[str] = frozenset()
    """Delta types (``fossil``) the client may negotiate."""
    allow_tags_filter: bool = False
    """The client may filter publications by their tags."""
    expire_at: float = 0.0
    """When the subscription ends unless refreshed; 0 is never."""
    client_side_refresh: bool = True
    """The client refreshes (``sub_refresh``); otherwise the ``on_sub_refresh`` handler is asked."""
    info: Raw = field(default_factory=_no_data)
    """``chan_info`` of the subscriber in this channel."""
    data: Raw = field(default_factory=_no_data)
    """Sent to the client in the subscribe result."""
    source: SubscriptionSource | None = None
    """Who wanted it, where the program knows better than the node."""
    feed: AsyncIterable[Any] | None = None
    """Payloads (or ``flyball.Publication``, with tags) for this subscription alone, such as an async
    generator: begun after the subscribe reply, closed with the subscription. At its end the client
    is unsubscribed with 2000, where it raises with 2500; ``Disconnect`` ends the connection."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a connection is. The result of an ``on_connecting`` handler."""

    user: str = ""
    """Empty: anonymous."""
    info: Raw | bytes | Any = None
    """``conn_info``, visible to other clients. Any JSON value, or raw JSON as ``bytes``/``Raw``."""
    data: Raw | bytes | Any = None
    """Sent to the client in the connect result."""
    meta: Any = None
    """Kept on the server, never sent to clients."""
    subs: dict[str, SubscribeOptions] | list[str] = field(default_factory=dict)
    """Server-side subscriptions; a plain list of names takes the ``on_subscribe`` handler's options."""
    expire_at: float = 0.0
    """Unix seconds when the connection ends unless refreshed; 0 is never."""
    client_side_refresh: bool = True
    """The client refreshes with a new token; otherwise the ``on_refresh`` handler is asked."""
    single_connection: bool = False
    """Older connections of this user are closed with 3504."""


class PublishOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a publication is kept and spread. TTLs are seconds; history needs size and TTL.

    Copy with ``msgspec.structs.replace``.
    """

    history_size: int = 0
    """Publications that the channel keeps; 0: none."""
    history_ttl: float = 0.0
    """Seconds for which it keeps them."""
    history_meta_ttl: float = 0.0
    """0 takes the node's default."""
    skip_history: bool = False
    """This one is not kept, whatever size and TTL say."""
    info: ClientInfo | None = None
    """Who publishes, for receivers to see; given by the node where a client publishes."""
    tags: dict[str, str] | None = None
    """For tags filters of subscribers."""
    idempotency_key: str = ""
    """A second publish with this key publishes nothing."""
    idempotency_ttl: float = 300.0
    """Seconds for which the key is remembered."""
    delta: bool = False
    """Receivers that negotiated delta get patches."""
    version: int = 0
    """Publications whose version is not above the last one's are dropped; 0: no version."""
    version_epoch: str = ""
    """Versions of another epoch start anew."""

    @property
    def keeps_history(self) -> bool:
        """Whether the publication enters the stream."""
        return self.history_size > 0 and self.history_ttl > 0 and not self.skip_history


class PublishResult(msgspec.Struct, frozen=True):
    """Where a publication landed. ``suppressed`` names why nothing was published, if so."""

    offset: int = 0
    """Its place in the stream; 0 where the channel keeps no history."""
    epoch: str = ""
    """The stream's epoch."""
    suppressed: str = ""
    """``""``, ``idempotency`` or ``version``."""


NO_RESULT: Final = PublishResult()
"""Of a publication that has no place in a stream."""
REPEATED: Final = PublishResult(suppressed="idempotency")
"""The same, published before with the same idempotency key."""
LONGEST_TTL: Final = 100 * 365 * 86_400.0
"""Seconds; what is to live for ever lives so long in a store."""


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which part of a stream to read, and how long its position lives on.

    ``limit`` 0: the position only, -1: everything.
    """

    limit: int = -1
    """Publications at most; 0: only the position, -1: all."""
    since: StreamPosition | None = None
    """Only what came after this position."""
    reverse: bool = False
    """From the newest to the oldest."""
    meta_ttl: float = 0.0
    """Prolongs the life of the stream's position by so many seconds; 0: the engine's default."""


class HistoryResult(msgspec.Struct, frozen=True):
    """Publications of a stream and its top position."""

    publications: list[Publication]
    """What was found, oldest first unless asked in reverse."""
    position: StreamPosition
    """The top of the stream."""


@dataclass(frozen=True, slots=True)
class PresenceStats:
    """How many are subscribed."""

    num_clients: int
    """Connections."""
    num_users: int
    """Different users among them."""
