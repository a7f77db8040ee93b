"""All servers of an engine: one shard, or channels spread over several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flyball.core.engine import EngineFaults
from flyball.core.errors import ConfigError, EngineError, FlyballError
from flyball.engines.redis.cluster import ClusterShard
from flyball.engines.redis.shard import Shard, SingleShard, is_cluster
from flyball.engines.redis.status import LinkStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from flyball.engines.redis.options import ShardOptions

_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_MASK: Final = 0xFFFFFFFFFFFFFFFF


def fnv1a(data: bytes) -> int:
    """The FNV-1a hash of 64 bits."""
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & _MASK
    return value


def jump_hash(key: int, buckets: int) -> int:
    """Consistent hashing by Lamping and Veach: few keys move when ``buckets`` grows."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) & _MASK
        following = int((bucket + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return bucket


class RedisServers:
    """The shards of an engine, shared by its parts: open while one of them is.

    Args:
        shards: where they are; the order counts.
        sharded_pub_sub: messages go by sharded PUB/SUB (Redis 7 and newer).
    """

    def __init__(self, shards: Sequence[ShardOptions], *, sharded_pub_sub: bool = False) -> None:
        if not shards:
            raise ConfigError("a Redis engine needs at least one address")
        self.options: tuple[ShardOptions, ...] = tuple(shards)
        self.status: LinkStatus = LinkStatus()
        self.faults: EngineFaults = EngineFaults("redis")
        self.shards: list[Shard] = []
        """In the order of the options, while open."""
        self.publish_command: str = "SPUBLISH" if sharded_pub_sub else "PUBLISH"
        self._sharded = sharded_pub_sub
        self._takers: dict[bytes, Callable[[bytes, bytes], None]] = {}
        self._users = 0

    # -- life

    async def acquire(self) -> None:
        """Another part uses them: connects, if it is the first.

        Raises:
            ConfigError: that failed.
        """
        self._users += 1
        if self._users > 1:
            return
        try:
            for options in self.options:
                self.shards.append(await self._open(options))
        except BaseException:
            await self.release()
            raise

    async def _open(self, options: ShardOptions) -> Shard:
        kind = ClusterShard if await is_cluster(options) else SingleShard
        shard = kind(options, self.status, self._take, sharded=self._sharded)
        try:
            await shard.open()
        except ConfigError:
            raise
        except FlyballError as error:
            raise ConfigError(f"cannot use Redis at {options}: {error}") from None
        return shard

    async def release(self) -> None:
        """A part does not use them any more: disconnects, if it was the last."""
        self._users -= 1
        if self._users == 0:
            shards, self.shards = self.shards, []
            for shard in shards:
                await shard.close()

    # -- messages

    def listen(self, prefix: bytes, taker: Callable[[bytes, bytes], None]) -> None:
        """Messages whose name begins with ``prefix`` go to ``taker``: the longest prefix wins."""
        self._takers[prefix] = taker

    def _take(self, name: bytes, data: bytes) -> None:
        for prefix, taker in self._takers.items():
            if name.startswith(prefix):
                taker(name, data)
                return

    # -- where to

    def shard_of(self, channel: str) -> Shard:
        """The shard of a channel.

        Raises:
            EngineError: the engine is closed.
        """
        shards = self.shards
        if len(shards) == 1:
            return shards[0]
        if not shards:
            raise self.faults.error("the engine is not started, or closed")
        return shards[jump_hash(fnv1a(channel.encode()), len(shards))]

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
