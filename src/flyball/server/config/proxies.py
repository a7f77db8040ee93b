"""Which proxies the configuration names, what for, and where each is described."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from flyball.server.channels import CHANNEL_PROXIES, ProxyKind
from flyball.server.channels.options import SHARED_POLL
from flyball.server.config.schema import Config
from flyball.server.config.schema_common import Proxy
from flyball.server.config.validate_common import Scope, scopes

__all__ = ["DEFAULT", "ProxyUse", "described", "proxy_uses"]

DEFAULT: Final = "default"
"""Name of the proxy that stands beside what it is asked about; others stand in ``proxies``."""

_DEFAULTS: Final = {
    ProxyKind.CONNECT: "client.proxy.connect",
    ProxyKind.REFRESH: "client.proxy.refresh",
    ProxyKind.RPC: "rpc.proxy",
    ProxyKind.SHARED_POLL_REFRESH: "channel.proxy.shared_poll_refresh",
    **{kind: f"channel.proxy.{kind}" for kind in CHANNEL_PROXIES},
}
"""Where the default proxy of each kind is described."""


@dataclass(frozen=True, slots=True)
class ProxyUse:
    """Options that send something to a proxy, or would if they were switched on."""

    kind: ProxyKind
    """What the proxy is asked about."""
    key: str
    """Path of the option that names the proxy."""
    name: str
    """Of the proxy."""
    enabled: bool
    """Whether it is asked."""
    user: str
    """Whose options they are, for messages."""


def proxy_uses(config: Config) -> Iterator[ProxyUse]:
    """Yields all references to proxies, also those switched off."""
    proxies = config.client.proxy
    for kind, proxy in ((ProxyKind.CONNECT, proxies.connect), (ProxyKind.REFRESH, proxies.refresh)):
        key = f"{_DEFAULTS[kind]}.enabled"
        yield ProxyUse(kind, key, DEFAULT, proxy.enabled, "client connections")
    for scope in scopes(config):
        yield from _channel_uses(scope)
    rpc = config.rpc
    yield ProxyUse(
        ProxyKind.RPC,
        "rpc.without_namespace.proxy_name",
        rpc.without_namespace.proxy_name,
        rpc.without_namespace.proxy_enabled,
        "rpc methods without namespace",
    )
    for index, each in enumerate(rpc.namespaces):
        key, user = f"rpc.namespaces[{index}].proxy_name", f'rpc namespace "{each.name}"'
        yield ProxyUse(ProxyKind.RPC, key, each.proxy_name, each.proxy_enabled, user)


def _channel_uses(scope: Scope) -> Iterator[ProxyUse]:
    options = scope.options
    for kind, start in CHANNEL_PROXIES.items():
        name: str = attrgetter(f"{start}_name")(options)
        enabled: bool = attrgetter(f"{start}_enabled")(options)
        yield ProxyUse(kind, f"{scope.key}.{start}_name", name, enabled, scope.label)
    yield ProxyUse(
        ProxyKind.SHARED_POLL_REFRESH,
        f"{scope.key}.shared_poll.proxy_name",
        options.shared_poll.proxy_name or DEFAULT,
        options.subscription_type == SHARED_POLL,
        scope.label,
    )


def described(config: Config, use: ProxyUse) -> tuple[str, Proxy] | None:
    """Returns path and settings of the proxy that is named, None if there is none."""
    if use.name == DEFAULT:
        path = _DEFAULTS[use.kind]
        settings: Proxy = attrgetter(path)(config)
        return path, settings
    for index, proxy in enumerate(config.proxies):
        if proxy.name == use.name:
            return f"proxies[{index}]", proxy
    return None
