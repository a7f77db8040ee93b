"""Writes rows: those of a shard that come at a time go together, in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg

from flyball.core.errors import EngineError, EngineRefusal, FlyballError
from flyball.engines.postgres.database import DataRefusedError, StatementError, UnfitError
from flyball.engines.postgres.shards import PROBES, hash_text, shard_of
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.engines.postgres.database import Connection, Database

MOST_TOGETHER: Final = 256
"""Rows in a transaction."""
MOST_BYTES: Final = 4 << 20
"""Bytes of payloads in a transaction, but for its first row."""
UNFIT_FOR: Final = 10.0
"""Seconds for which a failure that has not come again is still shown."""
MOST_WAITING: Final = 16_384
"""Rows that wait; further ones are refused."""


class Written(NamedTuple):
    """What became of a row: see ``add`` in ``stream.sql``."""

    offset: int
    epoch: str
    suppressed: str


class _Row(NamedTuple):
    """A row that waits."""

    values: tuple[Any, ...]
    size: int
    done: asyncio.Future[Written]


class _Lane:
    """Rows of a shard, and who writes them, if somebody does."""

    __slots__ = ("rows", "task")

    def __init__(self) -> None:
        self.rows: deque[_Row] = deque()
        self.task: asyncio.Task[None] | None = None


class Writer:
    """Writes rows of streams, in the order in which they come for a channel.

    Args:
        database: where.
        shards: of the tables.
        on_written: told after each transaction.
    """

    def __init__(self, database: Database, shards: int, on_written: Callable[[], None]) -> None:
        self._database = database
        self._shards = shards
        self._on_written = on_written
        self._statement = ""
        self._lanes: list[_Lane] = []
        self._waiting = 0
        self._unfit = ""
        self._unfit_until = 0.0

    @property
    def problem(self) -> str:
        """Why nothing could be written just now; empty if all is well."""
        return self._unfit if time.monotonic() < self._unfit_until else ""

    async def start(self, statement: str) -> None:
        """Writes with ``statement`` from now on: see :func:`statement`."""
        self._statement = statement
        alike = await self._database.first_contact(self._hashes_alike)
        # One lane cannot lock shards against itself, whichever they are.
        self._lanes = [_Lane() for _ in range(self._shards if alike else 1)]

    async def _hashes_alike(self, connection: Connection) -> bool:
        query = "SELECT array_agg(hashtext(t) ORDER BY n) FROM unnest($1::text[]) WITH ORDINALITY AS u (t, n)"
        found: list[int] = await connection.fetchval(query, list(PROBES))
        return found == [hash_text(text) for text in PROBES]

    async def close(self) -> None:
        """Writes no more; who waits gets an error."""
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            if lane.task is not None and not lane.task.get_loop().is_closed():
                lane.task.cancel()
                await asyncio.gather(lane.task, return_exceptions=True)
            for row in lane.rows:
                self._end(row, EngineError("the engine is closed"))
        self._waiting = 0

    def add(self, channel: str, values: tuple[Any, ...], size: int) -> asyncio.Future[Written]:
        """Writes a row: ``values`` after the channel, with payloads of ``size`` bytes.

        The future may raise EngineError or EngineRefusal.
        """
        if not self._lanes or self._waiting >= MOST_WAITING:
            why = "too many publications wait for it" if self._lanes else "the engine is closed"
            raise self._database.faults.error(f"{self._database.server}: {why}")
        loop = asyncio.get_running_loop()
        row = _Row((channel, *values), size, loop.create_future())
        lane = self._lanes[shard_of(channel, len(self._lanes)) if len(self._lanes) > 1 else 0]
        lane.rows.append(row)
        self._waiting += 1
        if lane.task is None:
            lane.task = loop.create_task(self._drain(lane), name="flyball postgres writer")
        return row.done

    async def _drain(self, lane: _Lane) -> None:
        # Who publishes in this turn of the loop comes along.
        await asyncio.sleep(0)
        try:
            while lane.rows:
                await self._write(_next_of(lane.rows))
        finally:
            lane.task = None

    async def _write(self, rows: list[_Row]) -> None:
        try:
            written = await self._together(rows)
        except UnfitError as error:
            self._unfit = f"{self._database}: {error}"
            self._unfit_until = time.monotonic() + UNFIT_FOR
            self._fail(rows, error)
        except (DataRefusedError, StatementError) as error:
            if len(rows) == 1:
                self._fail(rows, error)
                return
            for row in rows:  # one of them is at fault
                await self._write([row])
        except FlyballError as error:
            self._fail(rows, error)
        except BaseException as error:  # closed, or a fault of ours: who waits must not for ever
            closed = isinstance(error, asyncio.CancelledError)
            for row in rows:
                self._end(row, EngineError("the engine is closed" if closed else repr(error)))
            raise
        else:
            self._unfit_until = 0.0
            for row, result in zip(rows, written, strict=True):
                self._end(row, result)
            self._on_written()

    def _fail(self, rows: list[_Row], error: FlyballError) -> None:
        found = self._database.failed(error, codes.BAD_REQUEST.code)
        for row in rows:
            self._end(row, found)

    def _end(self, row: _Row, result: Written | FlyballError) -> None:
        self._waiting -= 1
        if row.done.done():
            return  # nobody waits any more
        if isinstance(result, FlyballError):
            row.done.set_exception(_fresh(result))
        else:
            row.done.set_result(result)

    async def _together(self, rows: list[_Row]) -> list[Written]:
        columns = list(zip(*(row.values for row in rows), strict=True))

        async def write(connection: Connection) -> list[Written]:
            try:
                found = await connection.fetch(self._statement, self._shards, *columns)
            except asyncpg.CheckViolationError:
                # The partition of the day was made while we waited for the default one.
                found = await connection.fetch(self._statement, self._shards, *columns)
            return [Written(offset, epoch, why or "") for offset, epoch, why in found]

        return await self._database.run(write)


def _next_of(rows: deque[_Row]) -> list[_Row]:
    """Takes what goes into the next transaction."""
    taken = [rows.popleft()]
    size = taken[0].size
    while rows and len(taken) < MOST_TOGETHER and size + rows[0].size <= MOST_BYTES:
        size += rows[0].size
        taken.append(rows.popleft())
    return taken


def _fresh(error: FlyballError) -> FlyballError:
    """One for each who waits: a traceback belongs to one of them."""
    if isinstance(error, EngineRefusal):
        return EngineRefusal(error.code, detail=error.detail)
    return EngineError(error.detail) if isinstance(error, EngineError) else error


VALUES: Final = {
    "channel": "text",
    "kind": "smallint",
    "data": "{payload}",
    "tags": "text",
    "history_ttl": "float8",
    "history_size": "integer",
    "meta_ttl": "float8",
    "version": "bigint",
    "version_epoch": "text",
    "idempotency_key": "text",
    "idempotency_ttl": "float8",
    "delta": "boolean",
    "client_id": "text",
    "user_id": "text",
    "conn_info": "{payload}",
    "chan_info": "{payload}",
}
"""What a row is made of, in this order, and the types; TTLs in seconds."""


def statement(start: str, payload: str, column: str) -> str:
    """The SQL that writes rows: ``$1`` is the number of shards, then an array for each value.

    Shards are locked in the order of their numbers, so that nobody waits for each other.

    Args:
        start: of the names of functions.
        payload: type of payloads as they come.
        column: type of payloads in the tables.
    """
    arrays = ", ".join(
        f"${number}::{kind.format(payload=payload)}[]"
        for number, kind in enumerate(VALUES.values(), 2)
    )
    given = ", ".join(_ARGUMENTS).format(column=column)
    return (
        "SELECT r.out_channel_offset, r.out_epoch, r.out_suppress_reason FROM ("
        f"SELECT * FROM unnest({arrays}) WITH ORDINALITY AS u ({', '.join(VALUES)}, n)"
        " ORDER BY abs(hashtext(channel)::bigint) % $1::integer, n OFFSET 0) AS a"
        f" CROSS JOIN LATERAL {start}add({given}, $1) AS r ORDER BY a.n"
    )


_ARGUMENTS: Final = (
    "a.kind",
    "a.channel",
    "a.data::{column}",
    "a.tags::jsonb",
    "make_interval(secs => a.history_ttl)",
    "a.history_size",
    "make_interval(secs => a.meta_ttl)",
    "a.version",
    "a.version_epoch",
    "a.idempotency_key",
    "make_interval(secs => a.idempotency_ttl)",
    "a.delta",
    "a.client_id",
    "a.user_id",
    "a.conn_info::{column}",
    "a.chan_info::{column}",
)
