"""The tables and functions: made, checked and upgraded, by one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

from flyball.core.errors import ConfigError
from flyball.engines.postgres.database import APPLY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flyball.engines.postgres.database import Connection

VERSION: Final = 2
"""Of the tables and functions. 1 is that of Centrifugo."""
STREAM, BINARY, CONTROLLER = "stream", "binary_stream", "controller"


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of one set of tables."""

    kind: str
    """:data:`STREAM`, its twin for bytes :data:`BINARY`, or :data:`CONTROLLER`."""
    prefix: str
    """``table_prefix``."""
    schema: str = '"public"'
    """Quoted."""

    @property
    def name(self) -> str:
        """Start of the names of what belongs to it."""
        return f"{self.prefix}_{self.kind}"

    @property
    def parts(self) -> str:
        """The table with the rows, without schema; of its partitions the start."""
        return f"{self.name}_messages" if self.kind == CONTROLLER else self.name

    @property
    def table(self) -> str:
        """The table with the rows."""
        return f"{self.schema}.{self.parts}"

    @property
    def start(self) -> str:
        """Start of the names of other tables and of functions, with schema."""
        return f"{self.schema}.{self.name}_"

    @property
    def sequence(self) -> str:
        """Numbers its rows."""
        return f"{self.table}_id_seq"

    @property
    def notify(self) -> str:
        """The channel of NOTIFY."""
        return f"{self.name}_notify"

    def sql(self, name: str) -> str:
        """A file of ours with these names."""
        text = (files("flyball.engines.postgres") / "sql" / f"{name}.sql").read_text("utf-8")
        names = {
            "table": self.table,
            "p": self.start,
            "name": self.name,
            "parts": self.parts,
            "schema": self.schema,
            "type": "bytea" if self.kind == BINARY else "jsonb",
        }
        for key, value in names.items():
            text = text.replace("{" + key + "}", value)
        return text

    def script(self, shards: int, ahead: int) -> Iterator[str]:
        """All statements that make or upgrade the set; they may be run again.

        Args:
            shards: how many, if there are none yet.
            ahead: days for which partitions are made.
        """
        yield self.sql("controller" if self.kind == CONTROLLER else "stream")
        yield self.sql("partitions")
        start = self.start
        yield (
            f"INSERT INTO {start}shard_lock SELECT generate_series(0, {shards - 1})"
            f" WHERE NOT EXISTS (SELECT FROM {start}shard_lock);"
        )
        yield f"SELECT * FROM {start}maintain({ahead}, 1000000);"
        yield (
            f"CREATE TABLE IF NOT EXISTS {start}schema_version"
            " (id integer PRIMARY KEY, schema_version integer NOT NULL);"
            f"\nINSERT INTO {start}schema_version VALUES (1, {VERSION})"
            " ON CONFLICT (id) DO UPDATE SET schema_version = EXCLUDED.schema_version;"
        )

    def rights(self, *, application: bool) -> Iterator[Right]:
        """What a node needs to do, or an application that publishes in its own transactions."""
        start = self.start
        tables = [self.table, f"{start}shard_lock"]
        if self.kind != CONTROLLER:
            tables += [f"{start}meta", f"{start}idempotency"]
        yield Right("SCHEMA", self.schema, "USAGE")
        for table in tables:
            yield Right("TABLE", table, "SELECT")
        yield Right("TABLE", self.table, "INSERT")
        yield Right("TABLE", f"{start}shard_lock", "UPDATE")
        yield Right("SEQUENCE", self.sequence, "USAGE")
        if self.kind != CONTROLLER:
            yield Right("TABLE", self.table, "DELETE")
            for table in tables[2:]:
                yield Right("TABLE", table, "INSERT")
                yield Right("TABLE", table, "UPDATE")
        if not application:
            yield from self._rights_to_look_after()

    def _rights_to_look_after(self) -> Iterator[Right]:
        """The functions act with the rights of their owner."""
        start = self.start
        yield Right("TABLE", f"{start}schema_version", "SELECT")
        yield Right("SEQUENCE", self.sequence, "SELECT")
        yield Right("FUNCTION", f"{start}maintain(integer, integer)", "EXECUTE")
        if self.kind != CONTROLLER:
            yield Right("FUNCTION", f"{start}clean(interval, integer)", "EXECUTE")


