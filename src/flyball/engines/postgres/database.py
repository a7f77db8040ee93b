"""Connections to a database: asyncpg's pool, our limits of time, and errors told apart."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg

from flyball.core.engine import EngineFaults
from flyball.core.errors import ConfigError, EngineError, EngineRefusal, FlyballError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from flyball.engines.postgres.options import Server

Connection: TypeAlias = Any
"""asyncpg's, which has no types; or what its pool gives in place of it."""
Pool: TypeAlias = Any
"""asyncpg's."""
T = TypeVar("T")

FIRST_LIMIT: Final = 60.0
"""Seconds for the work of a start."""
CLOSE_WAIT: Final = 1.0
"""Seconds to say goodbye to the database."""
APPLY: Final = "make or upgrade the tables: flyball postgres apply"


class LinkLostError(FlyballError):
    """The database is out of reach, or stopped; whether it did the work is not known."""


class DataRefusedError(FlyballError):
    """The database does not take a value: it is no JSON, or has a character with code 0."""


class StatementError(FlyballError):
    """The database refuses the work."""


class UnfitError(StatementError):
    """The database can do no such work for anybody, until somebody mends it: its disk is full."""


class SchemaError(UnfitError):
    """The tables are not there, or not what they must be, or we may not use them."""


_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""What ends a connection: another one may be better."""
_EXPECTED: Final = (asyncpg.PostgresError, UnicodeError, *_LOST)
"""All that is known to come of work with a database."""
_SCHEMA: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidParameterValueError,
    asyncpg.CheckViolationError,  # no partition takes the row
)


def told_apart(error: Exception) -> FlyballError:
    """The error as ours: wrong schema, refused data, lost, no room left, or another refusal."""
    text = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, _SCHEMA):
        return SchemaError(f"{text} ({APPLY})")
    if isinstance(error, (asyncpg.DataError, UnicodeError)):
        return DataRefusedError(text)
    if isinstance(error, _LOST):
        return LinkLostError(text)
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return UnfitError(text)
    return StatementError(text)


class _QuickReset(asyncpg.Connection):  # type: ignore[misc]  # which has no types
    """Nothing of ours stays in a session: giving it back to the pool needs no question."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        return ""


