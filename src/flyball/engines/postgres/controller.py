"""PostgreSQL as controller: messages between nodes in a table that all of them follow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from flyball.core.broker import Controller
from flyball.core.errors import FlyballError
from flyball.engines.postgres.broker import prepared
from flyball.engines.postgres.outbox import Outbox
from flyball.engines.postgres.schema import CONTROLLER
from flyball.engines.postgres.upkeep import Upkeep
from flyball.protocol import codes

if TYPE_CHECKING:
    from flyball.core.broker import ControlEvents
    from flyball.engines.postgres.database import Connection, Database
    from flyball.engines.postgres.options import ControllerOptions


class PostgresController(Controller):
    """Carries control messages by a table.

    Args:
        database: where, shared with the other parts of the engine.
        options: how.
    """

    def __init__(self, database: Database, options: ControllerOptions) -> None:
        self._database = database
        self._options = options
        self.outbox: Outbox = Outbox(
            database, options, CONTROLLER, "data", self._take, "node_id IN ('', $4)"
        )
        self.upkeep: Upkeep = Upkeep(database, options)
        self._events: ControlEvents | None = None

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self.outbox.problem

    async def start(self, events: ControlEvents, node_id: str) -> None:
        """See :meth:`Controller.start`."""
        await self.close()
        self._events = events
        await self._database.acquire()
        try:
            tables = await prepared(self._database, self._options, CONTROLLER)
            await self.outbox.start(tables, node_id)
        except BaseException:
            await self.close()
            raise
        self.upkeep.start(tables)

    async def close(self) -> None:
        """See :meth:`EnginePart.close`."""
        if self._events is not None:
            self._events = None
            await self.upkeep.close()
            await self.outbox.close()
            await self._database.release()

    def _take(self, found: list[Any]) -> None:
        for row in found:
            if self._events is not None:
                self._events.on_control(row["data"])

    async def publish_control(self, message: bytes, node_id: str = "") -> None:
        """See :meth:`Controller.publish_control`."""
        if self.problem or self._events is None:
            raise self._database.faults.error(
                self.problem or "the engine is not started, or closed"
            )
        sql = f"SELECT {self.outbox.tables.start}publish($1, $2, $3)"
        shards = self._options.num_shards

        async def work(connection: Connection) -> None:
            await connection.execute(sql, message, node_id, shards)

        try:
            await asyncio.ensure_future(self._database.run(work))
        except FlyballError as error:
            raise self._database.failed(error, codes.BAD_REQUEST.code) from None
        self.outbox.wake()