class Right(NamedTuple):
    """A privilege on an object."""

    kind: str
    """``SCHEMA``, ``TABLE``, ``SEQUENCE`` or ``FUNCTION``."""
    name: str
    """Of the object, as SQL."""
    privilege: str

    def grant(self, role: str) -> str:
        """The statement that gives it to a role."""
        return f"GRANT {self.privilege} ON {self.kind} {self.name} TO {role};"


async def locate(connection: Connection, kind: str, prefix: str) -> Tables:
    """The set with the schema that it is in, or would be made in.

    Raises:
        ConfigError: no schema of the search path exists.
    """
    name = f"{prefix}_{kind}_schema_version"
    schema = await connection.fetchval(
        "SELECT quote_ident(COALESCE("
        "(SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = to_regclass($1)), current_schema()))",
        name,
    )
    if schema is None:
        raise ConfigError("no schema of the search_path exists in the database")
    return Tables(kind, prefix, schema)


async def version_of(connection: Connection, tables: Tables) -> int:
    """The version of the tables that are there; 0 if none are."""
    found = await connection.fetchval(
        "SELECT to_regclass($1) IS NOT NULL", f"{tables.start}schema_version"
    )
    if not found:
        return 0
    query = f"SELECT schema_version FROM {tables.start}schema_version WHERE id = 1"
    return await connection.fetchval(query) or 0


async def problems_of(connection: Connection, tables: Tables, shards: int) -> list[str]:
    """What is wrong with the tables, in sentences; nothing if they can be used.

    ``shards`` is what ``num_shards`` says.
    """
    version = await version_of(connection, tables)
    if version != VERSION:
        return [_about_version(tables.name, version)]
    found = await connection.fetchval(f"SELECT count(*) FROM {tables.start}shard_lock")
    if found == shards:
        return []
    text = (
        f"the tables {tables.name}… have {found} shards, num_shards is {shards}; set it to"
        f" {found}, or stop all nodes and run: flyball postgres apply --reshard"
    )
    return [text]


def _about_version(name: str, version: int) -> str:
    if version == 0:
        return f"the tables {name}… are not there; {APPLY}"
    what = f"the tables {name}… are of version {version}"
    if version < VERSION:
        return f"{what}, not {VERSION}; {APPLY}"
    return f"{what}, this Flyball knows {VERSION}; use a newer one, or another table_prefix"


async def missing_rights(connection: Connection, tables: Tables) -> list[Right]:
    """What a node needs and may not do, of tables that are there."""
    missing = []
    for right in tables.rights(application=False):
        # Names of schemas are not read as SQL there.
        name = "to_regnamespace($1)" if right.kind == "SCHEMA" else "$1"
        query = f"SELECT has_{right.kind.lower()}_privilege({name}, $2)"
        if not await connection.fetchval(query, right.name, right.privilege):
            missing.append(right)
    return missing


async def check(connection: Connection, tables: Tables, shards: int) -> None:
    """Raises ConfigError unless the tables can be used."""
    if found := await problems_of(connection, tables, shards):
        raise ConfigError("; ".join(found))


async def apply(
    connection: Connection, tables: Tables, *, shards: int, ahead: int, reshard: bool = False
) -> int:
    """Makes or upgrades the tables; returns the version that was there, 0 for none.

    Several may ask at once. ``reshard`` makes the shards as many as ``shards``: no node may run.

    Raises:
        ConfigError: the tables are of a newer version.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtext($1), 0)", f"{tables.prefix} tables of Flyball"
        )
        before = await version_of(connection, tables)
        if before > VERSION:
            await check(connection, tables, shards)
        if before < VERSION:
            for part in tables.script(shards, ahead):
                await connection.execute(part)
        if reshard:
            await _reshard(connection, tables, shards)
    return before


async def _reshard(connection: Connection, tables: Tables, shards: int) -> None:
    start = tables.start
    await connection.execute(f"LOCK TABLE {start}shard_lock IN ACCESS EXCLUSIVE MODE")
    await connection.execute(f"DELETE FROM {start}shard_lock")
    await connection.execute(
        f"INSERT INTO {start}shard_lock SELECT generate_series(0, $1)", shards - 1
    )
