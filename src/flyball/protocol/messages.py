"""All messages of the client protocol, one class each.

The fields stand in schema order, which is the order of the JSON output; the numbers of
the Protobuf encoding are in ``client.proto`` beside this file (a test holds the two
together). A field without a default is always written, any other is left out when it
holds its zero value. ``bytes`` fields are :class:`msgspec.Raw`: JSON text copied
unchanged, or opaque bytes on Protobuf connections; ``NO_DATA`` means absent.

Requests forbid unknown fields only to tell the fast JSON decoder that a name needs the
tolerant path: clients may send other fields, and may write the names in any case.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Raw, Struct, field

NO_DATA: Final = Raw()
"""The absent payload. Encoding leaves out this very object, not any empty ``Raw``."""

U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Meta(ge=0)]
I32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


def payload(data: bytes) -> Raw:
    """``data`` as the value of a payload field: empty becomes :data:`NO_DATA`."""
    return Raw(data) if data else NO_DATA


class Error(Struct, omit_defaults=True, gc=False):
    """An error reply: the command was refused; the connection lives on."""

    code: U32 = 0
    message: str = ""
    temporary: bool = False


class StreamPosition(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """A place in a channel's stream: offset (count of publications) within an epoch."""

    offset: U64 = 0
    """Count of publications so far in the stream."""
    epoch: str = ""
    """Changes when the stream was lost and begins anew."""


