"""Redis as controller: messages between nodes by PUB/SUB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.engines.common.parts import ServersController

if TYPE_CHECKING:
    from flyball.engines.redis.layout import Names
    from flyball.engines.redis.servers import RedisServers


class RedisController(ServersController["RedisServers"]):
    """Carries control messages by Redis; with several shards by each in turn.

    Args:
        servers: the servers, shared with the other parts of the engine.
        names: of PUB/SUB channels.
    """

    def __init__(self, servers: RedisServers, names: Names) -> None:
        super().__init__(servers)
        self._names = names

    async def _subscribe(self, node_id: str) -> None:
        servers, names = self._servers, (self._names.control, self._names.node(node_id))
        for name in names:
            servers.listen(name, self._take)
        for shard in servers.shards:
            for name in names:
                await servers.ask(shard.subscribe(name))

    def _take(self, _name: bytes, data: bytes) -> None:
        if self._events is not None:
            self._events.on_control(data)

    async def publish_control(self, message: bytes, node_id: str = "") -> None:
        """See :meth:`Controller.publish_control`."""
        to = self._names.node(node_id) if node_id else self._names.control
        shard = self._next_shard()
        command = self._servers.publish_command
        await self._servers.ask(shard.command(to, command, to, message))
