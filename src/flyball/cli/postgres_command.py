"""``flyball postgres``: makes, checks and upgrades the tables of a PostgreSQL engine."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from flyball.cli.config_commands import DEFAULT_PATH, reported, require_file
from flyball.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flyball.engines.postgres.database import Connection, Database
    from flyball.engines.postgres.options import Layout, Server
    from flyball.engines.postgres.schema import Tables
    from flyball.server.config import Config

_Path: TypeAlias = Annotated[
    str, typer.Option("--config", "-c", help="Configuration file: JSON, YAML or TOML.")
]
_Dsn: TypeAlias = Annotated[
    str, typer.Option("--dsn", help="Address in place of the configuration's: another role's.")
]
_Schema: TypeAlias = Annotated[str, typer.Option("--schema", help="Schema of the tables.")]

commands: typer.Typer = typer.Typer(
    name="postgres",
    help="Make, check and upgrade the tables of a PostgreSQL broker and controller.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@dataclass(frozen=True, slots=True)
class _Part:
    """A section of the configuration that uses PostgreSQL."""

    kinds: tuple[str, ...]
    server: Server
    layout: Layout


@commands.command("check")
def check(config: _Path = DEFAULT_PATH, dsn: _Dsn = "") -> None:
    """Say what is wrong with the tables, or with our rights; exit code 1 if anything is."""
    problems = _with_each(config, dsn, _check)
    if any(problems):
        raise typer.Exit(1)


@commands.command("apply")
def apply(
    config: _Path = DEFAULT_PATH,
    dsn: _Dsn = "",
    reshard: Annotated[
        bool,
        typer.Option("--reshard", help="Make the shards as many as num_shards. Stop all nodes."),
    ] = False,
) -> None:
    """Make the tables, or upgrade them. Nothing that is there is lost."""
    from flyball.engines.postgres import schema

    async def one(connection: Connection, tables: Tables, layout: Layout) -> None:
        days = layout.partition_lookahead_days
        before = await schema.apply(
            connection, tables, shards=layout.num_shards, ahead=days, reshard=reshard
        )
        await schema.check(connection, tables, layout.num_shards)
        done = {0: "made", schema.VERSION: "are up to date"}.get(
            before, f"upgraded from version {before}"
        )
        typer.echo(f"{tables.table}: {done}")

    _with_each(config, dsn, one)


@commands.command("sql")
def sql(config: _Path = DEFAULT_PATH, schema: _Schema = "public") -> None:
    """Print what ``apply`` would run, for somebody else to run."""
    for part, tables in _named(config, schema):
        layout = part.layout
        typer.echo("BEGIN;")
        for text in tables.script(layout.num_shards, layout.partition_lookahead_days):
            typer.echo(text)
        typer.echo("COMMIT;")


@commands.command("grants")
def grants(
    role: Annotated[str, typer.Argument(help="Role that gets them.")],
    config: _Path = DEFAULT_PATH,
    schema: _Schema = "public",
    application: Annotated[
        bool,
        typer.Option("--application", help="What publishing in own transactions needs, no more."),
    ] = False,
) -> None:
    """Print the rights that a node's role needs when the tables belong to another one."""
    for part, tables in _named(config, schema):
        if application and part.kinds == _controller():
            continue
        for right in tables.rights(application=application):
            typer.echo(right.grant(_quoted(role)))


def _named(config: str, schema: str) -> list[tuple[_Part, Tables]]:
    """All sets of tables by their names, without asking the database."""
    from flyball.engines.postgres.schema import Tables

    with reported():
        parts = _parts(config, "")
    return [
        (part, Tables(kind, part.layout.table_prefix, _quoted(schema)))
        for part in parts
        for kind in part.kinds
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _controller() -> tuple[str, ...]:
    from flyball.engines.postgres.schema import CONTROLLER

    return (CONTROLLER,)


def _parts(path: str, dsn: str) -> list[_Part]:
    """What the configuration keeps in PostgreSQL.

    Raises:
        ConfigError: nothing; or an option is wrong.
    """
    from flyball.server.config import load_config

    require_file(path)
    config = load_config(path, environ=os.environ).config
    found = _used(config, dsn)
    if not found:
        raise ConfigError(
            f'{path} keeps nothing in PostgreSQL; set broker.enabled and broker.type = "postgres",'
            ' or controller.enabled and controller.type = "postgres"'
        )
    return found


def _used(config: Config, dsn: str) -> list[_Part]:
    from flyball.engines.postgres.options import parse_dsn
    from flyball.engines.postgres.schema import BINARY, STREAM
    from flyball.server.build import postgres as build

    found = []
    if config.broker.enabled and config.broker.type == "postgres":
        server = build.server(build.BROKER_KEY, config.broker.postgres)
        found.append(_Part((STREAM, BINARY), server, build.stream_options(config)))
    if config.controller.enabled and config.controller.type == "postgres":
        server = build.server(build.CONTROLLER_KEY, config.controller.postgres)
        found.append(_Part(_controller(), server, build.controller_options(config)))
    if dsn:
        address = parse_dsn(dsn).dsn
        found = [replace(part, server=replace(part.server, dsn=address)) for part in found]
    return found


def _with_each(
    config: str, dsn: str, work: Callable[[Connection, Tables, Layout], Awaitable[object]]
) -> list[object]:
    """Does ``work`` with each set of tables; what it gives."""
    with reported():
        return asyncio.run(_all(_parts(config, dsn), work))


async def _all(
    parts: list[_Part], work: Callable[[Connection, Tables, Layout], Awaitable[object]]
) -> list[object]:
    from flyball.engines.postgres.database import Database

    found = []
    for part in parts:
        database = Database(part.server)
        await database.acquire()
        try:
            found += [await _one(database, part, kind, work) for kind in part.kinds]
        finally:
            await database.release()
    return found


async def _one(
    database: Database,
    part: _Part,
    kind: str,
    work: Callable[[Connection, Tables, Layout], Awaitable[object]],
) -> object:
    from flyball.engines.postgres.schema import locate

    async def do(connection: Connection) -> object:
        tables = await locate(connection, kind, part.layout.table_prefix)
        return await work(connection, tables, part.layout)

    return await database.first_contact(do)


async def _check(connection: Connection, tables: Tables, layout: Layout) -> bool:
    """Says what is wrong; whether anything is."""
    from flyball.engines.postgres.schema import missing_rights, problems_of

    problems = await problems_of(connection, tables, layout.num_shards)
    if not problems:
        for right in await missing_rights(connection, tables):
            problems.append(f"we lack {right.privilege} on {right.kind.lower()} {right.name}")
    for problem in problems:
        typer.echo(f"error: {problem}")
    if not problems:
        typer.echo(f"{tables.table}: all is well")
    return bool(problems)
