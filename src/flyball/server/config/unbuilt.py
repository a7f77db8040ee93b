"""What the configuration knows and this version does not do yet.

Shrinks as parts are built: take the entry out of :data:`SWITCHES`, the value out of reach of
:data:`NAMESPACE_SWITCHES`, or add a kind to :data:`BUILT`.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from flyball.server.channels import CHANNEL_PROXIES, ProxyKind
from flyball.server.channels.options import MAP_TYPES, SHARED_POLL
from flyball.server.config.schema import Config
from flyball.server.config.validate_common import scopes

BUILT: Final = {
    "engine": ("memory", "redis", "tarantool"),
    "broker": ("memory", "redis", "nats", "redisnats", "postgres", "tarantool"),
    "presence_manager": ("memory", "redis", "tarantool"),
    "map_broker": ("memory",),
    "controller": ("postgres",),
}
"""Sections that name an engine, and the ``type`` that this version has."""

SWITCHES: Final = (
    "debug.enabled",
    "opentelemetry.enabled",
    "graphite.enabled",
)
"""Switches, and options with a default of off, whose parts are missing."""

UNBUILT_PROXIES: Final = (
    ProxyKind.MAP_PUBLISH,
    ProxyKind.MAP_REMOVE,
    ProxyKind.SHARED_POLL_REFRESH,
)
"""What no backend is asked about yet."""

UNBUILT_DECIDERS: Final = tuple(
    f"{CHANNEL_PROXIES[kind]}_enabled" for kind in CHANNEL_PROXIES if kind in UNBUILT_PROXIES
)
"""Channel options that have a backend decide: with one of them the server does not start."""

NAMESPACE_SWITCHES: Final = (
    "map_clients_presence_channel_prefix",
    "map_users_presence_channel_prefix",
)
"""Channel options whose parts are missing, and that decide nothing."""

SUBSCRIPTION_TYPES: Final = (*MAP_TYPES, SHARED_POLL)
"""Kinds of subscription that are missing."""


def unbuilt_options(config: Config) -> list[str]:
    """Returns the options of ``config`` that are set but do nothing in this version."""
    found = [path for path in SWITCHES if attrgetter(path)(config)]
    for scope in scopes(config):
        found += [
            f"{scope.key}.{option}"
            for option in NAMESPACE_SWITCHES
            if attrgetter(option)(scope.options)
        ]
        if scope.options.subscription_type in SUBSCRIPTION_TYPES:
            found.append(f"{scope.key}.subscription_type")
    return found
