"""Tarantool as controller: messages between nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.errors import FlyballError
from flyball.engines.common.parts import ServersController
from flyball.engines.tarantool.connection import text_of
from flyball.engines.tarantool.layout import CONTROL, stored

if TYPE_CHECKING:
    from flyball.engines.tarantool.layout import Message, Names
    from flyball.engines.tarantool.servers import TarantoolServers


class TarantoolController(ServersController["TarantoolServers"]):
    """Carries control messages by Tarantool; with several shards by each in turn.

    Args:
        servers: the servers, shared with the other parts of the engine.
        names: where to.
    """

    def __init__(self, servers: TarantoolServers, names: Names) -> None:
        super().__init__(servers)
        self._names = names
        self._subscribed: tuple[str, ...] = ()

    async def _subscribe(self, node_id: str) -> None:
        servers = self._servers
        servers.on_control = self._take
        self._subscribed = (self._names.control, self._names.node(node_id))
        try:
            for link in servers.shards:
                for name in self._subscribed:
                    await link.subscribe(name)
        except FlyballError as error:
            raise servers.failure(error) from None

    def _leave(self) -> None:
        for link in self._servers.shards:
            for name in self._subscribed:
                link.unsubscribe(name)

    def _take(self, message: Message) -> None:
        if self._events is not None:
            self._events.on_control(stored(message[2]))

    async def publish_control(self, message: bytes, node_id: str = "") -> None:
        """See :meth:`Controller.publish_control`."""
        to = self._names.node(node_id) if node_id else self._names.control
        await self._servers.call(self._next_shard(), "spread", to, CONTROL, text_of(message))
