"""Redis as controller: messages between nodes by PUB/SUB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.broker import Controller

if TYPE_CHECKING:
    from flyball.core.broker import ControlEvents
    from flyball.engines.redis.layout import Names
    from flyball.engines.redis.servers import RedisServers


class RedisController(Controller):
    """Carries control messages by Redis; with several shards by each in turn.

    Args:
        servers: the servers, shared with the other parts of the engine.
        names: of PUB/SUB channels.
    """

    def __init__(self, servers: RedisServers, names: Names) -> None:
        self._servers = servers
        self._names = names
        self._events: ControlEvents | None = None
        self._turn = 0

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self._servers.status.problem

    async def start(self, events: ControlEvents, node_id: str) -> None:
        """See :meth:`Controller.start`."""
        if self._events is not None:
            await self.close()
        servers, own = self._servers, self._names.node(node_id)
        servers.listen(self._names.control, self._take)
        servers.listen(own, self._take)
        await servers.acquire()
        self._events = events
        try:
            for shard in servers.shards:
                for name in (self._names.control, own):
                    await servers.ask(shard.subscribe(name))
        except BaseException:
            await self.close()
            raise

    def _take(self, _name: bytes, data: bytes) -> None:
        if self._events is not None:
            self._events.on_control(data)

    async def publish_control(self, message: bytes, node_id: str = "") -> None:
        """See :meth:`Controller.publish_control`."""
        to = self._names.node(node_id) if node_id else self._names.control
        shards = self._servers.shards
        if not shards:
            raise self._servers.faults.error("the engine is not started, or closed")
        self._turn = (self._turn + 1) % len(shards)
        shard = shards[self._turn]
        command = self._servers.publish_command
        await self._servers.ask(shard.command(to, command, to, message))

    async def close(self) -> None:
        """See :meth:`EnginePart.close`."""
        if self._events is not None:
            self._events = None
            await self._servers.release()
