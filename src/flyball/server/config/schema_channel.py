"""Channels and RPC: namespaces and their options."""

from __future__ import annotations

from .option import Duration, Int64, many, nested, opt, section
from .schema_common import Proxy

RECOVERY_MODES = ("", "stream", "cache")
DATA_FORMATS = ("", "json", "json_object", "binary")
SUBSCRIPTION_TYPES = ("", "stream", "map", "map_clients", "map_users", "shared_poll")
MAP_MODES = ("", "ephemeral", "recoverable", "persistent")
CLIENT_KEYS = ("", "client_id", "user_id")
POLL_MODES = ("", "versionless", "versioned")
DELTA_TYPES = ("fossil",)


@section
class MapOptions:
    """Options of map channels (key to value state)."""

    mode: str = opt(
        "",
        "ephemeral: state only; recoverable: state and stream, keys expire; persistent: no expiry.",
        allowed=MAP_MODES,
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
    client_key: str = opt("", "Key that client writes are forced to.", allowed=CLIENT_KEYS)
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
        allowed=POLL_MODES,
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
        allowed=RECOVERY_MODES,
    )
    auto_cache_recover: bool = opt(
        False, "In mode cache, deliver the latest publication at the first subscribe already."
    )
    allowed_delta_types: tuple[str, ...] = opt(
        (), "Delta formats that clients may negotiate.", allowed=DELTA_TYPES
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
        "", "Kind of subscription; empty means stream.", allowed=SUBSCRIPTION_TYPES
    )
    map: MapOptions = nested(MapOptions, "Options of map channels.")
    shared_poll: SharedPollOptions = nested(SharedPollOptions, "Options of shared poll channels.")


@section
class ChannelNamespace(ChannelOptions):
    """Options of the channels whose names start with ``name`` and the boundary."""

    name: str = opt(
        "", "Name of the namespace: letters, digits, - _ . and at least two.", first=True
    )


@section
class ChannelProxies:
    """Proxies called ``default`` in namespaces."""

    subscribe: Proxy = nested(Proxy, "Asked about subscribes.")
    publish: Proxy = nested(Proxy, "Asked about publishes of clients.")
    sub_refresh: Proxy = nested(Proxy, "Asked when a subscription expires.")
    subscribe_stream: Proxy = nested(Proxy, "Serves subscription streams (GRPC only).")
    map_publish: Proxy = nested(Proxy, "Asked about map writes of clients.")
    map_remove: Proxy = nested(Proxy, "Asked about map removals by clients.")
    shared_poll_refresh: Proxy = nested(Proxy, "Asked for values of tracked keys.")


@section
class Channel:
    """Channel names, namespaces and their proxies."""

    proxy: ChannelProxies = nested(ChannelProxies, "Default proxies for channel events.")
    without_namespace: ChannelOptions = nested(
        ChannelOptions, "Options of channels without a namespace."
    )
    namespaces: tuple[ChannelNamespace, ...] = many(ChannelNamespace, "Channel namespaces.")
    history_meta_ttl: Duration = opt(
        2_592_000.0, "Lifetime of offset and epoch where the namespace sets none."
    )
    publication_data_format: str = opt(
        "",
        "What publication data must be where the namespace says nothing.",
        allowed=DATA_FORMATS,
    )
    max_length: int = opt(255, "Most bytes in a channel name.")
    private_prefix: str = opt("$", "Prefix of channels that need a subscription token.")
    namespace_boundary: str = opt(":", "Ends the namespace in a channel name.")
    user_boundary: str = opt("#", "Starts the list of users in a channel name.")
    user_separator: str = opt(",", "Stands between users in a channel name.")


@section
class RpcOptions:
    """How RPC calls are answered."""

    proxy_enabled: bool = opt(False, "Send calls to a proxy.")
    proxy_name: str = opt("default", "Proxy that answers.")


@section
class RpcNamespace(RpcOptions):
    """RPC methods whose names start with ``name`` and the boundary."""

    name: str = opt(
        "", "Name of the namespace: letters, digits, - _ . and at least two.", first=True
    )


@section
class RpcPing:
    """An RPC method the server answers itself."""

    enabled: bool = opt(False, "Answer the ping method.")
    method: str = opt("ping", "Name of the method.")


@section
class RPC:
    """RPC namespaces and their proxy."""

    proxy: Proxy = nested(Proxy, "Proxy called default in RPC namespaces.")
    without_namespace: RpcOptions = nested(RpcOptions, "Options of methods without a namespace.")
    namespaces: tuple[RpcNamespace, ...] = many(RpcNamespace, "RPC namespaces.")
    ping: RpcPing = nested(RpcPing, "A method that answers with an empty result.")
    namespace_boundary: str = opt(":", "Ends the namespace in a method name.")


@section
class SharedPoll:
    """Settings of all shared poll channels."""

    hmac_secret_key: str = opt("", "Secret that signs the keys a client may track.")
    hmac_previous_secret_key: str = opt("", "Former secret, accepted during rotation.")
    hmac_previous_secret_key_valid_until: Int64 = opt(
        0, "Signatures with the former secret count when issued before this unix time."
    )
    concurrency_limit: int = opt(0, "Most calls to backends at one time; 0 means no limit.")
