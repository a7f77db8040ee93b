"""Tarantool as controller: messages between nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.broker import Controller
from flyball.core.errors import FlyballError
from flyball.engines.tarantool.connection import text_of
from flyball.engines.tarantool.layout import CONTROL, stored

if TYPE_CHECKING:
    from flyball.core.broker import ControlEvents
    from flyball.engines.tarantool.layout import Message, Names
    from flyball.engines.tarantool.servers import TarantoolServers


class TarantoolController(Controller):
    """Carries control messages by Tarantool; with several shards by each in turn.

    Args:
        servers: the servers, shared with the other parts of the engine.
        names: where to.
    """

    def __init__(self, servers: TarantoolServers, names: Names) -> None:
        self._servers = servers
        self._names = names
        self._events: ControlEvents | None = None
        self._subscribed: tuple[str, ...] = ()
        self._turn = 0

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self._servers.status.problem

    async def start(self, events: ControlEvents, node_id: str) -> None:
        """See :meth:`Controller.start`."""
        await self.close()
        servers = self._servers
        servers.on_control = self._take
        await servers.acquire()
        self._events = events
        self._subscribed = (self._names.control, self._names.node(node_id))
        try:
            for link in servers.shards:
                for name in self._subscribed:
                    await link.subscribe(name)
        except FlyballError as error:
            await self.close()
            raise servers.failure(error) from None
        except BaseException:
            await self.close()
            raise

    def _take(self, message: Message) -> None:
        if self._events is not None:
            self._events.on_control(stored(message[2]))

    async def publish_control(self, message: bytes, node_id: str = "") -> None:
        """See :meth:`Controller.publish_control`."""
        to = self._names.node(node_id) if node_id else self._names.control
        links = self._servers.shards
        if not links:
            raise self._servers.faults.error("the engine is not started, or closed")
        self._turn = (self._turn + 1) % len(links)
        await self._servers.call(links[self._turn], "spread", to, CONTROL, text_of(message))

    async def close(self) -> None:
        """See :meth:`EnginePart.close`."""
        if self._events is not None:
            self._events = None
            for link in self._servers.shards:
                for name in self._subscribed:
                    link.unsubscribe(name)
            await self._servers.release()
