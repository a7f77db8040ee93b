# ruff: noqa: RUF001 -- the printed table is typeset
"""Fan-out by two workers beside one, at saturation, with four load clients.

All have the same Redis on a unix socket. Each load client has 250 connections to one channel; a
fifth publishes into it as fast as it gets answers. Delivered is what all got together.

What two workers can do at best is what two servers do that share nothing, on the same machine, with
half of the clients each. Where there are fewer cores than load clients, Redis and the workers fill,
these do not reach twice as much as one either: then the share of theirs tells what sharing costs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from redis_rows import redis_server
from run import API_KEY, BIN, Server, build, flyball_command, free_port, machine, write_config

CLIENTS: Final = 4
CONNECTIONS: Final = 250
"""Of each load client."""
RATE: Final = 1000
"""Publications in a second that are offered: more than any number of workers here delivers."""
TARGET: Final = 1.7


class Setup(NamedTuple):
    """What serves the clients."""

    name: str
    servers: int
    """That know nothing of each other; each has an equal part of the clients."""
    workers: int
    """Of each server."""


ONE: Final = Setup("one worker", 1, 1)
TWO: Final = Setup("two workers", 1, 2)
APART: Final = Setup("two servers apart", 2, 1)
SETUPS: Final = (ONE, TWO, APART)


class Figures(NamedTuple):
    """What one run gave."""

    rate: float
    """Deliveries in a second."""
    cpu: float
    """Microseconds of the server's CPU for each."""
    load: float
    """Cores that everything together used."""


def run_once(setup: Setup, redis: str, seconds: int) -> Figures:
    """Four clients, and what serves them."""
    with contextlib.ExitStack() as stack:
        servers = [_server(stack, number, setup, redis) for number in range(setup.servers)]
        return _load(servers, seconds)


def _server(stack: contextlib.ExitStack, number: int, setup: Setup, redis: str) -> Server:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flyball-bench-")))
    port = free_port()
    file = write_config(folder, port)
    config = json.loads(file.read_text())
    store = {"address": f"unix://{redis}", "prefix": f"bench{number}"}
    config["engine"] = {"type": "redis", "redis": store}
    file.write_text(json.dumps(config))
    command = [*flyball_command(), "-c", str(file), "--workers", str(setup.workers)]
    server = Server(command, port, folder, health=True)
    stack.callback(server.stop)
    return server


def _load(servers: list[Server], seconds: int) -> Figures:
    before = os.times()
    clients = [_clients(server, seconds, CLIENTS // len(servers)) for server in servers]
    publishers = [_publisher(server, seconds) for server in servers]
    answers = [[json.loads(c.communicate()[0]) for c in group] for group in clients]
    for publisher in publishers:
        publisher.communicate()
    after = os.times()
    if any(answer["failed"] for group in answers for answer in group):
        sys.exit(f"bench: clients failed: {servers[0].tail()}")
    ops = sum(answer["ops"] for group in answers for answer in group)
    cpu = sum(group[0]["cpu_s"] for group in answers)
    load = after.children_user + after.children_system
    load -= before.children_user + before.children_system
    return Figures(ops / seconds, cpu * 1e6 / ops, (cpu + load) / seconds)


def _clients(server: Server, seconds: int, count: int) -> list[subprocess.Popen[str]]:
    """Load clients of a server, subscribed; the first one measures its CPU."""
    own = [*_rtload(server), "--conns", str(CONNECTIONS), "--rate", "0", "--seconds", str(seconds)]
    pids = [["--pid", str(server.process.pid)], *([] for _ in range(count - 1))]
    clients = [_start([*own, *pid]) for pid in pids]
    for client in clients:  # says that all its connections are subscribed
        assert client.stderr is not None
        if not client.stderr.readline().startswith(f"ready {CONNECTIONS} "):
            sys.exit(f"bench: clients cannot connect: {server.tail()}")
    return clients


def _publisher(server: Server, seconds: int) -> subprocess.Popen[str]:
    rate = ["--conns", "1", "--rate", str(RATE), "--publishers", "4", "--patient"]
    return _start([*_rtload(server), *rate, "--seconds", str(seconds + 1)])


def _rtload(server: Server) -> list[str]:
    base = [str(BIN / "rtload"), "--port", str(server.port), "--apikey", API_KEY]
    return [*base, "--mode", "fanout", "--verbose"]


def _start(command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


async def compare(seconds: int, repeats: int) -> dict[Setup, list[Figures]]:
    """Figures of all setups, in turn."""
    found: dict[Setup, list[Figures]] = {setup: [] for setup in SETUPS}
    async with redis_server() as path:
        for _ in range(repeats):
            for setup, figures in found.items():
                figures.append(await asyncio.to_thread(run_once, setup, path, seconds))
    return found


def report(found: dict[Setup, list[Figures]]) -> str:
    """The table, and what it means."""
    rows = {
        setup: Figures(*map(statistics.median, zip(*figures, strict=True)))
        for setup, figures in found.items()
    }
    one, two, apart = rows[ONE], rows[TWO], rows[APART]
    ratio, cores = two.rate / one.rate, os.cpu_count() or 1
    lines = [
        f"Fan-out to {CLIENTS * CONNECTIONS} clients at saturation, {machine()}:",
        "",
        "| served by | delivered | server CPU for each | cores used by server and load |",
        "|---|---|---|---|",
        *(
            f"| {setup.name} | {row.rate:,.0f}/s | {row.cpu:.1f} µs | {row.load:.1f} of {cores} |"
            for setup, row in rows.items()
        ),
        "",
        f"Two workers deliver {ratio:.2f}× one's (target {TARGET:g}×);",
        f"by CPU for each delivery {2 * one.cpu / two.cpu:.2f}× where cores are free.",
        f"Of two servers that share nothing they deliver {two.rate / apart.rate:.0%},",
        f"by CPU for each delivery {apart.cpu / two.cpu:.0%}.",
    ]
    if cores < CLIENTS + 3 and ratio < TARGET:
        lines.append(f"{cores} cores limit it: workers, load clients and Redis share them.")
    return "\n".join(lines)


def main() -> int:
    """Reads the arguments, and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="length of a run (default 5)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--quick", action="store_true", help="one short run")
    options = parser.parse_args()
    seconds, repeats = (2, 1) if options.quick else (options.seconds, options.repeats)
    build()
    print(report(asyncio.run(compare(seconds, repeats))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
