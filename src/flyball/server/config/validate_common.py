"""What the rules of :mod:`flyball.server.config.validate` share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from .problems import Problem
from .schema import Config
from .schema_channel import ChannelOptions
from .schema_common import Proxy

NAME: Final = re.compile(r"[-a-zA-Z0-9_.]{2,}")
"""Names of namespaces and proxies."""

NAME_RULE: Final = "use letters, digits and - _ . only, at least two characters"

MAX_REASON: Final = 123
"""Most bytes of a close reason: a WebSocket control frame holds 125 with the code."""

MAP_TYPES: Final = frozenset({"map", "map_clients", "map_users"})


@dataclass(frozen=True, slots=True)
class Scope:
    """Channel options and where they stand."""

    key: str
    name: str
    options: ChannelOptions

    def problem(self, option: str, text: str) -> Problem:
        """Make a problem of one of these options."""
        return Problem(f"{self.key}.{option}", text, self.label)

    @property
    def label(self) -> str:
        """Name for messages."""
        return f'namespace "{self.name}"' if self.name else "channels without namespace"


def scopes(config: Config) -> Iterator[Scope]:
    """Yield all sets of channel options."""
    yield Scope("channel.without_namespace", "", config.channel.without_namespace)
    for index, namespace in enumerate(config.channel.namespaces):
        yield Scope(f"channel.namespaces[{index}]", namespace.name, namespace)


PROXY_USES: Final = (
    ("subscribe", "", "subscribe_proxy"),
    ("publish", "", "publish_proxy"),
    ("sub_refresh", "", "sub_refresh_proxy"),
    ("subscribe_stream", "", "subscribe_stream_proxy"),
    ("map_publish", "map", "publish_proxy"),
    ("map_remove", "map", "remove_proxy"),
)
"""Kind of a channel proxy, and the section and start of the options that switch it on."""


@dataclass(frozen=True, slots=True)
class ProxyUse:
    """A reference to a proxy in channel options."""

    kind: str
    option: str
    enabled: bool
    name: str


def proxy_uses(options: ChannelOptions) -> Iterator[ProxyUse]:
    """Yield all references to proxies in ``options``, also those switched off."""
    for kind, section, start in PROXY_USES:
        holder = getattr(options, section) if section else options
        option = f"{section}.{start}_name" if section else f"{start}_name"
        enabled: bool = getattr(holder, f"{start}_enabled")
        yield ProxyUse(kind, option, enabled, getattr(holder, f"{start}_name"))
    poll = options.subscription_type == "shared_poll"
    name = options.shared_poll.proxy_name or "default"
    yield ProxyUse("shared_poll_refresh", "shared_poll.proxy_name", poll, name)


def default_proxies_in_use(config: Config) -> Iterator[tuple[str, Proxy, str]]:
    """Yield key, proxy and first user of each default proxy that will be called."""
    proxies = config.client.proxy
    if proxies.connect.enabled:
        yield "client.proxy.connect", proxies.connect, "client connections"
    if proxies.refresh.enabled:
        yield "client.proxy.refresh", proxies.refresh, "client connections"
    seen: set[str] = set()
    for scope in scopes(config):
        for use in proxy_uses(scope.options):
            if use.enabled and use.name == "default" and use.kind not in seen:
                seen.add(use.kind)
                proxy: Proxy = getattr(config.channel.proxy, use.kind)
                yield f"channel.proxy.{use.kind}", proxy, scope.label
    for options in (config.rpc.without_namespace, *config.rpc.namespaces):
        if options.proxy_enabled and options.proxy_name == "default":
            name = getattr(options, "name", "")
            label = f'rpc namespace "{name}"' if name else "rpc methods without namespace"
            yield "rpc.proxy", config.rpc.proxy, label
            break


def one_of(allowed: Sequence[str]) -> str:
    """Say what is allowed."""
    words = ", ".join(word for word in allowed if word)
    return f"allowed are {words}" + (" and empty" if "" in allowed else "")


def choice(key: str, value: str, allowed: Sequence[str], source: str = "") -> Iterator[Problem]:
    """Yield a problem when ``value`` is not one of ``allowed``."""
    if value not in allowed:
        yield Problem(key, f'"{value}" is not allowed; {one_of(allowed)}', source)


def repeated(key: str, names: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for each name that occurs twice."""
    for name, count in Counter(names).items():
        if count > 1:
            yield Problem(
                key, f'the name "{name}" is used {count} times; names must differ from each other'
            )