class Database:
    """A pool that lives as long as somebody uses it.

    Args:
        server: where, and how to log in.
    """

    def __init__(self, server: Server) -> None:
        self.server: Server = server
        self.faults: EngineFaults = EngineFaults("postgres")
        self._pool: Pool | None = None
        self._users = 0

    def __str__(self) -> str:
        return f"postgres {self.server}"

    async def acquire(self) -> None:
        """One more uses it."""
        self._users += 1
        if self._pool is None:
            self._pool = self._make()
            await self._pool  # connects nothing yet

    def _make(self) -> Pool:
        server = self.server
        return asyncpg.create_pool(
            server.dsn, min_size=0, max_size=server.pool_size, init=self._prepare, **self._how
        )

    @property
    def _how(self) -> dict[str, Any]:
        """What all connections have in common."""
        server = self.server
        how: dict[str, Any] = {
            "connection_class": _QuickReset,
            "timeout": server.connect_timeout,
            "statement_cache_size": 100 if server.prepares else 0,
            "server_settings": {"application_name": server.name},
        }
        return how if server.tls is None else {**how, "ssl": server.tls}

    async def _prepare(self, connection: Connection) -> None:
        """What we have given up must not be done later: the database gives up before."""
        await self._allow(connection, self.server.io_timeout)

    async def _allow(self, connection: Connection, seconds: float) -> None:
        if self.server.prepares:
            await connection.execute(f"SET statement_timeout = {max(int(seconds * 900), 1)}")

    async def run_long(self, work: Callable[[Connection], Awaitable[T]], limit: float) -> T:
        """The same as :meth:`run` for a single statement that may take ``limit`` seconds.

        No transaction of ours: a node that stands still would hold its locks.
        """

        async def patiently(connection: Connection) -> T:
            await self._allow(connection, limit)
            try:
                found = await work(connection)
            except asyncpg.PostgresError:
                await self._allow(connection, self.server.io_timeout)
                raise
            await self._allow(connection, self.server.io_timeout)
            return found

        return await self.run(patiently, limit=limit)

    async def release(self) -> None:
        """One less does; the last one closes it."""
        self._users -= 1
        if self._users:
            return
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_WAIT):
                await pool.close()
        except (TimeoutError, asyncpg.InterfaceError):
            pool.terminate()

    async def run(
        self, work: Callable[[Connection], Awaitable[T]], *, limit: float | None = None
    ) -> T:
        """Does ``work`` with a connection, within ``limit`` seconds (its ``io_timeout``).

        Only in a task. A connection on which it takes longer is given up.

        Raises:
            LinkLostError, DataRefusedError, SchemaError, StatementError: see there.
        """
        pool = self._pool
        if pool is None:
            raise LinkLostError("the engine is not started, or closed")
        with _telling_apart("no connection", self.server.io_timeout):
            connection = await pool.acquire(timeout=self.server.io_timeout)
        try:
            return await self.run_on(connection, work, limit=limit)
        finally:
            await _give_back(pool, connection)

    async def run_on(
        self,
        connection: Connection,
        work: Callable[[Connection], Awaitable[T]],
        *,
        limit: float | None = None,
    ) -> T:
        """The same with a connection of :meth:`connect`."""
        seconds = limit or self.server.io_timeout
        try:
            with _telling_apart("no answer", seconds):
                async with asyncio.timeout(seconds):
                    return await work(connection)
        except (LinkLostError, asyncio.CancelledError):
            _give_up(connection)
            raise

    async def connect(self, dsn: str = "") -> Connection:
        """A connection that is no part of the pool, and not made anew in silence when it is lost.

        Only in a task. Whoever has it terminates it.

        Args:
            dsn: where to, if not to the database's own address.

        Raises:
            LinkLostError, StatementError: it is out of reach, or does not let us in.
        """
        server = self.server
        with _telling_apart("no connection", server.io_timeout):
            connection = await asyncpg.connect(dsn or server.dsn, **self._how)
            try:
                async with asyncio.timeout(server.io_timeout):
                    await self._prepare(connection)
            except BaseException:
                connection.terminate()
                raise
            return connection

    async def part(self, connection: Connection) -> None:
        """Ends a connection of :meth:`connect`, with a goodbye if there is time."""
        try:
            if connection is not None:
                await connection.close(timeout=CLOSE_WAIT)
        except _LOST:
            _give_up(connection)

    async def first_contact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The same as :meth:`run` for the start: what fails is the configuration's fault.

        Raises:
            ConfigError: it failed.
        """
        with self.starting():
            return await self.run(work, limit=FIRST_LIMIT)

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Errors are the configuration's fault.

        Raises:
            ConfigError: in place of what was raised.
        """
        try:
            yield
        except ConfigError:
            raise
        except FlyballError as error:
            raise ConfigError(f"{self}: {error}") from None

    async def expire(self) -> None:
        """Connections that are there are not used again: their server may be another one now."""
        if self._pool is not None:
            await self._pool.expire_connections()

    def failed(self, error: FlyballError, code: int) -> FlyballError:
        """What a caller of the engine gets for an error of :meth:`run`; the log was told.

        Args:
            error: what happened.
            code: of the error for clients, where the value is at fault.
        """
        if isinstance(error, (EngineError, EngineRefusal)):
            return error
        if isinstance(error, DataRefusedError):
            return EngineRefusal(code, detail=str(error))
        return self.faults.error(f"{self.server}: {error}")


@contextlib.contextmanager
def _telling_apart(late: str, seconds: float) -> Iterator[None]:
    """Raises errors of ours in place of others; ``late`` is what it means that time is over."""
    try:
        yield
    except TimeoutError:
        raise LinkLostError(f"{late} within {seconds:g} s") from None
    except _EXPECTED as error:
        raise told_apart(error) from None


async def _give_back(pool: Pool, connection: Connection) -> None:
    """One that was expired says goodbye meanwhile, which a network that is broken never answers."""
    try:
        await pool.release(connection, timeout=CLOSE_WAIT)
    except _LOST:
        _give_up(connection)


def _give_up(connection: Connection) -> None:
    with contextlib.suppress(asyncpg.InterfaceError):  # the pool took it back already
        if connection is not None:
            connection.terminate()
