"""Parts of an engine that use its servers while they are started."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flyball.core.broker import Controller, EnginePart, PresenceManager
from flyball.engines.common.servers import SharedServers

if TYPE_CHECKING:
    from flyball.core.broker import ControlEvents

__all__ = ["ServersController", "ServersPart", "ServersPresenceManager"]

V = TypeVar("V", bound=SharedServers[Any, Any])


class ServersPart(EnginePart, Generic[V]):
    """A part that cannot work while a link to one of its servers is down.

    Args:
        servers: shared with the other parts of the engine.
    """

    def __init__(self, servers: V) -> None:
        self._servers: V = servers

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self._servers.status.problem


class ServersPresenceManager(ServersPart[V], PresenceManager):
    """A presence manager that asks servers."""

    def __init__(self, servers: V) -> None:
        super().__init__(servers)
        self._started = False

    async def start(self) -> None:
        """See :meth:`PresenceManager.start`."""
        if not self._started:
            await self._servers.acquire()
            self._started = True

    async def close(self) -> None:
        """See :meth:`EnginePart.close`."""
        if self._started:
            self._started = False
            await self._servers.release()


class ServersController(ServersPart[V], Controller):
    """A controller whose messages go by the shards in turn; it listens to all of them."""

    def __init__(self, servers: V) -> None:
        super().__init__(servers)
        self._events: ControlEvents | None = None
        self._turn = 0

    async def start(self, events: ControlEvents, node_id: str) -> None:
        """See :meth:`Controller.start`."""
        await self.close()
        await self._servers.acquire()
        self._events = events
        try:
            await self._subscribe(node_id)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """See :meth:`EnginePart.close`."""
        if self._events is not None:
            self._events = None
            self._leave()
            await self._servers.release()

    def _next_shard(self) -> Any:
        """The shard whose turn it is.

        Raises:
            EngineError: the engine is closed.
        """
        shards = self._servers.shards
        if not shards:
            raise self._servers.faults.error("the engine is not started, or closed")
        self._turn = (self._turn + 1) % len(shards)
        return shards[self._turn]

    @abstractmethod
    async def _subscribe(self, node_id: str) -> None:
        """Messages for all nodes, and for this one, are to come here, from each shard."""

    def _leave(self) -> None:
        """No more of them are wanted; the servers may go on for other parts."""
