"""What can be set for channels and RPC methods: one row for each option.

These are the values that the rules work with. The configuration holds them as they are, and
reads their names, types, defaults, allowed values and descriptions from here.
"""

from __future__ import annotations

from typing import Final

from flyball.server.channels.data_format import DATA_FORMATS
from flyball.server.common.option import Duration, JsonSchema, nested, opt, section

SHARED_POLL: Final = "shared_poll"
SUBSCRIPTION_TYPES: Final = {
    "": 0,
    "stream": 0,
    "map": 1,
    "map_clients": 2,
    "map_users": 3,
    SHARED_POLL: 4,
}
"""``subscription_type`` of a namespace to the ``type`` of a subscribe request."""
STREAM_TYPES: Final = ("", "stream")
MAP_TYPES: Final = ("map", "map_clients", "map_users")
"""The kinds of subscription by what a channel keeps: a stream, or keys and their values."""


@section
class MapOptions:
    """Options of map channels (key to value state)."""

    mode: str = opt(
        "",
        "ephemeral: state only; recoverable: state and stream, keys expire; persistent: no expiry.",
        allowed=("", "ephemeral", "recoverable", "persistent"),
    )
    key_ttl: Duration = opt(0.0, "Lifetime of a key that is not written again.")
    stream_size: int = opt(0, "Number of changes kept for recovery; 0 means 100.")
    stream_ttl: Duration = opt(0.0, "Age of changes kept for recovery; 0 means 1m.")
    meta_ttl: Duration = opt(
        0.0,
        "Lifetime of offset and epoch; 0 derives it from the mode.",
    )
    remove_client_on_unsubscribe: bool = opt(
        False, "Remove the key of a client when it unsubscribes."
    )
    client_key: str = opt(
        "", "Key that client writes are forced to.", allowed=("", "client_id", "user_id")
    )
    allow_publish_for_client: bool = opt(False, "Any connection may write keys.")
    allow_publish_for_subscriber: bool = opt(False, "Subscribers may write keys.")
    allow_publish_for_anonymous: bool = opt(
        False, "Extend the two options above to anonymous connections."
    )
    allow_remove_for_client: bool = opt(False, "Any connection may remove keys.")
    allow_remove_for_subscriber: bool = opt(False, "Subscribers may remove keys.")
    allow_remove_for_anonymous: bool = opt(
        False, "Extend the two options above to anonymous connections."
    )
    publish_proxy_enabled: bool = opt(False, "Ask a proxy about each write of a client.")
    publish_proxy_name: str = opt("default", "Proxy asked about writes.")
    remove_proxy_enabled: bool = opt(False, "Ask a proxy about each removal by a client.")
    remove_proxy_name: str = opt("default", "Proxy asked about removals.")
    default_page_size: int = opt(0, "Keys in a page when the client names no number.")
    min_page_size: int = opt(0, "Smallest page a client may ask for; 0 means 100.")
    max_page_size: int = opt(0, "Largest page a client may ask for; 0 means 1000.")
    live_transition_max_publication_limit: int = opt(
        0, "Most changes replayed when paging ends; 0 means max_page_size."
    )
    subscribe_catch_up_timeout: Duration = opt(
        0.0, "Longest time from the first page to going live; 0 means 5s."
    )


@section
class SharedPollOptions:
    """Options of shared poll channels (the server polls a backend for tracked keys)."""

    proxy_name: str = opt("", "Proxy asked for values; empty means default.")
    refresh_interval: Duration = opt(0.0, "Time between polls; 0 means 10s.")
    refresh_batch_size: int = opt(0, "Keys in one call; 0 means 1000.")
    max_keys_per_connection: int = opt(0, "Keys one connection may track; 0 means 5000.")
    mode: str = opt(
        "",
        "versionless compares data, versioned compares the versions that the backend gives.",
        allowed=("", "versionless", "versioned"),
    )
    channel_shutdown_delay: Duration = opt(
        0.0, "How long a channel nobody tracks is kept; 0 means 1s."
    )
    track_expired_extra_delay: Duration = opt(
        0.0, "Grace after the track signature expired; 0 means 25s."
    )
    publish_enabled: bool = opt(False, "Let the server API publish key values (versioned mode).")


