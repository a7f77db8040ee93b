"""Follows a table: what others have committed is read in the order of its ids, shard by shard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from flyball.core.errors import FlyballError
from flyball.engines.common.links import keep_trying, retry_delays
from flyball.engines.postgres.database import LinkLostError, told_apart
from flyball.engines.postgres.schema import check, locate

if TYPE_CHECKING:
    from flyball.engines.postgres.database import Connection, Database
    from flyball.engines.postgres.options import Layout
    from flyball.engines.postgres.schema import Tables

logger: Final = logging.getLogger("flyball.engine")

T = TypeVar("T")

LOOK_BACK: Final = 1.0
"""Seconds between looks whether the table went back."""
LISTEN_CHECK: Final = 10.0
"""Seconds between looks whether the connection that listens still lives."""


class Outbox:
    """Reads new rows of one table for a node.

    The first look is at what is there then; later ones go on behind it, also after the database
    was away. A table that went back, because another one took its place, is followed from its
    end on.

    Args:
        database: where.
        layout: names, shards, how often.
        kind: which set of tables.
        columns: of a row, as SQL; ``id`` and ``shard_id`` come first by themselves.
        condition: SQL that rows must meet, and that may use ``$4``; empty for all.
        take: gets the rows, with their number in a shard growing.
    """

    def __init__(
        self,
        database: Database,
        layout: Layout,
        kind: str,
        columns: str,
        take: Callable[[list[Any]], None],
        condition: str = "",
    ) -> None:
        self._database = database
        self._layout = layout
        self._kind = kind
        self._columns = columns
        self._condition = condition
        self._take = take
        self._parameters: tuple[Any, ...] = ()
        self._wake = asyncio.Event()
        self._connection: Connection = None
        self._task: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._cursors: list[int] = []
        self._behind_since: list[float] = []
        self._looked_back_at = 0.0
        self.tables: Tables
        self.problem: str = ""
        """Why nothing can be read now; empty if all is well."""
        self.hears: bool = False
        """NOTIFY wakes us."""
        self.on_lost: Callable[[str], None] = lambda _reason: None
        self.on_restored: Callable[[], None] = lambda: None

    # -- life

    async def start(self, tables: Tables, *parameters: Any) -> None:
        """Follows from now on; ``parameters`` are those of the condition.

        Raises:
            ConfigError: the database does not let us.
        """
        self.tables = tables
        self._parameters = parameters
        self._wake = asyncio.Event()
        with self._database.starting():
            self._connection = await self._database.connect()
            self._cursors = await self._ask(self._tops)
        self._behind_since = [0.0] * len(self._cursors)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name=f"flyball {tables.name}")
        if self._layout.use_notify:
            self._listener = loop.create_task(self._listen(), name=f"flyball {tables.notify}")

    async def close(self) -> None:
        """Follows no more."""
        tasks = [task for task in (self._task, self._listener) if task is not None]
        self._task = self._listener = None
        self.problem = ""
        for task in tasks:
            if not task.get_loop().is_closed():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self.hears = False
        connection, self._connection = self._connection, None
        await self._database.part(connection)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """By a connection of its own: were it made anew in silence, by a pool, nobody would look
        whether it leads to what was there before.
        """
        return await self._database.run_on(self._connection, work)

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def lags(self, now: float) -> list[float]:
        """For each shard the seconds since when rows are there that were not read."""
        return [now - since if since else 0.0 for since in self._behind_since]

    # -- reading

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except FlyballError as error:
                self._down(str(error))
            except Exception as error:  # the root of a task: a fault of ours must be seen
                logger.exception("following %s failed", self.tables.name)
                self._down(repr(error))
            await self._try_again()

    async def _follow(self) -> None:
        while True:
            self._wake.clear()
            rows = await self._ask(self._fetch)
            more = self._advance(rows)
            if rows:
                self._take(rows)
            now = time.monotonic()
            if now - self._looked_back_at >= LOOK_BACK:
                self._looked_back_at = now
                if await self._ask(self._went_back):
                    raise LinkLostError("the tables went back, or were made anew")
            if not more:
                await self._rest()

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._layout.poll_interval):
                await self._wake.wait()

    async def _fetch(self, connection: Connection) -> list[Any]:
        shards = list(range(len(self._cursors)))
        size = self._layout.batch_size
        found: list[Any] = await connection.fetch(
            self._select, shards, self._cursors, size, *self._parameters
        )
        return found

    def _advance(self, rows: list[Any]) -> bool:
        """Moves behind what was read; whether there is more."""
        counts = [0] * len(self._cursors)
        for row in rows:
            shard = row["shard_id"]
            self._cursors[shard] = row["id"]
            counts[shard] += 1
        now, size = time.monotonic(), self._layout.batch_size
        for shard, count in enumerate(counts):
            self._behind_since[shard] = (self._behind_since[shard] or now) if count == size else 0.0
        return max(counts) == size

    @property
    def _select(self) -> str:
        more = f" AND {self._condition}" if self._condition else ""
        return (
            f"SELECT r.* FROM unnest($1::smallint[], $2::bigint[]) AS c (shard, cursor)"
            f" CROSS JOIN LATERAL (SELECT id, shard_id, {self._columns} FROM {self.tables.table}"
            f" WHERE shard_id = c.shard AND id > c.cursor{more} ORDER BY id LIMIT $3) AS r"
        )

    async def _tops(self, connection: Connection) -> list[int]:
        """The last id of each shard."""
        shards = list(range(self._layout.num_shards))
        rows = await connection.fetch(
            "SELECT COALESCE((SELECT id FROM "
            f"{self.tables.table} WHERE shard_id = c.shard ORDER BY id DESC LIMIT 1), 0) AS top"
            " FROM unnest($1::smallint[]) WITH ORDINALITY AS c (shard, n) ORDER BY n",
            shards,
        )
        return [row["top"] for row in rows]

    async def _went_back(self, connection: Connection) -> bool:
        """Whether rows that were read cannot have been there."""
        last: int = await connection.fetchval(f"SELECT last_value FROM {self.tables.sequence}")
        return last < max(self._cursors)

    # -- trouble

    def _down(self, reason: str) -> None:
        was_well = not self.problem
        self.problem = f"{self._database}: {reason}"
        if was_well:
            logger.error("%s", self.problem)
            self.on_lost(self.problem)

    async def _try_again(self) -> None:
        self._hang_up()
        await self._database.expire()
        await keep_trying(self._connect, self._down)
        logger.info("%s: it works again", self._database)
        self.problem = ""
        self.on_restored()

    async def _connect(self) -> None:
        self._connection = await self._database.connect()
        try:
            await self._ask(self._resume)
        except BaseException:
            self._hang_up()
            raise

    async def _resume(self, connection: Connection) -> None:
        """Finds the place to go on; the tables may be others than before."""
        tables = await locate(connection, self._kind, self._layout.table_prefix)
        await check(connection, tables, self._layout.num_shards)
        self.tables = tables
        if await self._went_back(connection):
            tops = await self._tops(connection)
            self._cursors = [min(pair) for pair in zip(self._cursors, tops, strict=True)]

    # -- being told

    async def _listen(self) -> None:
        """Is woken by NOTIFY. While that does not work rows are found by polling alone."""
        delays, told = retry_delays(), False
        while True:
            try:
                await self._hear()
            except (FlyballError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                if self.hears:
                    delays, told = retry_delays(), False
                self.hears = False
                if not (told or self.problem):
                    told = True
                    logger.warning(
                        "%s: LISTEN failed, new rows are found by polling: %s",
                        self._database,
                        told_apart(error),
                    )
            await asyncio.sleep(next(delays))

    async def _hear(self) -> None:
        server = self._database.server
        connection = await self._database.connect(server.notify_dsn)
        try:
            await connection.add_listener(self.tables.notify, lambda *_: self.wake())
            self.hears = True
            self.wake()  # what came before
            while True:
                await asyncio.sleep(LISTEN_CHECK)
                await connection.fetchval("SELECT 1", timeout=server.io_timeout)
        finally:
            connection.terminate()
