"""Channels and RPC: namespaces and their options."""

from __future__ import annotations

from flyball.server.channels.data_format import DATA_FORMATS
from flyball.server.channels.options import ChannelOptions, RpcOptions
from flyball.server.common.option import Duration, Int64, many, nested, opt, section
from flyball.server.config.schema_common import Proxy


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
class ChannelConfig:
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

    hmac_secret_key: str = opt("", "Secret that signs the keys a client may track.", secret=True)
    hmac_previous_secret_key: str = opt("", "Former secret, accepted during rotation.", secret=True)
    hmac_previous_secret_key_valid_until: Int64 = opt(
        0,
        "Signatures with the former secret count when issued before this unix time.",
        # The secret itself is here sometimes, by mistake.
        secret=True,
    )
    concurrency_limit: int = opt(0, "Most calls to backends at one time; 0 means no limit.")
