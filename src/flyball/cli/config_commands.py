"""Commands around the configuration, and the server's flags."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from flyball.core.errors import ConfigError

DEFAULT_PATH: Final = "config.json"

_Path: TypeAlias = Annotated[
    str, typer.Option("--config", "-c", help="Configuration file: JSON, YAML or TOML.")
]
_Given: TypeAlias = Annotated[
    str,
    typer.Option(
        "--config",
        "-c",
        help=f"Configuration file: JSON, YAML or TOML ({DEFAULT_PATH} when there is one).",
    ),
]
_Base: TypeAlias = Annotated[
    str, typer.Option("--base", "-b", help="Configuration whose values replace defaults.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    for name, function in _COMMANDS.items():
        app.command(name)(function)


@contextmanager
def reported() -> Iterator[None]:
    """Print configuration errors the way all commands do: on stdout, exit code 1."""
    try:
        yield
    except ConfigError as error:
        warn(getattr(error, "notices", ()))
        for line in str(error).splitlines():
            typer.echo(f"error: {line}")
        raise typer.Exit(1) from None


def warn(findings: Iterable[object]) -> None:
    """Print what stops nothing on stderr: standard output stays as it would be without."""
    for finding in findings:
        typer.echo(f"warning: {finding}", err=True)


def require_file(path: str, what: str = "config file") -> None:
    """Raise ConfigError if there is no file at ``path``, which somebody has named."""
    if not Path(path).exists():
        raise ConfigError(f"{what} not found: {path}")


def generate_config(config: _Path = DEFAULT_PATH) -> None:
    """Write a small configuration file with fresh random secrets."""
    from flyball.server.config.generate import document, new_config, write_new

    with reported():
        path = Path(config)
        write_new(path, document(new_config(), path))


def check_config(
    config: _Given = "",
    strict: Annotated[
        bool, typer.Option("--strict", "-s", help="Fail on unknown keys in the file.")
    ] = False,
) -> None:
    """Check a configuration file and the environment: 0 means that the server starts with it."""
    from structlog.testing import capture_logs

    from flyball.server.app import problems_of
    from flyball.server.config import (
        ConfigProblems,
        listener_notices,
        load_config,
        unbuilt_options,
    )

    with reported():
        if config:
            require_file(config)
        # What parts say when they are made belongs to the warnings, not to standard output.
        with capture_logs() as said:
            loaded = load_config(config or DEFAULT_PATH, environ=os.environ, look=problems_of)
            warn(loaded.notices)
            problems = problems_of(loaded.config)
        warn(_sentence(entry) for entry in said)
        if problems:
            raise ConfigProblems(problems)
        if strict and loaded.unknown_keys:
            raise ConfigError(f"unknown keys in config: {', '.join(loaded.unknown_keys)}")
    warn(listener_notices(loaded.config))
    warn(f"option does nothing in this version: {o}" for o in unbuilt_options(loaded.config))


def _sentence(entry: MutableMapping[str, Any]) -> str:
    """A record of the log as a warning."""
    more = (f"{k}={v}" for k, v in entry.items() if k not in ("event", "log_level", "logger"))
    return " ".join((f"{entry['event']}:", *more)).rstrip(":")


def default_config(
    config: _Path = DEFAULT_PATH,
    base: _Base = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-d", help="Print it; write no file.")
    ] = False,
) -> None:
    """Write a configuration file with all options and their defaults."""
    from flyball.server.config import to_plain
    from flyball.server.config.generate import document, write_new

    with reported():
        path = Path(config)
        text = document(to_plain(_load_base(base)), path)
        if dry_run:
            typer.echo(text, nl=False)
        else:
            write_new(path, text)


def default_env(
    base: _Base = "",
    base_non_zero_only: Annotated[
        bool, typer.Option("--base-non-zero-only", help="Print only what the base file sets.")
    ] = False,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Start of the names: CENTRIFUGO_ or FLYBALL_.")
    ] = "CENTRIFUGO_",
) -> None:
    """Print all options as environment variables."""
    from flyball.server.config.generate import environment, environment_line
    from flyball.server.config.table import ENV_PREFIXES

    with reported():
        if prefix not in ENV_PREFIXES:
            raise ConfigError(f'prefix "{prefix}" is not read; use {" or ".join(ENV_PREFIXES)}')
        loaded = _load_base(base)
        found = environment(loaded, prefix=prefix, changed_only=base_non_zero_only)
        for name in sorted(found):
            typer.echo(environment_line(name, found[name]))


def _load_base(base: str) -> Any:
    """Load the base file of the commands that print defaults; the environment is left out."""
    from flyball.server.config import Config, load_config

    if not base:
        return Config()
    require_file(base, "base config file")
    variables = {name: value for name, value in os.environ.items() if "_VAR_" in name}
    return load_config(base, environ=variables).config


def config_docs(
    markdown: Annotated[
        bool, typer.Option("--markdown", "-m", help="Print Markdown; serve no page.")
    ] = False,
    port: Annotated[int, typer.Option("--port", "-p", help="Port of the page.")] = 6060,
    section: Annotated[
        str, typer.Option("--section", "-s", help="Describe this section only: client.token")
    ] = "",
    level: Annotated[
        int, typer.Option("--level", "-l", min=1, max=6, help="Level of Markdown headings.")
    ] = 2,
) -> None:
    """Describe all options, on a page in the browser or in Markdown."""
    from flyball.server.config import docs

    with reported():
        if markdown:
            typer.echo(docs.markdown(section, level))
            return
        _serve_page(docs.page(section), port)


def api_document(config: _Given = "") -> None:
    """Print the server API over HTTP as an OpenAPI 3.1 document."""
    import json

    from flyball.server.build import VERSION
    from flyball.server.build import api_document as described
    from flyball.server.config import load_config

    with reported():
        if config:
            require_file(config)
        loaded = load_config(config or DEFAULT_PATH, environ=os.environ)
        typer.echo(json.dumps(described(loaded.config, VERSION), indent=2))


def page_server(text: str, port: int) -> ThreadingHTTPServer:
    """Bind a server for one HTML page to ``port`` of the loopback interface.

    Raises:
        OSError: The port is not free.
    """
    content = text.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/"
            body = content if found else b"not found\n"
            self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
            kind = "text/html" if found else "text/plain"
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - name is given
            """Stay quiet: the terminal belongs to the user."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def _serve_page(text: str, port: int) -> None:
    try:
        server = page_server(text, port)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on port {port}: {error}; choose another --port") from None
    typer.echo(f"configuration documentation on http://127.0.0.1:{server.server_port}/")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "genconfig": generate_config,
    "checkconfig": check_config,
    "defaultconfig": default_config,
    "defaultenv": default_env,
    "configdoc": config_docs,
    "openapi": api_document,
}