@section
class ChannelOptions:
    """What is kept for a channel and who may do what in it."""

    presence: bool = opt(False, "Keep who is subscribed.")
    join_leave: bool = opt(False, "Emit join and leave messages.")
    force_push_join_leave: bool = opt(
        False, "Deliver join and leave to every subscriber, asked for or not."
    )
    map_clients_presence_channel_prefix: str = opt(
        "", "Mirror presence into the map channel with this prefix, one key for each client."
    )
    map_users_presence_channel_prefix: str = opt(
        "", "Mirror presence into the map channel with this prefix, one key for each user."
    )
    history_size: int = opt(0, "Publications kept; set it together with history_ttl.")
    history_ttl: Duration = opt(0.0, "Age of publications kept; 1s or more.")
    history_meta_ttl: Duration = opt(
        0.0, "Lifetime of offset and epoch; 0 takes channel.history_meta_ttl."
    )
    force_positioning: bool = opt(False, "Check positions of all subscribers.")
    allow_positioning: bool = opt(False, "Subscribers may ask for position checks.")
    force_recovery: bool = opt(False, "Make all subscriptions recoverable.")
    allow_recovery: bool = opt(False, "Subscribers may ask for recovery.")
    force_recovery_mode: str = opt(
        "",
        "stream recovers all missed publications, cache the latest one; empty means stream.",
        allowed=("", "stream", "cache"),
    )
    auto_cache_recover: bool = opt(
        False, "In mode cache, deliver the latest publication at the first subscribe already."
    )
    allowed_delta_types: tuple[str, ...] = opt(
        (), "Delta formats that clients may negotiate.", allowed=("fossil",)
    )
    allow_tags_filter: bool = opt(False, "Subscribers may filter publications by tags.")
    delta_publish: bool = opt(False, "Send every publication as a delta where negotiated.")
    allow_subscribe_for_anonymous: bool = opt(
        False, "Extend allow_subscribe_for_client to anonymous connections."
    )
    allow_subscribe_for_client: bool = opt(False, "Any connection may subscribe.")
    allow_publish_for_anonymous: bool = opt(
        False, "Extend the two options below to anonymous connections."
    )
    allow_publish_for_subscriber: bool = opt(False, "Subscribers may publish.")
    allow_publish_for_client: bool = opt(False, "Any connection may publish.")
    allow_presence_for_anonymous: bool = opt(
        False, "Extend the two options below to anonymous connections."
    )
    allow_presence_for_subscriber: bool = opt(False, "Subscribers may ask for presence.")
    allow_presence_for_client: bool = opt(False, "Any connection may ask for presence.")
    allow_history_for_anonymous: bool = opt(
        False, "Extend the two options below to anonymous connections."
    )
    allow_history_for_subscriber: bool = opt(False, "Subscribers may read history.")
    allow_history_for_client: bool = opt(False, "Any connection may read history.")
    allow_user_limited_channels: bool = opt(
        False, "Channels that list their users after # admit those users."
    )
    channel_regex: str = opt("", "Pattern for the channel name after the namespace (RE2 syntax).")
    publication_data_format: str = opt(
        "",
        "What publication data must be; empty accepts all that is not empty.",
        allowed=DATA_FORMATS,
    )
    publication_schema: JsonSchema = opt(
        "", "JSON Schema that publication data must fit: itself, or the path of a file."
    )
    subscribe_proxy_enabled: bool = opt(False, "Ask a proxy about each subscribe.")
    subscribe_proxy_name: str = opt("default", "Proxy asked about subscribes.")
    publish_proxy_enabled: bool = opt(False, "Ask a proxy about each publish of a client.")
    publish_proxy_name: str = opt("default", "Proxy asked about publishes.")
    sub_refresh_proxy_enabled: bool = opt(False, "Ask a proxy when a subscription expires.")
    sub_refresh_proxy_name: str = opt("default", "Proxy asked to renew subscriptions.")
    subscribe_stream_proxy_enabled: bool = opt(
        False, "Feed each subscription from a GRPC stream of a backend."
    )
    subscribe_stream_proxy_name: str = opt("default", "Proxy that serves the streams.")
    subscribe_stream_proxy_bidirectional: bool = opt(
        False, "Send what subscribers publish into their stream."
    )
    subscription_type: str = opt(
        "", "Kind of subscription; empty means stream.", allowed=tuple(SUBSCRIPTION_TYPES)
    )
    map: MapOptions = nested(MapOptions, "Options of map channels.")
    shared_poll: SharedPollOptions = nested(SharedPollOptions, "Options of shared poll channels.")

    @property
    def keeps_history(self) -> bool:
        """Whether the channels have a stream."""
        return self.history_size > 0 and self.history_ttl > 0


@section
class RpcOptions:
    """How RPC calls are answered."""

    proxy_enabled: bool = opt(False, "Send calls to a proxy.")
    proxy_name: str = opt("default", "Proxy that answers.")
