"""Reads an outbox: each partition in a loop and a transaction of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

from flyball.core.errors import FlyballError
from flyball.engines.postgres.database import LinkLostError, told_apart
from flyball.server.consumers.base import Consumer, Message
from flyball.server.consumers.errors import SourceError, TryAgainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flyball.engines.postgres.database import Connection
    from flyball.server.consumers.postgres.options import OutboxOptions
    from flyball.server.consumers.workers import Worker, Workers

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.consumers")

LOCK_NAME: Final = "centrifugo_partition_lock_"
"""Start of what nodes agree on who reads a partition by; the original's do it likewise."""
LOCK_WAIT: Final = 5.0
"""Seconds to wait for the lock of a partition in one go."""
LISTEN_CHECK: Final = 10.0
"""Seconds between looks whether the connection that listens still lives."""
GOODBYE: Final = 1.0
"""Seconds to say goodbye to the database."""


class PostgresConsumer(Consumer):
    """A consumer of one table, for as long as it runs.

    Rows of a partition are done in the order of their ids and deleted in the transaction in which
    they were read, under a lock that one node has at a time.

    Args:
        name: of the consumer: those with the same one share the partitions.
        options: which table, and how.
        workers: who keeps the loops.
    """

    def __init__(self, name: str, options: OutboxOptions, workers: Workers) -> None:
        self._workers = workers
        self._partitions = [Partition(name, n, options) for n in range(options.num_partitions)]
        self._options = options
        self._warned = False

    async def start(self) -> None:
        """See :meth:`Consumer.start`."""
        for partition in self._partitions:
            self._workers.start(f"partition {partition.number}", partition.turn)
        if self._options.notification_channel:
            self._workers.start("notifications", self._listen)

    async def stop(self) -> None:
        """See :meth:`Consumer.stop`."""
        await self._workers.stop()
        for partition in self._partitions:
            await partition.close()

    # -- being told

    async def _listen(self, worker: Worker) -> None:
        """Is woken by NOTIFY; while that does not work, rows are found by polling."""
        server = self._options.server
        with worker.interruptible():
            async with connected(self._options, server.notify_dsn or server.dsn) as connection:
                await connection.add_listener(self._options.channel, self._notified)
                worker.well()
                for partition in self._partitions:  # nobody told us before
                    partition.wake.set()
                while True:
                    await asyncio.sleep(LISTEN_CHECK)
                    await connection.fetchval("SELECT 1", timeout=server.io_timeout)

    def _notified(self, _connection: object, _pid: int, channel: str, payload: str) -> None:
        number = int(payload) if payload.isdecimal() and len(payload) < 10 else -1
        if 0 <= number < len(self._partitions):
            self._partitions[number].wake.set()
        elif not self._warned:
            self._warned = True  # whoever is wrong once is so each time
            logger.warning(
                "notification of no partition; they are found by polling only",
                channel=channel,
                payload=payload[:64],
                allowed=f"0 to {len(self._partitions) - 1}",
            )


