"""A consumer of Redis streams as the configuration has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.errors import ConfigError
from flyball.server.build.engine import redis_shards

if TYPE_CHECKING:
    from flyball.engines.redis import ShardOptions
    from flyball.server.config.schema_consumers import RedisStreamConsumer as Section
    from flyball.server.consumers import Consumer, Workers


def redis_consumer(name: str, key: str, section: Section, workers: Workers) -> Consumer:
    """The consumer of one section.

    Raises:
        ConfigError: an option is wrong.
        ImportError: what it needs is not installed.
    """
    from flyball.server.consumers.redis import RedisStreamConsumer, StreamOptions

    shard = _shard(key, section)
    options = StreamOptions(
        shard=shard,
        streams=section.streams,
        group=section.consumer_group,
        visibility_timeout=section.visibility_timeout,
        num_workers=section.num_workers,
        payload_value=section.payload_value,
        method_value=section.method_value,
    )
    # Two consumers of a server may read one stream, as two nodes do.
    return RedisStreamConsumer(options, workers, f"{workers.commands.node_id}-{name}")


def _shard(key: str, section: Section) -> ShardOptions:
    shards = redis_shards(key, section)
    if len(shards) > 1:
        named = ("sentinel_address", "cluster_address", "address")
        option = next(name for name in named if getattr(section, name))
        raise ConfigError(
            f"{key}.{option} has {len(shards)} entries; a consumer reads one server, one Cluster,"
            " or the master of one set of Sentinels: give it one, and make another consumer"
        )
    return shards[0]
