"""Names of options in configurations of Centrifugo 5, which were flat, and what they are called now.

Such a file is no fault that anybody sees: its options are unknown, so all of them are as they are by
default, and nobody may connect. It is recognised, and each key is told its place.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from flyball.server.config.table import rows

__all__ = ["advice", "new_name"]

_SECTIONS: Final = {
    "admin": "admin",
    "api": "http_api",
    "client": "client",
    "emulation": "emulation",
    "graphite": "graphite",
    "grpc_api": "grpc_api",
    "health": "health",
    "http_stream": "http_stream",
    "nats": "broker.nats",
    "node": "node",
    "opentelemetry": "opentelemetry",
    "prometheus": "prometheus",
    "proxy_connect": "client.proxy.connect",
    "proxy_publish": "channel.proxy.publish",
    "proxy_refresh": "client.proxy.refresh",
    "proxy_rpc": "rpc.proxy",
    "proxy_sub_refresh": "channel.proxy.sub_refresh",
    "proxy_subscribe": "channel.proxy.subscribe",
    "proxy_subscribe_stream": "channel.proxy.subscribe_stream",
    "redis": "engine.redis",
    "redis_sentinel_tls": "engine.redis.sentinel_tls",
    "redis_tls": "engine.redis.tls",
    "shutdown": "shutdown",
    "sockjs": "sockjs",
    "sse": "sse",
    "subscription_token": "client.subscription_token",
    "swagger": "swagger",
    "tarantool": "engine.tarantool",
    "tls": "http_server.tls",
    "tls_autocert": "http_server.tls_autocert",
    "token": "client.token",
    "uni_grpc": "uni_grpc",
    "uni_grpc_tls": "uni_grpc.tls",
    "grpc_api_tls": "grpc_api.tls",
    "uni_http_stream": "uni_http_stream",
    "uni_sse": "uni_sse",
    "uni_websocket": "uni_websocket",
    "websocket": "websocket",
    "webtransport": "webtransport",
}
"""What options began with, and the section where they are now; the longest counts."""

_TLS: Final = {
    "cert": "cert_pem",
    "key": "key_pem",
    "root_ca": "server_ca_pem",
    "root_ca_pem": "server_ca_pem",
    "client_ca": "client_ca_pem",
}
"""Options of TLS whose names changed too."""

_NAMES: Final = {
    "address": "http_server.address",
    "allow_anonymous_connect_without_token": "client.allow_anonymous_connect_without_token",
    "allowed_origins": "client.allowed_origins",
    "broker": "broker.type",
    "channel_max_length": "channel.max_length",
    "channel_namespace_boundary": "channel.namespace_boundary",
    "channel_private_prefix": "channel.private_prefix",
    "channel_user_boundary": "channel.user_boundary",
    "channel_user_separator": "channel.user_separator",
    "connect_proxy_name": "client.proxy.connect",
    "debug": "debug.enabled",
    "disallow_anonymous_connection_tokens": "client.disallow_anonymous_connection_tokens",
    "engine": "engine.type",
    "global_history_meta_ttl": "channel.history_meta_ttl",
    "global_presence_ttl": "engine.redis.presence_ttl",
    "global_redis_presence_user_mapping": "engine.redis.presence_user_mapping",
    "http3": "http_server.http3.enabled",
    "internal_address": "http_server.internal_address",
    "internal_port": "http_server.internal_port",
    "log_file": "log.file",
    "log_level": "log.level",
    "name": "node.name",
    "namespaces": "channel.namespaces",
    "ping_interval": "client.ping_interval",
    "pong_timeout": "client.pong_timeout",
    "port": "http_server.port",
    "proxy_binary_encoding": "binary_encoding of each proxy",
    "proxy_grpc_cert_file": "grpc.tls.server_ca_pem of each proxy",
    "proxy_grpc_compression": "grpc.compression of each proxy",
    "proxy_grpc_credentials_key": "grpc.credentials_key of each proxy",
    "proxy_grpc_credentials_value": "grpc.credentials_value of each proxy",
    "proxy_grpc_metadata": "grpc_metadata of each proxy",
    "proxy_grpc_tls": "grpc.tls of each proxy",
    "proxy_http_headers": "http_headers of each proxy",
    "proxy_http_status_code_transforms": "http.status_to_code_transforms of each proxy",
    "proxy_include_connection_meta": "include_connection_meta of each proxy",
    "proxy_static_http_headers": "http.static_headers of each proxy",
    "redis_use_lists": "engine.redis.history_use_lists",
    "refresh_proxy_name": "client.proxy.refresh",
    "rpc_namespace_boundary": "rpc.namespace_boundary",
    "rpc_namespaces": "rpc.namespaces",
    "rpc_ping": "rpc.ping.enabled",
    "rpc_ping_method": "rpc.ping.method",
    "rpc_proxy_name": "rpc.without_namespace.proxy_name",
    "separate_subscription_token_config": "client.subscription_token.enabled",
    "sockjs_url": "sockjs.url",
    "swagger_handler_prefix": "swagger.handler_prefix",
    "tls": "http_server.tls.enabled",
    "tls_autocert": "http_server.tls_autocert.enabled",
    "tls_external": "http_server.tls_external",
    "usage_stats_disable": "usage_stats.disabled",
    "api_disable": "http_api.disabled",
    "grpc_api_tls_disable": "grpc_api.tls.enabled",
    "uni_grpc_tls_disable": "uni_grpc.tls.enabled",
    "websocket_disable": "websocket.disabled",
    "user_personal_channel_namespace": (
        "client.subscribe_to_user_personal_channel.personal_channel_namespace"
    ),
    "user_personal_single_connection": "client.subscribe_to_user_personal_channel.single_connection",
    "user_subscribe_to_personal": "client.subscribe_to_user_personal_channel.enabled",
}
"""Options that went elsewhere than their first word says."""

_OF_NAMESPACES: Final = {
    "proxy_publish": "publish_proxy_enabled",
    "proxy_stream_subscribe": "subscribe_stream_proxy_enabled",
    "proxy_sub_refresh": "sub_refresh_proxy_enabled",
    "proxy_subscribe": "subscribe_proxy_enabled",
    "proxy_subscribe_stream": "subscribe_stream_proxy_enabled",
    "proxy_subscribe_stream_bidirectional": "subscribe_stream_proxy_bidirectional",
}
"""Options of namespaces, and of channels without one, that have other names now."""

SO_IN_5: Final = "as in Centrifugo 5; since version 6 it is"

GONE: Final = {
    "gomaxprocs": "--workers says how many processes serve",
    "granular_proxy_mode": "proxies can be named wherever one is asked: proxies and *_proxy_name",
    "shutdown_termination_delay": "shutdown.timeout alone says how long clients have to leave",
}
"""What has no successor by name, and what there is in its place."""


def new_name(key: str) -> str:
    """What an option of version 5 is called now; empty if ``key`` was none, or is gone."""
    if key in _NAMES:
        return _NAMES[key]
    known = _known()
    own = _OF_NAMESPACES.get(key, key)
    if f"channel.without_namespace.{own}" in known:
        return f"channel.without_namespace.{own}"
    words = key.split("_")
    for size in range(len(words), 0, -1):
        section = _SECTIONS.get("_".join(words[:size]))
        if section is None:
            continue
        rest = "_".join(words[size:]) or "enabled"
        for name in (rest, _TLS.get(rest, rest)):
            if f"{section}.{name}" in known:
                return f"{section}.{name}"
    return ""


def advice(key: str, section: str) -> str:
    """What to do about a key of ``section`` (with its dot; empty at the top) that version 5 had.

    Empty if it had none of that name.
    """
    if section.startswith(("channel.namespaces.", "channel.without_namespace.")):
        name = _OF_NAMESPACES.get(key, "")
        return f"{SO_IN_5} {section}{name}" if name else ""
    if section:
        return ""
    name = new_name(key)
    return f"{SO_IN_5} {name}" if name else GONE.get(key, "")


@cache
def _known() -> frozenset[str]:
    return frozenset(row.path for row in rows())
