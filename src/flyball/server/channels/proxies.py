"""The kinds of backends that decide in place of the server's own rules."""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["CHANNEL_PROXIES", "ProxyKind"]


class ProxyKind(enum.StrEnum):
    """What a backend is asked about. The values are the names in the configuration."""

    CONNECT = "connect"
    REFRESH = "refresh"
    RPC = "rpc"
    SUBSCRIBE = "subscribe"
    PUBLISH = "publish"
    SUB_REFRESH = "sub_refresh"
    SUBSCRIBE_STREAM = "subscribe_stream"
    """Feeds a subscription; with ``subscribe_stream_proxy_bidirectional`` takes publishes too."""
    MAP_PUBLISH = "map_publish"
    MAP_REMOVE = "map_remove"
    SHARED_POLL_REFRESH = "shared_poll_refresh"


CHANNEL_PROXIES: Final = {
    ProxyKind.SUBSCRIBE: "subscribe_proxy",
    ProxyKind.PUBLISH: "publish_proxy",
    ProxyKind.SUB_REFRESH: "sub_refresh_proxy",
    ProxyKind.SUBSCRIBE_STREAM: "subscribe_stream_proxy",
    ProxyKind.MAP_PUBLISH: "map.publish_proxy",
    ProxyKind.MAP_REMOVE: "map.remove_proxy",
}
"""Kinds that a namespace switches on, and how the options for it begin: ``_enabled`` tells
whether the backend is asked, ``_name`` which one."""
