"""The Redis engine as a program asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyball.core.engine import Engine
from flyball.core.errors import ConfigError
from flyball.engines.redis.broker import DEFAULT_META_TTL, RedisBroker
from flyball.engines.redis.controller import RedisController
from flyball.engines.redis.layout import DEFAULT_PREFIX, Names
from flyball.engines.redis.options import parse_address
from flyball.engines.redis.presence import DEFAULT_TTL, RedisPresenceManager
from flyball.engines.redis.servers import RedisServers

if TYPE_CHECKING:
    from flyball.engines.redis.options import ShardOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """What is kept in Redis, and how. Durations are seconds."""

    prefix: str = DEFAULT_PREFIX
    """Start of all keys and PUB/SUB channels: nodes with the same one are one cluster."""
    history_use_lists: bool = False
    """Keep history in lists, not streams."""
    history_meta_ttl: float = DEFAULT_META_TTL
    """How long offset and epoch of a stream live, if not said otherwise."""
    presence_ttl: float = DEFAULT_TTL
    """How long a presence entry lives that is not renewed; more than the update interval."""
    presence_hash_field_ttl: bool = False
    """Let Redis (7.4, Valkey 9) end single presence entries."""
    presence_user_mapping: bool = False
    """Count connections of each user, for quick presence stats."""
    sharded_pub_sub: bool = False
    """Messages go by sharded PUB/SUB (Redis 7), so that a Cluster's nodes share them."""
    spreads: bool = True
    """Send publications to the other nodes by PUB/SUB; otherwise somebody else does."""

    def __post_init__(self) -> None:
        for name in ("history_meta_ttl", "presence_ttl"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; seconds above 0 are allowed")


class RedisEngine(Engine):
    """Broker, presence and control messages by Redis, Valkey, or what speaks their protocol.

    ``RedisEngine("redis://localhost:6379")``; more than one address shards channels over the
    servers. Addresses are those of :func:`~flyball.engines.redis.options.parse_address`, or
    ready :class:`~flyball.engines.redis.options.ShardOptions`. All nodes must have the same
    addresses in the same order.

    Raises:
        ConfigError: an address or an option is wrong.
    """

    __slots__ = ("servers",)

    def __init__(
        self,
        *addresses: str | ShardOptions,
        options: RedisOptions | None = None,
    ) -> None:
        options = options or RedisOptions()
        given = addresses or ("redis://127.0.0.1:6379",)
        shards = [parse_address(a) if isinstance(a, str) else a for a in given]
        servers = RedisServers(shards, sharded_pub_sub=options.sharded_pub_sub)
        self.servers: RedisServers = servers
        names = Names(options.prefix, lists=options.history_use_lists)
        super().__init__(
            RedisBroker(
                servers,
                names,
                history_meta_ttl=options.history_meta_ttl,
                lists=options.history_use_lists,
                spreads=options.spreads,
            ),
            RedisPresenceManager(
                servers,
                names,
                presence_ttl=options.presence_ttl,
                user_mapping=options.presence_user_mapping,
                hash_field_ttl=options.presence_hash_field_ttl,
            ),
            RedisController(servers, names),
        )
