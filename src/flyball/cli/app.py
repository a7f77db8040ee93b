"""All commands under one name, each importing what it needs when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flyball.cli import (
    audit_command,
    config_commands,
    explain_command,
    postgres_command,
    tarantool_commands,
    token_commands,
)
from flyball.cli.config_commands import spell_out

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["app", "command", "spell_out"]

DEFAULT_CONFIG = "config.json"

app: typer.Typer = typer.Typer(
    help="Real-time messaging server. Without a command it runs the server.",
    no_args_is_help=False,
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def server(
    context: typer.Context,
    config: Annotated[
        str, typer.Option("--config", "-c", help="Configuration file: JSON, YAML or TOML.")
    ] = DEFAULT_CONFIG,
    demo: Annotated[
        bool, typer.Option("--demo", help="Serve the demo page at /demo, for trying only.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", "-v", help="Show the version.")] = False,
) -> None:
    """Run the server."""
    if context.invoked_subcommand is not None:
        return
    if version:
        show_version()
        return
    from flyball.server.workers import run_server

    raise SystemExit(run_server(config, given_flags(context), demo=demo))


def given_flags(context: typer.Context) -> Mapping[str, str]:
    """Option path to text, of the flags that were really given."""
    given: dict[str, str] = context.meta.get(FLAGS, {})
    return given


FLAGS = "flyball.flags"
"""Where the flags of the configuration are kept while the command line is read."""


@app.command("version")
def show_version() -> None:
    """Show the version."""
    import platform

    from flyball._version import __version__

    typer.echo(f"Flyball v{__version__} (Python {platform.python_version()})")


@app.command("serve")
def serve_files(
    address: Annotated[str, typer.Option("--address", "-a", help="Address to listen on.")] = "",
    directory: Annotated[str, typer.Option("--dir", "-d", help="Directory to serve.")] = "./",
    port: Annotated[int, typer.Option("--port", "-p", help="Port to listen on.")] = 3000,
) -> None:
    """Serve static files of a directory, for development."""
    from flyball.cli.static_files import serve_directory

    raise SystemExit(serve_directory(address, directory, port))


for commands in (
    config_commands,
    token_commands,
    explain_command,
    audit_command,
    tarantool_commands,
    postgres_command,
):
    commands.register(app)


def command() -> Any:
    """The whole command, with one flag for each option that has one."""
    group: Any = typer.main.get_command(app)
    group.params.extend(config_commands.server_flag_options(_remember))
    return group


def _remember(context: Any, option: str, text: str) -> None:
    context.meta.setdefault(FLAGS, {})[option] = text
