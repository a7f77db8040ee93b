"""Messages of the server API, one class each.

The fields stand in schema order, which is the order of the JSON output. A field without a
default is always written, any other is left out when it holds its zero value. ``bytes``
fields of the schema are :class:`msgspec.Raw`: embedded JSON, or opaque bytes over gRPC.

Requests refuse unknown names, so that the fast decoder notices them; the tolerant one in
:mod:`flyball.server.api.decode` then ignores them, or finds the name in another case.
"""

from __future__ import annotations

from msgspec import Raw, Struct, field

from flyball.protocol.messages import I32, I64, NO_DATA, U32, U64, ClientInfo, FilterNode


class Request(Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Base of what a caller sends."""


class Result(Struct, omit_defaults=True, gc=False):
    """Base of what a caller gets."""


class StreamPosition(Request):
    """A place in a channel's stream."""

    offset: U64 = 0
    epoch: str = ""


class BoolValue(Request):
    """A bool that can be absent."""

    value: bool = False


class SubscribeOptionOverride(Request):
    """What takes the place of the namespace's options in one subscription."""

    presence: BoolValue | None = None
    join_leave: BoolValue | None = None
    force_recovery: BoolValue | None = None
    force_positioning: BoolValue | None = None
    force_push_join_leave: BoolValue | None = None


class PublishRequest(Request):
    """Publish into one channel. A ``b64data`` that is not empty wins over ``data``."""

    channel: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    skip_history: bool = False
    tags: dict[str, str] | None = None
    idempotency_key: str = ""
    delta: bool = False
    version: U64 = 0
    version_epoch: str = ""


class BroadcastRequest(Request):
    """Publish the same into many channels."""

    channels: list[str] = field(default_factory=list)
    data: Raw = NO_DATA
    b64data: str = ""
    skip_history: bool = False
    tags: dict[str, str] | None = None
    idempotency_key: str = ""
    delta: bool = False
    version: U64 = 0
    version_epoch: str = ""


class SubscribeRequest(Request):
    """Subscribe live connections of a user. ``expire_at`` is Unix seconds, 0 is never.

    ``label_filter`` and ``all_users`` are accepted and ignored, here and below.
    """

    channel: str = ""
    user: str = ""
    expire_at: I64 = 0
    info: Raw = NO_DATA
    b64info: str = ""
    client: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    recover_since: StreamPosition | None = None
    override: SubscribeOptionOverride | None = None
    session: str = ""
    label_filter: FilterNode | None = None
    all_users: bool = False


class UnsubscribeRequest(Request):
    """End subscriptions of a user; an empty channel means all of them."""

    channel: str = ""
    user: str = ""
    client: str = ""
    session: str = ""
    label_filter: FilterNode | None = None
    all_users: bool = False


class Disconnect(Request):
    """The code and reason to close with."""

    code: U32 = 0
    reason: str = ""


class DisconnectRequest(Request):
    """Close connections of a user, except the client ids of ``whitelist``."""

    user: str = ""
    disconnect: Disconnect | None = None
    client: str = ""
    whitelist: list[str] = field(default_factory=list)
    session: str = ""
    label_filter: FilterNode | None = None
    all_users: bool = False


class RefreshRequest(Request):
    """Set a new expiry (Unix seconds) of a user's connections, or expire them."""

    user: str = ""
    client: str = ""
    expired: bool = False
    expire_at: I64 = 0
    info: Raw = NO_DATA
    session: str = ""
    label_filter: FilterNode | None = None
    all_users: bool = False


class PresenceRequest(Request):
    """Who is subscribed."""

    channel: str = ""


class PresenceStatsRequest(Request):
    """How many are subscribed."""

    channel: str = ""


class HistoryRequest(Request):
    """Read a stream. ``limit`` 0: the position only, -1: everything."""

    channel: str = ""
    limit: I32 = 0
    since: StreamPosition | None = None
    reverse: bool = False


class HistoryRemoveRequest(Request):
    """Drop the publications of a stream."""

    channel: str = ""


class ConnectionsRequest(Request):
    """Connections of all nodes, a page of them. What is empty does not matter.

    ``expression`` and ``label_filter`` are refused: connections have no labels here.
    ``min_age`` is seconds, ``cursor`` that of the page before.
    """

    user: str = ""
    expression: str = ""
    label_filter: FilterNode | None = None
    anonymous: bool = False
    client: str = ""
    transport: str = ""
    app_name: str = ""
    channel: str = ""
    min_age: I64 = 0
    limit: I32 = 0
    cursor: str = ""


class UsersRequest(Request):
    """Users who are connected, a page of them; ``pattern`` is a glob for their ids."""

    pattern: str = ""
    limit: I32 = 0
    cursor: str = ""


class ChannelStateRequest(Request):
    """All about one channel."""

    channel: str = ""


class ExplainRequest(Request):
    """Why a client may do something in a channel, or not. For ``rpc`` the channel is a method."""

    operation: str = ""
    channel: str = ""
    user: str = ""
    client: str = ""
    subscribed: bool = False
    connection_token: str = ""
    subscription_token: str = ""
    claims: Raw = NO_DATA


class InfoRequest(Request):
    """The nodes of the cluster."""


class RPCRequest(Request):
    """Call a method of the server."""

    method: str = ""
    params: Raw = NO_DATA


class ChannelsRequest(Request):
    """Active channels, optionally those that match a glob: all, or a page where one is asked for.

    ``order`` is ``name`` or ``clients`` (the busiest, one page), ``cursor`` that of the page before.
    """

    pattern: str = ""
    limit: I32 = 0
    cursor: str = ""
    order: str = ""


class MapPublishRequest(Request):
    """Set a key of a map channel."""

    channel: str = ""
    key: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    stream_data: Raw = NO_DATA
    b64stream_data: str = ""
    tags: dict[str, str] | None = None
    idempotency_key: str = ""
    delta: bool = False
    version: U64 = 0
    version_epoch: str = ""
    score: I64 = 0
    key_mode: str = ""


class MapRemoveRequest(Request):
    """Remove a key of a map channel."""

    channel: str = ""
    key: str = ""
    idempotency_key: str = ""


class MapReadStateRequest(Request):
    """Read the keys of a map channel, page by page."""

    channel: str = ""
    cursor: str = ""
    limit: I32 = 0
    key: str = ""
    asc: bool = False
    revision_offset: U64 = 0
    revision_epoch: str = ""


class MapReadStreamRequest(Request):
    """Read the changes of a map channel."""

    channel: str = ""
    since_offset: U64 = 0
    since_epoch: str = ""
    limit: I32 = 0
    reverse: bool = False


class MapStatsRequest(Request):
    """Count the keys of a map channel."""

    channel: str = ""


class MapClearRequest(Request):
    """Drop state and stream of a map channel."""

    channel: str = ""


class SharedPollPublishRequest(Request):
    """Push the value of a polled key."""

    channel: str = ""
    key: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    version: U64 = 0
    epoch: str = ""


class Error(Result):
    """Why a request was refused."""

    code: U32 = 0
    message: str = ""


class PublishResult(Result):
    """Where the publication landed; empty where the channel keeps no history."""

    offset: U64 = 0
    epoch: str = ""


class PublishResponse(Result):
    """The answer for one channel of a broadcast: exactly one field is set."""

    error: Error | None = None
    result: PublishResult | None = None


class BroadcastResult(Result):
    """An answer for each channel, in request order."""

    responses: list[PublishResponse] = field(default_factory=list)


class SubscribeResult(Result):
    """Done."""


class UnsubscribeResult(Result):
    """Done."""


class DisconnectResult(Result):
    """Done."""


class RefreshResult(Result):
    """Done."""


class PresenceResult(Result):
    """Client id to client info."""

    presence: dict[str, ClientInfo]


class PresenceStatsResult(Result):
    """Numbers of clients and of distinct users."""

    num_clients: U32
    num_users: U32


class Publication(Result):
    """One entry of a stream."""

    data: Raw = NO_DATA
    info: ClientInfo | None = None
    offset: U64 = 0
    tags: dict[str, str] | None = None


class HistoryResult(Result):
    """Publications and the top position of the stream."""

    publications: list[Publication]
    epoch: str
    offset: U64


class HistoryRemoveResult(Result):
    """Done."""


class Process(Result):
    """Resources of a node's process; never filled."""

    cpu: float = 0.0
    rss: I64 = 0


class Metrics(Result):
    """Values of a node's metrics over the last ``interval`` seconds."""

    interval: float = 0.0
    items: dict[str, float] | None = None


class NodeResult(Result, kw_only=True):
    """What is known about a node. ``uptime`` is seconds."""

    uid: str
    name: str
    version: str
    num_clients: U32
    num_users: U32
    num_channels: U32
    uptime: U32 = 0
    metrics: Metrics | None = None
    process: Process | None = None
    num_subs: U32


class InfoResult(Result):
    """All nodes."""

    nodes: list[NodeResult] = field(default_factory=list)


class RPCResult(Result):
    """What the method answered."""

    data: Raw = NO_DATA


class ChannelInfo(Result):
    """An active channel."""

    num_clients: U32 = 0


class ChannelsResult(Result):
    """Channel to what is known about it.

    Of a page: ``cursor`` asks for the next one, ``total`` is of all pages (0: not known).
    """

    channels: dict[str, ChannelInfo]
    cursor: str = ""
    total: U64 = 0


class ChannelContext(Result):
    """A subscription of a connection."""

    source: U32 = 0


class ConnectionState(Result):
    """What a connection is subscribed to: up to 100 channels."""

    channels: dict[str, ChannelContext] | None = None


class ConnectionInfo(Result):
    """A connection. ``num_channels`` counts those that ``state`` leaves out as well.

    ``latency`` is seconds from the last ping to its pong.
    """

    app_name: str = ""
    app_version: str = ""
    transport: str = ""
    protocol: str = ""
    user: str = ""
    state: ConnectionState | None = None
    connected_at_ms: I64 = 0
    node: str = ""
    remote_addr: str = ""
    num_channels: U32 = 0
    latency: float = 0.0


class ConnectionsResult(Result):
    """Connections by client id; ``cursor`` asks for the next page, ``total`` is of all pages."""

    connections: dict[str, ConnectionInfo]
    cursor: str = ""
    total: U64 = 0


class UserInfo(Result):
    """A user who is connected."""

    num_clients: U32


class UsersResult(Result):
    """Users by id; ``cursor`` asks for the next page."""

    users: dict[str, UserInfo]
    cursor: str = ""


class ChannelStateResult(Result):
    """A channel: subscribers by node id, its namespace, and what is kept of it.

    ``presence_clients`` and ``presence_users`` are of presence, ``offset`` and ``epoch`` of
    history, where the namespace has these.
    """

    nodes: dict[str, ChannelInfo]
    num_clients: U32
    namespace: str = ""
    subscription_type: str = ""
    has_presence: bool = False
    presence_clients: U32 = 0
    presence_users: U32 = 0
    has_history: bool = False
    offset: U64 = 0
    epoch: str = ""


class ExplainStep(Result):
    """A rule that was looked at, and what came of it; the last one ``decided``."""

    rule: str
    outcome: str
    decided: bool = False


class ExplainResult(Result):
    """A decision: ``allow``, ``refuse`` or ``ask``, and the way to it.

    ``code`` and ``message`` are what a refused client gets; ``proxy`` whom the server asks.
    """

    verdict: str
    sentence: str
    steps: list[ExplainStep]
    user: str = ""
    namespace: str = ""
    code: U32 = 0
    message: str = ""
    proxy: str = ""


class MapPublishResult(Result):
    """Position after the change; ``suppress_reason`` tells why there was none."""

    offset: U64 = 0
    epoch: str = ""
    suppressed: bool = False
    suppress_reason: str = ""


class MapRemoveResult(Result):
    """Position after the removal; ``suppress_reason`` tells why there was none."""

    offset: U64 = 0
    epoch: str = ""
    suppressed: bool = False
    suppress_reason: str = ""


class MapEntry(Result):
    """A key of a map channel, or a change of it. ``time`` is Unix milliseconds."""

    key: str = ""
    data: Raw = NO_DATA
    tags: dict[str, str] | None = None
    offset: U64 = 0
    score: I64 = 0
    removed: bool = False
    time: I64 = 0


class MapReadStateResult(Result):
    """A page of keys; ``cursor`` asks for the next one."""

    entries: list[MapEntry] = field(default_factory=list)
    offset: U64 = 0
    epoch: str = ""
    cursor: str = ""


class MapReadStreamResult(Result):
    """Changes and the top position."""

    entries: list[MapEntry] = field(default_factory=list)
    offset: U64 = 0
    epoch: str = ""


class MapStatsResult(Result):
    """Number of keys."""

    num_keys: I32 = 0


class MapClearResult(Result):
    """Done."""


class SharedPollPublishResult(Result):
    """Done."""


class Command(Request):
    """One command of a batch: exactly one field is set, the first one counts."""

    publish: PublishRequest | None = None
    broadcast: BroadcastRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    disconnect: DisconnectRequest | None = None
    presence: PresenceRequest | None = None
    presence_stats: PresenceStatsRequest | None = None
    history: HistoryRequest | None = None
    history_remove: HistoryRemoveRequest | None = None
    info: InfoRequest | None = None
    rpc: RPCRequest | None = None
    refresh: RefreshRequest | None = None
    channels: ChannelsRequest | None = None
    connections: ConnectionsRequest | None = None
    map_publish: MapPublishRequest | None = None
    map_remove: MapRemoveRequest | None = None
    map_read_state: MapReadStateRequest | None = None
    map_read_stream: MapReadStreamRequest | None = None
    map_stats: MapStatsRequest | None = None
    map_clear: MapClearRequest | None = None
    shared_poll_publish: SharedPollPublishRequest | None = None
    users: UsersRequest | None = None
    channel_state: ChannelStateRequest | None = None
    explain: ExplainRequest | None = None


class BatchRequest(Request):
    """Several commands in one request, in order or (``parallel``) concurrently."""

    commands: list[Command | None] = field(default_factory=list)
    parallel: bool = False


class Reply(Result):
    """The answer to one command: the field of its method, or ``error``."""

    error: Error | None = None
    publish: PublishResult | None = None
    broadcast: BroadcastResult | None = None
    subscribe: SubscribeResult | None = None
    unsubscribe: UnsubscribeResult | None = None
    disconnect: DisconnectResult | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    history: HistoryResult | None = None
    history_remove: HistoryRemoveResult | None = None
    info: InfoResult | None = None
    rpc: RPCResult | None = None
    refresh: RefreshResult | None = None
    channels: ChannelsResult | None = None
    connections: ConnectionsResult | None = None
    map_publish: MapPublishResult | None = None
    map_remove: MapRemoveResult | None = None
    map_read_state: MapReadStateResult | None = None
    map_read_stream: MapReadStreamResult | None = None
    map_stats: MapStatsResult | None = None
    map_clear: MapClearResult | None = None
    shared_poll_publish: SharedPollPublishResult | None = None
    users: UsersResult | None = None
    channel_state: ChannelStateResult | None = None
    explain: ExplainResult | None = None


class BatchResponse(Result):
    """A reply for each command, in request order. It has no ``result`` around it."""

    replies: list[Reply] = field(default_factory=list)
