"""The messages of ``control.proto``, one class each; the fields stand in the order of the schema."""

from __future__ import annotations

from msgspec import Raw, Struct, field

from flyball.protocol.messages import I64, NO_DATA, U32, U64, StreamPosition

__all__ = [
    "ChannelInfo",
    "ChannelsRequest",
    "ChannelsResult",
    "Command",
    "Disconnect",
    "Metrics",
    "Node",
    "Notification",
    "Refresh",
    "Shutdown",
    "StreamPosition",
    "Subscribe",
    "SurveyRequest",
    "SurveyResponse",
    "Unsubscribe",
]


class Metrics(Struct):
    """Flattened metrics over ``interval`` seconds."""

    interval: float = 0.0
    items: dict[str, float] | None = None


class Node(Struct):
    """A node as it describes itself; ``uptime`` in seconds."""

    uid: str = ""
    name: str = ""
    version: str = ""
    num_clients: U32 = 0
    num_users: U32 = 0
    num_channels: U32 = 0
    uptime: U32 = 0
    metrics: Metrics | None = None
    data: Raw = NO_DATA
    num_subs: U32 = 0


class Subscribe(Struct):
    """Subscribes sessions of a user. Times in Unix seconds."""

    user: str = ""
    channel: str = ""
    emit_presence: bool = False
    emit_join_leave: bool = False
    expire_at: I64 = 0
    position: bool = False
    recover: bool = False
    channel_info: Raw = NO_DATA
    client: str = ""
    data: Raw = NO_DATA
    recover_since: StreamPosition | None = None
    session: str = ""
    push_join_leave: bool = False
    source: U32 = 0
    label_filter: Raw = NO_DATA
    all_users: bool = False
    flyball_options: Raw = NO_DATA


class Unsubscribe(Struct):
    """Ends subscriptions of a user; an empty channel means all."""

    channel: str = ""
    user: str = ""
    client: str = ""
    session: str = ""
    code: U32 = 0
    reason: str = ""
    label_filter: Raw = NO_DATA
    all_users: bool = False


class Disconnect(Struct):
    """Ends sessions of a user."""

    user: str = ""
    whitelist: list[str] = field(default_factory=list)
    code: U32 = 0
    reason: str = ""
    reconnect: bool = False
    client: str = ""
    session: str = ""
    label_filter: Raw = NO_DATA
    all_users: bool = False


class Refresh(Struct):
    """Changes the expiry of sessions of a user."""

    user: str = ""
    client: str = ""
    expired: bool = False
    expire_at: I64 = 0
    info: Raw = NO_DATA
    session: str = ""
    label_filter: Raw = NO_DATA
    all_users: bool = False


class Shutdown(Struct):
    """The node stops."""


class SurveyRequest(Struct):
    """A question to nodes."""

    id: U64 = 0
    op: str = ""
    data: Raw = NO_DATA


class SurveyResponse(Struct):
    """A node's answer; ``code`` 0 is fine."""

    id: U64 = 0
    code: U32 = 0
    data: Raw = NO_DATA


class Notification(Struct):
    """Something that needs no answer."""

    op: str = ""
    data: Raw = NO_DATA


class Command(Struct):
    """What goes from node to node: ``uid`` of the sender, and one of the others."""

    uid: str = ""
    node: Node | None = None
    unsubscribe: Unsubscribe | None = None
    disconnect: Disconnect | None = None
    shutdown: Shutdown | None = None
    survey_request: SurveyRequest | None = None
    survey_response: SurveyResponse | None = None
    subscribe: Subscribe | None = None
    notification: Notification | None = None
    refresh: Refresh | None = None
    flyball_version: U32 = 0


class ChannelsRequest(Struct):
    """Asks for the channels of a node."""

    pattern: str = ""


class ChannelInfo(Struct):
    """A channel of a node."""

    num_clients: U32 = 0


class ChannelsResult(Struct):
    """The channels of a node."""

    channels: dict[str, ChannelInfo] | None = None
