"""``flyball audit``: proves what a running server claims about delivery."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flyball.cli.audit import AuditOptions, Report


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("audit")(audit)


def audit(
    websocket: Annotated[
        list[str], typer.Option(help="WebSocket endpoint of a node; may be given several times.")
    ],
    api: Annotated[list[str], typer.Option(help="Server API of a node; likewise.")],
    api_key: Annotated[str, typer.Option(help="Key of the server API.")] = "",
    token: Annotated[str, typer.Option(help="Connection token.")] = "",
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Channel with history and recovery; likewise.", show_default="audit:1"),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to publish.")] = 10.0,
    start: Annotated[float, typer.Option(help="Seconds until all must be subscribed.")] = 30.0,
    interval: Annotated[float, typer.Option(help="Seconds between publications.")] = 0.0,
) -> None:
    """Publish, subscribe, and prove order, completeness and history.

    Stop and start servers, their Redis and the network meanwhile: it must pass all the same.
    """
    from flyball.cli.audit import AuditOptions, CannotAudit

    options = AuditOptions(
        websockets=tuple(websocket),
        apis=tuple(url.rstrip("/") for url in api),
        api_key=api_key,
        token=token,
        channels=tuple(channel or ("audit:1",)),
        interval=interval,
        start=start,
    )
    try:
        report = asyncio.run(_audit(options, seconds))
    except CannotAudit as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}")
        raise typer.Exit(1) from None
    typer.echo(
        f"published {report.published}, acknowledged {report.acknowledged},"
        f" delivered {report.delivered}, recovered {report.recovered}, losses told {report.losses}"
    )
    for violation in report.violations:
        typer.echo(f"VIOLATION {violation}")
    typer.echo("passed" if report.passed else "FAILED")
    raise typer.Exit(0 if report.passed else 1)


async def _audit(options: AuditOptions, seconds: float) -> Report:
    from flyball.cli.audit import Auditor

    async with Auditor(options) as auditor:
        await asyncio.sleep(seconds)
        return await auditor.end()
