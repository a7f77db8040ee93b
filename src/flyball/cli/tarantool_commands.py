"""``flyball tarantool``: what an operator does once for a Tarantool engine."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from flyball.cli.config_commands import DEFAULT_PATH, reported
from flyball.core.errors import ConfigError

if TYPE_CHECKING:
    from flyball.engines.tarantool import ShardOptions
    from flyball.server.config import Config
    from flyball.server.config.schema_engines import TarantoolBroker

commands: typer.Typer = typer.Typer(help="Prepare Tarantool servers.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands, name="tarantool")


@commands.callback()
def group() -> None:
    """Prepare Tarantool servers."""


@commands.command("install")
def install(
    config: Annotated[
        str, typer.Option("--config", "-c", help="Configuration that names the servers.")
    ] = DEFAULT_PATH,
    address: Annotated[
        list[str] | None,
        typer.Option(help="Servers of a shard in place of the configuration's; may be repeated."),
    ] = None,
    user: Annotated[
        str, typer.Option(help="Who installs it, if not the user of the addresses.")
    ] = "",
    password: Annotated[
        str, typer.Option(envvar="FLYBALL_TARANTOOL_PASSWORD", help="That user's password.")
    ] = "",
    grant: Annotated[
        str | None,
        typer.Option(
            help="User of the nodes, who may then call it.", show_default="the configuration's"
        ),
    ] = None,
    synchronous: Annotated[
        bool, typer.Option("--synchronous", help="Let changes wait for a quorum of the servers.")
    ] = False,
    script: Annotated[
        bool, typer.Option("--script", help="Print the Lua for a console; connect nowhere.")
    ] = False,
) -> None:
    """Install or upgrade the Lua module that nodes need, and the spaces that it keeps."""
    with reported():
        shards, nodes_user = _servers(config, address or [])
        granted = nodes_user if grant is None else grant
        if script:
            from flyball.engines.tarantool.setup import install_script

            typer.echo(install_script(user=granted, synchronous=synchronous))
            return
        if password and not user:
            raise ConfigError("there is a password, and no --user that it is for")
        if user:
            shards = [replace(shard, user=user, password=password) for shard in shards]
        asyncio.run(_install(shards, granted, synchronous=synchronous))


async def _install(shards: list[ShardOptions], granted: str, *, synchronous: bool) -> None:
    from flyball.engines.tarantool.setup import set_up

    for shard in shards:
        where = await set_up(shard, user=granted, synchronous=synchronous)
        also = f"; {granted} may call it" if granted else ""
        typer.echo(f"{where}: the module is installed{also}")


def _servers(path: str, addresses: list[str]) -> tuple[list[ShardOptions], str]:
    """The shards, and the user of the nodes there.

    Raises:
        ConfigError: neither the configuration nor the arguments name any.
    """
    from flyball.server.build.tarantool import tarantool_shards
    from flyball.server.config.schema_engines import TarantoolBroker

    if addresses:
        section = TarantoolBroker(address=tuple(addresses), mode="leader-follower")
        return tarantool_shards("engine", section), ""
    from flyball.server.config import load_config

    name, section = _section(load_config(path, environ=os.environ).config)
    return tarantool_shards(name, section), section.user


def _section(config: Config) -> tuple[str, TarantoolBroker]:
    if config.engine.type == "tarantool":
        return "engine", config.engine.tarantool
    if config.broker.type == "tarantool":
        return "broker", config.broker.tarantool
    if config.presence_manager.type == "tarantool":
        return "presence_manager", config.presence_manager.tarantool
    raise ConfigError('the configuration has no engine.type "tarantool": set it, or give --address')
