"""Commands that make and check tokens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TypeAlias

import typer

from flyball.cli.config_commands import DEFAULT_PATH, reported, require_file, warn
from flyball.core.errors import Error, FlyballError
from flyball.protocol import codes

if TYPE_CHECKING:
    from flyball.server.auth.options import TokenOptions
    from flyball.server.auth.verifier import TokenVerifier
    from flyball.server.config import Config

WEEK: Final = 604_800

_Path: TypeAlias = Annotated[
    str, typer.Option("--config", "-c", help="Configuration file: JSON, YAML or TOML.")
]
_User: TypeAlias = Annotated[str, typer.Option("--user", "-u", help="User id; empty: anonymous.")]
_Ttl: TypeAlias = Annotated[
    int, typer.Option("--ttl", "-t", help="Seconds until it expires; -1: never.")
]
_Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print the token only.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    for name, function in _COMMANDS.items():
        app.command(name)(function)


def generate_token(
    config: _Path = DEFAULT_PATH, user: _User = "", ttl: _Ttl = WEEK, quiet: _Quiet = False
) -> None:
    """Make a connection token."""
    _generate(config, user, ttl, None, quiet=quiet)


def generate_subscription_token(
    config: _Path = DEFAULT_PATH,
    user: _User = "",
    channel: Annotated[str, typer.Option("--channel", "-s", help="Channel; required.")] = "",
    ttl: _Ttl = WEEK,
    quiet: _Quiet = False,
) -> None:
    """Make a subscription token."""
    if not channel:
        typer.echo("channel is required")
        raise typer.Exit(1)
    _generate(config, user, ttl, channel, quiet=quiet)


def check_token(
    token: Annotated[str, typer.Argument(help="Connection token.", show_default=False)] = "",
    config: _Path = DEFAULT_PATH,
) -> None:
    """Check a connection token against the configuration."""

    async def check(verifier: TokenVerifier) -> tuple[str, Iterable[str]]:
        verified = await verifier.verify_connect_token(token)
        return f"valid token for {_named(verified.user, quoted=False)}", verified.subs

    _check(config, token, "checktoken", check)


def check_subscription_token(
    token: Annotated[str, typer.Argument(help="Subscription token.", show_default=False)] = "",
    config: _Path = DEFAULT_PATH,
) -> None:
    """Check a subscription token against the configuration."""

    async def check(verifier: TokenVerifier) -> tuple[str, Iterable[str]]:
        verified = await verifier.verify_subscribe_token(token)
        who, channel = _named(verified.user, quoted=True), verified.channel
        return f'valid subscription token for {who} and channel "{channel}"', (channel,)

    _check(config, token, "checksubtoken", check)


_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "gentoken": generate_token,
    "gensubtoken": generate_subscription_token,
    "checktoken": check_token,
    "checksubtoken": check_subscription_token,
}


def load_checked(path: str) -> Config:
    """The configuration of a file that has to be there; notices go to standard error.

    Raises:
        ConfigError: it is not there, or wrong.
    """
    from flyball.server.config import check, load_config

    if path != DEFAULT_PATH:
        require_file(path)
    loaded = load_config(path, environ=os.environ)
    warn(loaded.notices)
    check(loaded.config)
    return loaded.config


def _named(user: str, *, quoted: bool) -> str:
    if not user:
        return "anonymous user"
    return f'user "{user}"' if quoted else f"user {user}"


def _options(config: Config, *, subscription: bool) -> TokenOptions:
    """What holds for tokens of this kind."""
    client = config.client
    return client.subscription_token_options if subscription else client.token


def _generate(path: str, user: str, ttl: int, channel: str | None, *, quiet: bool) -> None:
    import time

    from flyball.server.auth.make import token_for
    from flyball.server.common.durations import format_duration

    with reported():
        options = _options(load_checked(path), subscription=channel is not None)
        token = token_for(options, user, ttl, time.time(), channel)
    if quiet:
        typer.echo(token, nl=False)
        return
    about = _named(user, quoted=True)
    if channel is not None:
        about += f' and channel "{channel}"'
    life = "without expiration" if ttl < 0 else f"with expiration TTL {format_duration(ttl)}"
    typer.echo(f"HMAC SHA-256 JWT for {about} {life}:\n{token}")


def _check(
    path: str,
    token: str,
    command: str,
    verify: Callable[[TokenVerifier], Awaitable[tuple[str, Iterable[str]]]],
) -> None:
    from flyball.aio.clock import LoopClock
    from flyball.server.auth.errors import InvalidToken
    from flyball.server.auth.jose import take_apart
    from flyball.server.auth.jwks import JwksClient
    from flyball.server.auth.verifier import TokenVerifier
    from flyball.server.build import channel_rules

    async def run() -> tuple[str, Iterable[str]]:
        try:
            return await verify(verifier)
        finally:
            await jwks.close()

    with reported():
        config = load_checked(path)
        options = _options(config, subscription=command == "checksubtoken")
        jwks = JwksClient()
        # A signature that the server would skip is still worth knowing about.
        verifier = TokenVerifier(options, LoopClock(), jwks)
        rules = channel_rules(config)
    if not token:
        _fail(f"provide token to check [flyball {command} <TOKEN>]")
    try:
        parts = take_apart(token)
    except InvalidToken as error:
        _fail(_problem(error))
    claims = parts.claims.decode(errors="replace")
    try:
        found, channels = asyncio.run(run())
        if any(rules.namespace(channel) is None for channel in channels):
            raise Error(codes.UNKNOWN_CHANNEL)
    except FlyballError as error:
        algorithm = parts.header.alg
        _fail(f"token with algorithm {algorithm} and claims {claims} has error: {_problem(error)}")
    typer.echo(f"{found}\npayload: {claims}")


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}")
    raise typer.Exit(1)


def _problem(error: FlyballError) -> str:
    from flyball.server.auth.errors import TokenExpired

    if isinstance(error, TokenExpired):
        return "token expired"
    if isinstance(error, Error):
        problem = f"{error.code}: {error.message}"
        return f"{problem} ({error.detail})" if error.detail else problem
    return f"invalid token: {error}"