class Partition:
    """One partition: reads it with a connection of its own, that is made when it is needed.

    Args:
        name: of the consumer.
        number: of the partition.
        options: which table, and how.
    """

    def __init__(self, name: str, number: int, options: OutboxOptions) -> None:
        self.number: int = number
        self.wake: asyncio.Event = asyncio.Event()
        """Set when there may be new rows."""
        self._options = options
        self._lock = f"{LOCK_NAME}{name}{number}"
        self._connection: Connection | None = None

    async def turn(self, worker: Worker) -> None:
        """Does the rows that are there, and waits for more if these were the last."""
        self.wake.clear()
        try:
            found = await self._work(worker)
        except (*DATABASE_ERRORS, FlyballError) as error:
            if isinstance(error, TryAgainError):
                raise
            await self.close()
            raise _source_error(error) from None
        except BaseException:
            await self.close()
            raise
        if found < self._options.select_limit:
            await worker.sleep(self._options.poll_interval, self.wake)

    async def close(self) -> None:
        """Gives up the connection; a transaction that is open is taken back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _work(self, worker: Worker) -> int:
        """One transaction; tells how many rows were there."""
        with worker.interruptible():
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._options, self._options.server.dsn)
            connection = self._connection
            # Nothing must end between these two: cancelled together, the connection is given up.
            transaction = connection.transaction(isolation="read_committed")
            await self._within(transaction.start())
            rows = await self._rows(connection)
        if rows is None:
            await self._within(transaction.rollback())
            return 0
        done, failure = await self._do(rows, worker)
        if done:
            delete = f"DELETE FROM {self._options.table} WHERE id = ANY($1)"
            await self._within(connection.execute(delete, done))
        await self._within(transaction.commit())
        if failure is not None:
            raise failure
        return len(rows)

    async def _rows(self, connection: Connection) -> list[Any] | None:
        """The next rows; None if another node has the partition."""
        if not await self._locked(connection):
            return None
        select = (
            f"SELECT id, method, payload FROM {self._options.table}"
            " WHERE partition = $1 ORDER BY id LIMIT $2"
        )
        found: list[Any] = await self._within(
            connection.fetch(select, self.number, self._options.select_limit)
        )
        return found

    async def _locked(self, connection: Connection) -> bool:
        """Whether the partition is ours until the end of the transaction."""
        if self._options.use_try_lock:
            ask = "SELECT pg_try_advisory_xact_lock(hashtext($1))"
            return bool(await self._within(connection.fetchval(ask, self._lock)))
        # Not for ever: a database that is gone must be told from one that is busy.
        limit = f"SET LOCAL lock_timeout = '{LOCK_WAIT:g}s'"
        await self._within(connection.execute(limit))
        ask = "SELECT pg_advisory_xact_lock(hashtext($1))"
        try:
            await self._within(connection.fetchval(ask, self._lock), LOCK_WAIT)
        except asyncpg.LockNotAvailableError:
            return False
        return True

    async def _do(self, rows: list[Any], worker: Worker) -> tuple[list[Any], TryAgainError | None]:
        """Ids of the rows that are done, and why the one behind them is not."""
        done: list[Any] = []
        for row in rows:
            if worker.stopping:
                break
            try:
                await worker.do(self._message(row))
            except TryAgainError as error:
                return done, error
            done.append(row["id"])
        return done, None

    def _message(self, row: Any) -> Message:
        payload = row["payload"]
        return Message(
            data=payload if isinstance(payload, bytes) else str(payload).encode(),
            method=row["method"],
            place=f"partition {self.number}, id {row['id']}",
        )

    async def _within(self, answer: Any, more: float = 0.0) -> Any:
        """An answer of the database, in the time it has for one."""
        async with asyncio.timeout(self._options.server.io_timeout + more):
            return await answer


DATABASE_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What a database, or the lack of one, brings about."""


def _source_error(error: Exception) -> SourceError:
    if isinstance(error, TimeoutError):
        return SourceError("the database gives no answer in time")
    if isinstance(error, FlyballError):
        return SourceError(str(error))
    if isinstance(error, asyncpg.PostgresError):
        return SourceError(f"{error.sqlstate or ''} {error}".strip().partition("\n")[0])
    return SourceError(str(told_apart(error)))


async def connect(options: OutboxOptions, dsn: str) -> Connection:
    """A connection to the database.

    Raises:
        LinkLostError: there is none.
    """
    server = options.server
    try:
        return await asyncpg.connect(
            dsn,
            timeout=server.connect_timeout,
            statement_cache_size=100 if server.prepares else 0,
            server_settings={"application_name": server.name},
            **({} if server.tls is None else {"ssl": server.tls}),
        )
    except TimeoutError:
        raise LinkLostError(f"no connection within {server.connect_timeout:g} s") from None


@contextlib.asynccontextmanager
async def connected(options: OutboxOptions, dsn: str) -> AsyncIterator[Connection]:
    """A connection that is given up at the end; its errors are :class:`SourceError`."""
    connection = None
    try:
        connection = await connect(options, dsn)
        yield connection
    except (*DATABASE_ERRORS, LinkLostError) as error:
        raise _source_error(error) from None
    finally:
        if connection is not None:
            connection.terminate()
