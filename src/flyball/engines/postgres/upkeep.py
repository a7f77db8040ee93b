"""What a table needs now and then: partitions, and the end of what is over."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from flyball.core.errors import FlyballError

if TYPE_CHECKING:
    from flyball.engines.postgres.database import Connection, Database
    from flyball.engines.postgres.options import Layout
    from flyball.engines.postgres.schema import Tables

logger: Final = logging.getLogger("flyball.engine")

AT_ONCE: Final = 5000
"""Rows removed in one transaction."""
LIMIT: Final = 60.0
"""Seconds for one step."""


class Upkeep:
    """Looks after a set of tables: the node does it in turn with others, none twice.

    Args:
        database: where.
        layout: how often, and how many partitions.
        retention: seconds for which rows are kept; 0: as long as their partition.
    """

    def __init__(self, database: Database, layout: Layout, retention: float = 0.0) -> None:
        self._database = database
        self._layout = layout
        self._retention = retention
        self._task: asyncio.Task[None] | None = None
        self.partitions: int = 0
        """Partitions there are."""
        self.removed: Counter[str] = Counter()
        """Rows removed so far by this node: ``stream``, ``idempotency``, ``meta``, ``partition``."""

    def start(self, tables: Tables) -> None:
        """Looks after ``tables`` from now on."""
        work = self._run(tables)
        self._task = asyncio.get_running_loop().create_task(work, name="flyball postgres upkeep")

    async def close(self) -> None:
        """Does so no more."""
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, tables: Tables) -> None:
        while True:
            try:
                await self.once(tables)
            except FlyballError as error:
                logger.warning("%s: upkeep of %s: %s", self._database, tables.name, error)
            await asyncio.sleep(self._layout.cleanup_interval)

    async def once(self, tables: Tables) -> None:
        """Does all there is to do.

        Raises:
            FlyballError: the database cannot do it now.
        """
        await self._partitions(tables)
        while self._retention and await self._clean(tables):
            pass

    async def _partitions(self, tables: Tables) -> None:
        layout = self._layout
        days = layout.partition_lookahead_days, layout.partition_retention_days

        async def work(connection: Connection) -> tuple[int, int | None]:
            query = f"SELECT out_dropped, out_partitions FROM {tables.start}maintain($1, $2)"
            row = await connection.fetchrow(query, *days)
            return row["out_dropped"], row["out_partitions"]

        dropped, partitions = await self._database.run_long(work, LIMIT)
        self.removed["partition"] += dropped
        if partitions is not None:
            self.partitions = partitions

    async def _clean(self, tables: Tables) -> bool:
        """Removes some; whether there may be more."""
        retention = timedelta(seconds=self._retention)

        async def work(connection: Connection) -> dict[str, int]:
            query = f"SELECT * FROM {tables.start}clean($1, $2)"
            row = await connection.fetchrow(query, retention, AT_ONCE)
            return {name.removeprefix("out_"): count for name, count in row.items()}

        removed = await self._database.run_long(work, LIMIT)
        self.removed.update(removed)
        return max(removed.values()) >= AT_ONCE
