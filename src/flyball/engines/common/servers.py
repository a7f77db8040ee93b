"""The servers of an engine: one shard, or channels spread over several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from flyball.core.engine import EngineFaults
from flyball.engines.common.sharding import shard_index
from flyball.engines.common.status import LinkStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SharedServers"]


class Place(Protocol):
    """Where a shard is, and how it is reached."""

    @property
    def io_timeout(self) -> float:
        """Seconds in which a server must answer."""


class OpenShard(Protocol):
    """A shard that is connected."""

    async def close(self) -> None:
        """Ends all links."""


P = TypeVar("P", bound=Place)
S = TypeVar("S", bound=OpenShard)


class SharedServers(ABC, Generic[P, S]):
    """The shards of an engine, shared by its parts: open while one of them is.

    Args:
        engine: its name, in messages.
        shards: where they are; the order counts.
    """

    def __init__(self, engine: str, shards: Sequence[P]) -> None:
        self.engine: str = engine
        self.options: tuple[P, ...] = tuple(shards)
        self.status: LinkStatus = LinkStatus(engine)
        self.faults: EngineFaults = EngineFaults(engine)
        self.shards: list[S] = []
        """In the order of the options, while open."""
        self._users = 0

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

    @abstractmethod
    async def _open(self, options: P) -> S:
        """Connects to one shard.

        Raises:
            ConfigError: that failed.
        """

    async def release(self) -> None:
        """A part does not use them any more: disconnects, if it was the last."""
        self._users -= 1
        if self._users == 0:
            shards, self.shards = self.shards, []
            for shard in shards:
                await shard.close()

    def shard_of(self, channel: str) -> S:
        """The shard of a channel.

        Raises:
            EngineError: the engine is closed.
        """
        shards = self.shards
        if len(shards) == 1:
            return shards[0]
        if not shards:
            raise self.faults.error("the engine is not started, or closed")
        return shards[shard_index(channel, len(shards))]
