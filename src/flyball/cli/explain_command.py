"""The command that tells why a client may do something in a channel, or may not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from flyball.cli.config_commands import DEFAULT_PATH, reported
from flyball.cli.token_commands import load_checked
from flyball.core.errors import ConfigError

if TYPE_CHECKING:
    from flyball.server.api.explain import Explained, Question

REFUSED = 2
"""Exit code where the answer is no."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("explain")(explain_decision)


def explain_decision(
    operation: Annotated[
        str,
        typer.Argument(
            help="subscribe, publish, presence, history, map_publish, map_remove or rpc."
        ),
    ],
    channel: Annotated[str, typer.Argument(help="Channel; for rpc the method.")],
    config: Annotated[
        str, typer.Option("--config", "-c", help="Configuration file: JSON, YAML or TOML.")
    ] = DEFAULT_PATH,
    user: Annotated[str, typer.Option("--user", "-u", help="User id; empty: anonymous.")] = "",
    subscribed: Annotated[
        bool, typer.Option("--subscribed", help="The client is subscribed to the channel.")
    ] = False,
    token: Annotated[
        str, typer.Option("--token", help="Connection token, which tells the user.")
    ] = "",
    subscription_token: Annotated[
        str, typer.Option("--subscription-token", help="Token of the subscribe.")
    ] = "",
    claims: Annotated[
        str, typer.Option("--claims", help="Claims of a connection token, as JSON.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Tell why a client may do something in a channel: 0 allowed or asked for, 2 refused."""
    from flyball.server.api.explain import Question

    question = Question(
        operation=operation,
        channel=channel,
        user=user.encode("utf-8", "surrogateescape").decode(errors="replace"),
        subscribed=subscribed,
        connection_token=token,
        subscription_token=subscription_token,
        claims=claims.encode("utf-8", "surrogateescape"),  # what is no UTF-8 is no JSON
    )
    with reported():
        found = _explain(config, question)
    if as_json:
        typer.echo(msgspec.json.encode(_plain(found)).decode())
    else:
        _print(found)
    raise typer.Exit(REFUSED if found.verdict == "refuse" else 0)


def _explain(path: str, question: Question) -> Explained:
    from flyball.aio.clock import LoopClock
    from flyball.server import build
    from flyball.server.api.errors import ApiError
    from flyball.server.api.explain import explain
    from flyball.server.auth.jwks import JwksClient

    config = load_checked(path)
    jwks = JwksClient()
    verifiers = build.token_verifiers(config, LoopClock(), jwks)
    rules, options = build.channel_rules(config), build.policy_options(config)
    policy = build.explained_policy(options, rules, verifiers)

    async def run() -> Explained:
        try:
            return await explain(policy, question)
        finally:
            await jwks.close()

    try:
        return asyncio.run(run())
    except ApiError as error:
        raise ConfigError(error.detail) from None


def _plain(found: Explained) -> dict[str, object]:
    from flyball.server.api.explain import refusal_of

    code, message = refusal_of(found)
    steps = [
        {"rule": step.rule, "outcome": step.outcome, "decided": step.decided}
        for step in found.steps
    ]
    answer: dict[str, object] = {
        "verdict": found.verdict,
        "sentence": found.sentence,
        "user": found.user,
        "steps": steps,
    }
    return {**answer, "code": code, "message": message} if code else answer


def _print(found: Explained) -> None:
    typer.echo(found.sentence.partition(" (looked at before")[0])
    width = max(len(step.rule) for step in found.steps)
    for step in found.steps:
        sign = "=>" if step.decided else "  "
        typer.echo(f"{sign} {step.rule:{width}}  {step.outcome}")
