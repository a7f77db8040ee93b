"""All servers of an engine: one shard, or channels spread over several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyball.core.errors import ConfigError, EngineError, FlyballError
from flyball.engines.common.servers import SharedServers
from flyball.engines.redis.cluster import ClusterShard
from flyball.engines.redis.shard import Shard, SingleShard, is_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from flyball.engines.redis.options import ShardOptions


class RedisServers(SharedServers["ShardOptions", Shard]):
    """The shards of an engine.

    Args:
        shards: where they are; the order counts.
        sharded_pub_sub: messages go by sharded PUB/SUB (Redis 7 and newer).
    """

    def __init__(self, shards: Sequence[ShardOptions], *, sharded_pub_sub: bool = False) -> None:
        if not shards:
            raise ConfigError("a Redis engine needs at least one address")
        super().__init__("redis", shards)
        self.publish_command: str = "SPUBLISH" if sharded_pub_sub else "PUBLISH"
        self._sharded = sharded_pub_sub
        self._takers: dict[bytes, Callable[[bytes, bytes], None]] = {}
        self._listens = True

    async def acquire(self, *, listens: bool = True) -> None:
        """Another part uses them: connects, if it is the first.

        Args:
            listens: with links for subscriptions. Parts that use them together want the same.

        Raises:
            ConfigError: that failed.
        """
        if not self._users:
            self._listens = listens
        await super().acquire()

    async def _open(self, options: ShardOptions) -> Shard:
        kind = ClusterShard if await is_cluster(options) else SingleShard
        shard = kind(options, self.status, self._take, sharded=self._sharded)
        try:
            await shard.open(listens=self._listens)
        except ConfigError:
            raise
        except FlyballError as error:
            raise ConfigError(f"cannot use Redis at {options}: {error}") from None
        return shard

    def listen(self, prefix: bytes, taker: Callable[[bytes, bytes], None]) -> None:
        """Messages whose name begins with ``prefix`` go to ``taker``: the longest prefix wins."""
        self._takers[prefix] = taker

    def _take(self, name: bytes, data: bytes) -> None:
        for prefix, taker in self._takers.items():
            if name.startswith(prefix):
                taker(name, data)
                return

    async def ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Awaits what a shard does.

        Raises:
            EngineError: it failed; the log was told.
        """
        try:
            return await work
        except EngineError:
            raise
        except FlyballError as error:
            raise self.faults.error(str(error)) from None
