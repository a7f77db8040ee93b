"""Commands that make and check tokens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from flyball.cli.config_commands import DEFAULT_PATH, reported

if TYPE_CHECKING:
    from flyball.server.auth import TokenVerifier
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
    channel: Annotated[str, typer.Option("--channel", "-s", help="Channel.")],
    config: _Path = DEFAULT_PATH,
    user: _User = "",
    ttl: _Ttl = WEEK,
    quiet: _Quiet = False,
) -> None:
    """Make a subscription token."""
    _generate(config, user, ttl, channel, quiet=quiet)


def check_token(
    token: Annotated[str, typer.Argument(help="Connection token.")], config: _Path = DEFAULT_PATH
) -> None:
    """Check a connection token against the configuration."""

    async def check(tokens: TokenVerifier, _: TokenVerifier) -> str:
        verified = await tokens.verify_connect_token(token)
        return f"valid token for {_named(verified.user, quoted=False)}"

    _check(config, token, check)


def check_subscription_token(
    token: Annotated[str, typer.Argument(help="Subscription token.")], config: _Path = DEFAULT_PATH
) -> None:
    """Check a subscription token against the configuration."""

    async def check(_: TokenVerifier, tokens: TokenVerifier) -> str:
        verified = await tokens.verify_subscribe_token(token)
        who = _named(verified.user, quoted=True)
        return f'valid subscription token for {who} and channel "{verified.channel}"'

    _check(config, token, check)


_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "gentoken": generate_token,
    "gensubtoken": generate_subscription_token,
    "checktoken": check_token,
    "checksubtoken": check_subscription_token,
}


def _load(path: str) -> Config:
    from flyball.server.config import check, load_config

    config = load_config(path, environ=os.environ).config
    check(config)
    return config


def _named(user: str, *, quoted: bool) -> str:
    if not user:
        return "anonymous user"
    return f'user "{user}"' if quoted else f"user {user}"


def _generate(path: str, user: str, ttl: int, channel: str | None, *, quiet: bool) -> None:
    import time

    from flyball.server.auth.make import token_for
    from flyball.server.build import token_options
    from flyball.server.config.durations import format_duration

    with reported():
        config = _load(path)
        source = config.client.token
        if channel is not None and config.client.subscription_token.enabled:
            source = config.client.subscription_token
        token = token_for(token_options(source, config), user, ttl, time.time(), channel)
    if quiet:
        typer.echo(token, nl=False)
        return
    about = _named(user, quoted=True)
    if channel is not None:
        about += f' and channel "{channel}"'
    life = "without expiration" if ttl < 0 else f"with expiration TTL {format_duration(ttl)}"
    typer.echo(f"HMAC SHA-256 JWT for {about} {life}:\n{token}")


def _check(
    path: str, token: str, verify: Callable[[TokenVerifier, TokenVerifier], Awaitable[str]]
) -> None:
    from flyball.core.clock import LoopClock
    from flyball.server.auth import InvalidToken, JwksClient, TokenExpired
    from flyball.server.auth.jose import take_apart
    from flyball.server.build import token_verifiers

    async def run() -> str:
        jwks = JwksClient()
        try:
            tokens, sub_tokens = token_verifiers(config, LoopClock(), jwks)
            return await verify(tokens, sub_tokens or tokens)
        finally:
            await jwks.close()

    with reported():
        config = _load(path)
        try:
            parts: Any = take_apart(token)
        except InvalidToken as error:
            typer.echo(f"error: {error}")
            raise typer.Exit(1) from None
        claims = parts.claims.decode(errors="replace")
        try:
            found = asyncio.run(run())
        except (InvalidToken, TokenExpired) as error:
            reason = "token expired" if isinstance(error, TokenExpired) else str(error)
            algorithm = parts.header.alg
            typer.echo(
                f"error: token with algorithm {algorithm} and claims {claims} has error: {reason}"
            )
            raise typer.Exit(1) from None
    typer.echo(f"{found}\npayload: {claims}")
