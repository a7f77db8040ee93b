"""Questions to a backend and its answers, one class each.

The fields stand in schema order, which is the order of the JSON output. A field without a
default is always written, any other is left out when it holds its zero value. ``bytes``
fields of the schema are :class:`msgspec.Raw`: embedded JSON over HTTP, opaque bytes over GRPC;
each has a twin ``b64…`` for binary data in JSON. Times are Unix seconds, 0 is never.

The structs refuse unknown names, so that the fast decoder notices them; the tolerant one then
ignores them, or finds the name in another case.
"""

from __future__ import annotations

from msgspec import Raw, Struct, field

from flyball.protocol.messages import I64, NO_DATA, U32, U64, FilterNode
from flyball.server.api.messages import SubscribeOptionOverride


class Message(Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Base of all messages."""


class ClientRequest(Message, kw_only=True):
    """What is said of the client in every question about one."""

    client: str = ""
    """Id of its connection."""
    transport: str = ""
    """How it came: ``websocket``, ``sse``, ..."""
    protocol: str = ""
    """``json`` or ``protobuf``."""
    encoding: str = ""
    """Of the payloads in the question: ``json``, or ``binary`` where they are in base64."""


class Disconnect(Message):
    """Ends the client's connection."""

    code: U32 = 0
    reason: str = ""


class Error(Message):
    """Refuses what the client asked."""

    code: U32 = 0
    message: str = ""
    temporary: bool = False


# -- connect


class ConnectRequest(ClientRequest, kw_only=True):
    """Who is it? Asked if the client sent no token."""

    data: Raw = NO_DATA
    b64data: str = ""
    name: str = ""
    """What the client calls itself."""
    version: str = ""
    channels: list[str] = field(default_factory=list)
    """Server-side subscriptions that it wishes."""


class SubscribeOptions(Message):
    """A server-side subscription. ``expire_at`` and ``server_tags_filter`` are not looked at."""

    expire_at: I64 = 0
    info: Raw = NO_DATA
    b64info: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    override: SubscribeOptionOverride | None = None
    server_tags_filter: FilterNode | None = None
    cache_recover: bool = False


class ChannelsCapability(Message):
    """Accepted and not looked at."""

    channels: list[str] = field(default_factory=list)
    allow: list[str] = field(default_factory=list)
    match: str = ""


class ConnectResult(Message):
    """Who it is. ``caps`` and ``labels`` are not looked at."""

    user: str = ""
    """Empty: anonymous."""
    expire_at: I64 = 0
    info: Raw = NO_DATA
    b64info: str = ""
    data: Raw = NO_DATA
    """For the connect reply."""
    b64data: str = ""
    channels: list[str] = field(default_factory=list)
    """Server-side subscriptions with the options of their namespaces."""
    subs: dict[str, SubscribeOptions] | None = None
    """Server-side subscriptions with options of their own."""
    meta: Raw = NO_DATA
    """Stays on the server; later questions can bring it along."""
    caps: list[ChannelsCapability] = field(default_factory=list)
    labels: dict[str, str] | None = None


class ConnectResponse(Message):
    """Without any of these: no opinion, the next method of authentication has the word."""

    result: ConnectResult | None = None
    error: Error | None = None
    disconnect: Disconnect | None = None


# -- refresh


class RefreshRequest(ClientRequest, kw_only=True):
    """May the connection live on?"""

    user: str
    meta: Raw = NO_DATA
    labels: dict[str, str] | None = None


class RefreshResult(Message):
    """The connection's new expiry."""

    expired: bool = False
    expire_at: I64 = 0
    info: Raw = NO_DATA
    b64info: str = ""
    meta: Raw = NO_DATA
    caps: list[ChannelsCapability] = field(default_factory=list)


class RefreshResponse(Message):
    """Without a result the connection is over."""

    result: RefreshResult | None = None
    error: Error | None = None
    disconnect: Disconnect | None = None


# -- subscribe


class SubscribeRequest(ClientRequest, kw_only=True):
    """May it subscribe?"""

    user: str
    channel: str = ""
    token: str = ""
    meta: Raw = NO_DATA
    data: Raw = NO_DATA
    b64data: str = ""
    labels: dict[str, str] | None = None


class SubscribeResult(Message):
    """How the subscription behaves. ``allow`` and ``server_tags_filter`` are not looked at."""

    expire_at: I64 = 0
    info: Raw = NO_DATA
    b64info: str = ""
    data: Raw = NO_DATA
    """For the subscribe reply."""
    b64data: str = ""
    override: SubscribeOptionOverride | None = None
    allow: list[str] = field(default_factory=list)
    server_tags_filter: FilterNode | None = None


class SubscribeResponse(Message):
    """Without any of these: yes, with the options of the namespace."""

    result: SubscribeResult | None = None
    error: Error | None = None
    disconnect: Disconnect | None = None


# -- publish


class PublishRequest(ClientRequest, kw_only=True):
    """May it publish?"""

    user: str
    channel: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    meta: Raw = NO_DATA
    labels: dict[str, str] | None = None


class PublishResult(Message):
    """How to publish, and what, if not the data as it came."""

    data: Raw = NO_DATA
    b64data: str = ""
    skip_history: bool = False
    tags: dict[str, str] | None = None
    idempotency_key: str = ""
    delta: bool = False
    version: U64 = 0
    version_epoch: str = ""


class PublishResponse(Message):
    """Without any of these: yes, as it is."""

    result: PublishResult | None = None
    error: Error | None = None
    disconnect: Disconnect | None = None


# -- maps


class MapPublishRequest(ClientRequest, kw_only=True):
    """May it write a key of a map?"""

    user: str = ""
    channel: str = ""
    key: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    meta: Raw = NO_DATA
    labels: dict[str, str] | None = None


class MapPublishResult(Message):
    """What to write, and how."""

    key: str = ""
    """In place of the one that the client named."""
    data: Raw = NO_DATA
    b64data: str = ""
    tags: dict[str, str] | None = None
    score: I64 = 0
    key_mode: str = ""
    stream_data: Raw = NO_DATA
    b64stream_data: str = ""
    idempotency_key: str = ""
    delta: bool = False
    version: U64 = 0
    version_epoch: str = ""


class MapPublishResponse(Message):
    """Without any of these: yes, as it is."""

    result: MapPublishResult | None = None
    error: Error | None = None
    disconnect: Disconnect | None = None


class MapRemoveRequest(ClientRequest, kw_only=True):
    """May it remove a key of a map?"""

    user: str = ""
    channel: str = ""
    key: str = ""
    meta: Raw = NO_DATA
    labels: dict[str, str] | None = None


class MapRemoveResult(Message):
    """What to remove, and how."""

    key: str = ""
    tags: dict[str, str] | None = None
    idempotency_key: str = ""


class MapRemoveResponse(Message):
    """Without any of these: yes, as it is."""

    result: MapRemoveResult | None = None
    error: Error | None = None
    disconnect: Disconnect | None = None


# -- rpc


class RPCRequest(ClientRequest, kw_only=True):
    """What is the answer?"""

    user: str
    method: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    meta: Raw = NO_DATA
    labels: dict[str, str] | None = None


class RPCResult(Message):
    """The answer."""

    data: Raw = NO_DATA
    b64data: str = ""


class RPCResponse(Message):
    """Without any of these there is no answer: an error for a client that reads JSON."""

    result: RPCResult | None = None
    error: Error | None = None
    disconnect: Disconnect | None = None


# -- sub_refresh


class SubRefreshRequest(ClientRequest, kw_only=True):
    """May the subscription live on?"""

    user: str
    channel: str = ""
    meta: Raw = NO_DATA
    labels: dict[str, str] | None = None


class SubRefreshResult(Message):
    """The subscription's new expiry."""

    expired: bool = False
    expire_at: I64 = 0
    info: Raw = NO_DATA
    b64info: str = ""


class SubRefreshResponse(Message):
    """Without a result the subscription is over."""

    result: SubRefreshResult | None = None
    error: Error | None = None
    disconnect: Disconnect | None = None


# -- streams


class Publication(Message):
    """One message in a stream: to the client, or from it."""

    data: Raw = NO_DATA
    tags: dict[str, str] | None = None


class StreamSubscribeRequest(Message):
    """What the server sends into a stream of both directions: the question, then publications."""

    subscribe_request: SubscribeRequest | None = None
    publication: Publication | None = None


class StreamSubscribeResponse(Message):
    """What the backend sends: its answer, then publications."""

    subscribe_response: SubscribeResponse | None = None
    publication: Publication | None = None


# -- shared polls


class SharedPollRefreshItem(Message):
    """A key that clients follow, and the version that they have."""

    key: str = ""
    version: U64 = 0


class SharedPollRefreshRequest(Message):
    """What has become of these keys?"""

    channel: str = ""
    items: list[SharedPollRefreshItem] = field(default_factory=list)


class SharedPollRefreshResultItem(Message):
    """The state of a key; one that is not listed has not changed."""

    key: str = ""
    data: Raw = NO_DATA
    version: U64 = 0
    removed: bool = False
    prev_data: Raw = NO_DATA


class SharedPollRefreshResult(Message):
    """The keys that changed."""

    items: list[SharedPollRefreshResultItem] = field(default_factory=list)
    epoch: str = ""


class SharedPollRefreshResponse(Message):
    """Without a result nothing has changed."""

    result: SharedPollRefreshResult | None = None
    error: Error | None = None