class FilterNode(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """A node of a tags filter: a comparison (``op`` empty) or and/or/not over ``nodes``."""

    op: str = ""
    key: str = ""
    cmp: str = ""
    val: str = ""
    vals: list[str] = field(default_factory=list)
    nodes: list[FilterNode] = field(default_factory=list)


class ClientInfo(Struct, omit_defaults=True, gc=False):
    """Who a connection is, as other clients see it (presence, join, leave, publications)."""

    user: str
    """User id; empty for anonymous ones."""
    client: str
    """Id of the connection."""
    conn_info: Raw = NO_DATA
    """``Credentials.info``."""
    chan_info: Raw = NO_DATA
    """``SubscribeOptions.info``."""


class Publication(Struct, omit_defaults=True, gc=False):
    """One message of a channel. ``offset`` is 0 where the channel keeps no history."""

    data: Raw = NO_DATA
    """What was published."""
    info: ClientInfo | None = None
    """Who published, where a client did."""
    offset: U64 = 0
    """Its place in the stream."""
    tags: dict[str, str] | None = None
    """``PublishOptions.tags``."""
    delta: bool = False
    """``data`` is a patch against the publication before."""
    time: I64 = 0
    """Unix milliseconds of its publish, where the engine tells."""
    channel: str = ""
    """The real channel, where a subscription covers several."""
    key: str = ""
    """Key in a map channel."""
    removed: bool = False
    """The key was removed."""
    score: I64 = 0
    """Order of the key in a map channel."""
    epoch: str = ""
    """Epoch of a map channel's stream."""
    prev_data: Raw = NO_DATA
    """The value before, in a map channel."""
    version: U64 = 0
    """``PublishOptions.version``."""


class Join(Struct, omit_defaults=True, gc=False):
    """Push: a client subscribed."""

    info: ClientInfo | None = None


class Leave(Struct, omit_defaults=True, gc=False):
    """Push: a client unsubscribed or went away."""

    info: ClientInfo | None = None


class Unsubscribe(Struct, omit_defaults=True, gc=False):
    """Push: the server ended a subscription (codes: :mod:`flyball.protocol.codes`)."""

    code: U32 = 0
    reason: str = ""


class Subscribe(Struct, omit_defaults=True, gc=False):
    """Push: the server subscribed a live connection."""

    recoverable: bool = False
    epoch: str = ""
    offset: U64 = 0
    positioned: bool = False
    data: Raw = NO_DATA


class Message(Struct, omit_defaults=True, gc=False):
    """Push: an asynchronous message outside of any channel."""

    data: Raw = NO_DATA


class Disconnect(Struct, omit_defaults=True, gc=False):
    """Push: the server is about to close; only on transports without close frames."""

    code: U32 = 0
    reason: str = ""
    reconnect: bool = False


class Refresh(Struct, omit_defaults=True, gc=False):
    """Push: the server changed the expiry of the connection. ``ttl`` in seconds."""

    expires: bool = False
    ttl: U32 = 0


class SubscribeRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Subscribe to ``channel``, optionally recovering from (``offset``, ``epoch``)."""

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: U64 = 0
    data: Raw = NO_DATA
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    delta: str = ""
    tf: FilterNode | None = None
    flag: I64 = 0
    type: I32 = 0
    phase: I32 = 0
    cursor: str = ""
    limit: I32 = 0
    asc: bool = False


class ConnectRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """The first command of a connection."""

    token: str = ""
    data: Raw = NO_DATA
    subs: dict[str, SubscribeRequest] | None = None
    name: str = ""
    version: str = ""
    headers: dict[str, str] | None = None
    flag: I64 = 0


class UnsubscribeRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """End the subscription to ``channel``."""

    channel: str = ""


class PublishRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Publish ``data`` into ``channel``; ``type``, ``key``, ``removed`` are for map channels."""

    channel: str = ""
    data: Raw = NO_DATA
    type: I32 = 0
    key: str = ""
    removed: bool = False


class PresenceRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Who is in ``channel``."""

    channel: str = ""


class PresenceStatsRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """How many are in ``channel``."""

    channel: str = ""


class HistoryRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Read the stream of ``channel``; ``limit`` 0 asks for the position only."""

    channel: str = ""
    limit: I32 = 0
    since: StreamPosition | None = None
    reverse: bool = False


class PingRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """In the schema, never served."""


class SendRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """A message to the server without a reply."""

    data: Raw = NO_DATA


class RPCRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Call ``method`` with ``data``."""

    data: Raw = NO_DATA
    method: str = ""


class RefreshRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Prolong the connection with a fresh token."""

    token: str = ""


class KeyedItem(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """A tracked key and the version the client has (shared poll)."""

    key: str = ""
    version: U64 = 0


class TrackBatch(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Keys covered by one signature (shared poll)."""

    signature: str = ""
    items: list[KeyedItem] = field(default_factory=list)


class SubRefreshRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Prolong a subscription (``type`` 0), or track/untrack keys (1, 2)."""

    channel: str = ""
    token: str = ""
    type: I32 = 0
    track: list[TrackBatch] = field(default_factory=list)
    untrack: list[str] = field(default_factory=list)


class Command(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """One client command: an ``id`` chosen by the client and one request."""

    id: U32 = 0
    connect: ConnectRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    publish: PublishRequest | None = None
    presence: PresenceRequest | None = None
    presence_stats: PresenceStatsRequest | None = None
    history: HistoryRequest | None = None
    ping: PingRequest | None = None
    send: SendRequest | None = None
    rpc: RPCRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: SubRefreshRequest | None = None


class SubscribeResult(Struct, omit_defaults=True, gc=False):
    """Result of subscribe. ``ttl`` in seconds."""

    expires: bool = False
    ttl: U32 = 0
    recoverable: bool = False
    epoch: str = ""
    publications: list[Publication] = field(default_factory=list)
    recovered: bool = False
    offset: U64 = 0
    positioned: bool = False
    data: Raw = NO_DATA
    was_recovering: bool = False
    delta: bool = False
    id: I64 = 0
    type: I32 = 0
    phase: I32 = 0
    cursor: str = ""
    state: list[Publication] = field(default_factory=list)
    publish_debounce: U32 = 0


class ConnectResult(Struct, omit_defaults=True, gc=False):
    """Result of connect. ``ping`` and ``ttl`` in seconds, ``time`` in Unix ms."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: U32 = 0
    data: Raw = NO_DATA
    subs: dict[str, SubscribeResult] | None = None
    ping: U32 = 0
    pong: bool = False
    session: str = ""
    node: str = ""
    time: I64 = 0


class UnsubscribeResult(Struct, omit_defaults=True, gc=False):
    """Result of unsubscribe."""


class PublishResult(Struct, omit_defaults=True, gc=False):
    """Result of publish."""


class PresenceResult(Struct, omit_defaults=True, gc=False):
    """Result of presence: client id to client info."""

    presence: dict[str, ClientInfo]


class PresenceStatsResult(Struct, omit_defaults=True, gc=False):
    """Result of presence_stats."""

    num_clients: U32
    num_users: U32


class HistoryResult(Struct, omit_defaults=True, gc=False):
    """Result of history, with the top position of the stream."""

    publications: list[Publication]
    epoch: str
    offset: U64


class PingResult(Struct, omit_defaults=True, gc=False):
    """In the schema, never sent."""


class RPCResult(Struct, omit_defaults=True, gc=False):
    """Result of rpc."""

    data: Raw = NO_DATA


class RefreshResult(Struct, omit_defaults=True, gc=False):
    """Result of refresh. ``ttl`` in seconds."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: U32 = 0


class SubRefreshResult(Struct, omit_defaults=True, gc=False):
    """Result of sub_refresh. ``ttl`` in seconds."""

    expires: bool = False
    ttl: U32 = 0
    items: list[Publication] = field(default_factory=list)


class Connect(Struct, omit_defaults=True, gc=False):
    """Push: first message on a unidirectional transport."""

    client: str = ""
    version: str = ""
    data: Raw = NO_DATA
    subs: dict[str, SubscribeResult] | None = None
    expires: bool = False
    ttl: U32 = 0
    ping: U32 = 0
    pong: bool = False
    session: str = ""
    node: str = ""
    time: I64 = 0


class Push(Struct, omit_defaults=True, gc=False):
    """A message from the server that answers no command."""

    id: I64 = 0
    channel: str = ""
    pub: Publication | None = None
    join: Join | None = None
    leave: Leave | None = None
    unsubscribe: Unsubscribe | None = None
    message: Message | None = None
    subscribe: Subscribe | None = None
    connect: Connect | None = None
    disconnect: Disconnect | None = None
    refresh: Refresh | None = None


class Reply(Struct, omit_defaults=True, gc=False):
    """A message from the server: an answer (``id``), a push, or, when empty, a ping."""

    id: U32 = 0
    error: Error | None = None
    push: Push | None = None
    connect: ConnectResult | None = None
    subscribe: SubscribeResult | None = None
    unsubscribe: UnsubscribeResult | None = None
    publish: PublishResult | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    history: HistoryResult | None = None
    ping: PingResult | None = None
    rpc: RPCResult | None = None
    refresh: RefreshResult | None = None
    sub_refresh: SubRefreshResult | None = None


class EmulationRequest(Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Body of ``/emulation``: commands for a session on some node."""

    node: str = ""
    session: str = ""
    data: Raw = NO_DATA