Remember: TypeAlias = Callable[[Any, str, str], None]
"""Takes the context, the path of an option and the text given for it."""


def server_flag_options(remember: Remember) -> list[Any]:
    """Return one command line option for each configuration option that has a flag.

    The result can be added to the ``params`` of a command that typer made. Whenever a flag is
    really given, ``remember(context, path, text)`` is called; commands see no parameter of it.

    Switches are used as ``--client.insecure``, or ``--no-client.insecure`` against a file or
    variable; :func:`spell_out` turns ``--client.insecure=false`` into that.
    """
    from flyball.server.config.table import rows

    flags = [row for row in rows() if row.flag]
    parameters = []
    for row in flags:
        switch = row.field.type_name == "bool"
        long = f"{row.flag}/--no-{row.path}" if switch else row.flag
        declarations = [long, row.field.meta.short] if row.field.meta.short else [long]
        option = typer.Option(
            *declarations,
            help=row.field.meta.doc,
            callback=_callback(row.path, remember),
            expose_value=False,
            show_default=False,
            rich_help_panel="Configuration",
        )
        kind = bool if switch else str
        parameters.append(
            inspect.Parameter(
                row.path.replace(".", "_"),
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],
            )
        )

    # typer makes options out of signatures only; this one is never called.
    def carrier() -> None: ...

    carrier.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    carrier.__annotations__ = {each.name: each.annotation for each in parameters}
    scratch = typer.Typer(add_completion=False)
    scratch.command()(carrier)
    names = carrier.__annotations__
    return [each for each in typer.main.get_command(scratch).params if each.name in names]


def _callback(path: str, remember: Remember) -> Callable[..., None]:
    def given(context: typer.Context, value: Any) -> None:
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else value
            remember(context, path, text)

    return given


def spell_out(arguments: Sequence[str]) -> list[str]:
    """Turn ``--switch=VALUE`` into ``--switch`` or ``--no-switch`` in a command line.

    Values are those of switches in variables (``true``, ``0``, ``F``, ...); others are left as
    they are, for the parser to refuse.
    """
    from flyball.server.config.table import rows
    from flyball.server.config.values import FALSE, TRUE

    switches = {row.flag for row in rows() if row.flag and row.field.type_name == "bool"}
    spelled = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in switches and value in TRUE:
            spelled.append(name)
        elif equals and name in switches and value in FALSE:
            spelled.append(f"--no-{name.removeprefix('--')}")
        else:
            spelled.append(argument)
    return spelled
