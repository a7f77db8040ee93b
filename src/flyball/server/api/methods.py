"""The methods of the server API, once: HTTP routes, legacy route, batch and gRPC read this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from flyball.server.api import messages as m


@dataclass(frozen=True, slots=True)
class Method:
    """One method. Its handler is the coroutine method of that name on the service."""

    name: str
    """In JSON, in batches and as the last part of the HTTP route."""
    grpc_name: str
    request: type[Struct] | None
    """None for methods that this edition only knows by name."""
    result: type[Struct] | None
    legacy_number: int | None = None
    """Number on the legacy route; None if it is not there."""
    field_number: int | None = None
    """Number of its field in the Protobuf messages ``Command`` and ``Reply``."""

    @property
    def available(self) -> bool:
        """Whether it can be called; the others (PRO) have no route and answer "not found"."""
        return self.request is not None

    @property
    def route(self) -> str:
        """Path below the API's prefix."""
        return f"/{self.name}"


_ALL: Final = (
    Method("batch", "Batch", m.BatchRequest, m.BatchResponse),
    Method("publish", "Publish", m.PublishRequest, m.PublishResult, 0, 4),
    Method("broadcast", "Broadcast", m.BroadcastRequest, m.BroadcastResult, 1, 5),
    Method("subscribe", "Subscribe", m.SubscribeRequest, m.SubscribeResult, 11, 6),
    Method("unsubscribe", "Unsubscribe", m.UnsubscribeRequest, m.UnsubscribeResult, 2, 7),
    Method("disconnect", "Disconnect", m.DisconnectRequest, m.DisconnectResult, 3, 8),
    Method("presence", "Presence", m.PresenceRequest, m.PresenceResult, 4, 9),
    Method("presence_stats", "PresenceStats", m.PresenceStatsRequest, m.PresenceStatsResult, 5, 10),
    Method("history", "History", m.HistoryRequest, m.HistoryResult, 6, 11),
    Method("history_remove", "HistoryRemove", m.HistoryRemoveRequest, m.HistoryRemoveResult, 7, 12),
    Method("info", "Info", m.InfoRequest, m.InfoResult, 9, 13),
    Method("rpc", "RPC", m.RPCRequest, m.RPCResult, 10, 14),
    Method("refresh", "Refresh", m.RefreshRequest, m.RefreshResult, 12, 15),
    Method("channels", "Channels", m.ChannelsRequest, m.ChannelsResult, 8, 16),
    Method("connections", "Connections", m.ConnectionsRequest, m.ConnectionsResult, 14, 17),
    Method("update_user_status", "UpdateUserStatus", None, None, 15, 18),
    Method("get_user_status", "GetUserStatus", None, None, 16, 19),
    Method("delete_user_status", "DeleteUserStatus", None, None, 17, 20),
    Method("block_user", "BlockUser", None, None, 18, 21),
    Method("unblock_user", "UnblockUser", None, None, 19, 22),
    Method("revoke_token", "RevokeToken", None, None, 20, 23),
    Method("invalidate_user_tokens", "InvalidateUserTokens", None, None, 21, 24),
    Method("device_register", "DeviceRegister", None, None, 22, 25),
    Method("device_update", "DeviceUpdate", None, None, 23, 26),
    Method("device_remove", "DeviceRemove", None, None, 24, 27),
    Method("device_list", "DeviceList", None, None, 25, 28),
    Method("device_topic_list", "DeviceTopicList", None, None, 26, 29),
    Method("device_topic_update", "DeviceTopicUpdate", None, None, 27, 30),
    Method("user_topic_list", "UserTopicList", None, None, 28, 31),
    Method("user_topic_update", "UserTopicUpdate", None, None, 29, 32),
    Method("send_push_notification", "SendPushNotification", None, None, 30, 33),
    Method("update_push_status", "UpdatePushStatus", None, None, 31, 34),
    Method("cancel_push", "CancelPush", None, None, 32, 35),
    Method("map_publish", "MapPublish", m.MapPublishRequest, m.MapPublishResult, 33, 36),
    Method("map_remove", "MapRemove", m.MapRemoveRequest, m.MapRemoveResult, 34, 37),
    Method("map_read_state", "MapReadState", m.MapReadStateRequest, m.MapReadStateResult, 35, 38),
    Method(
        "map_read_stream", "MapReadStream", m.MapReadStreamRequest, m.MapReadStreamResult, 36, 39
    ),
    Method("map_stats", "MapStats", m.MapStatsRequest, m.MapStatsResult, 37, 40),
    Method("map_clear", "MapClear", m.MapClearRequest, m.MapClearResult, 38, 41),
    Method(
        "shared_poll_publish",
        "SharedPollPublish",
        m.SharedPollPublishRequest,
        m.SharedPollPublishResult,
        39,
        42,
    ),
    # Flyball's own.
    Method("users", "Users", m.UsersRequest, m.UsersResult, 100, 100),
    Method("channel_state", "ChannelState", m.ChannelStateRequest, m.ChannelStateResult, 101, 101),
    Method("explain", "Explain", m.ExplainRequest, m.ExplainResult, 102, 102),
)

FIRST_OWN: Final = 100
"""Field and legacy numbers from here on are of methods that Centrifugo has not."""

METHODS: Final = {method.name: method for method in _ALL}
"""Every method by name, in schema order."""

LEGACY_METHODS: Final = {
    method.legacy_number: method for method in _ALL if method.legacy_number is not None
}
"""Methods of the legacy route by number."""
