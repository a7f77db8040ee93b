# ruff: noqa: RUF001 -- the printed table is typeset
"""Fan-out by two workers beside one, at saturation, with four load clients.

All have the same Redis on a unix socket. Each load client has 250 connections to one channel; a
fifth publishes into it as fast as it gets answers. Delivered is what all got together; where there
are fewer cores than load clients, Redis and the workers fill, CPU for each delivery tells what more
cores would give.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

from redis_rows import redis_server
from run import API_KEY, BIN, Server, build, flyball_command, free_port, machine, write_config

CLIENTS: Final = 4
CONNECTIONS: Final = 250
"""Of each load client."""
RATE: Final = 1000
"""Publications in a second that are offered: more than any number of workers here delivers."""
TARGET: Final = 1.7


class Figures(NamedTuple):
    """What one run gave."""

    rate: float
    """Deliveries in a second."""
    cpu: float
    """Microseconds of the server's CPU for each."""
    load: float
    """Cores that everything together used."""


def run_once(workers: int, redis: str, seconds: int) -> Figures:
    """Four clients, and a server with so many workers."""
    with tempfile.TemporaryDirectory(prefix="flyball-bench-") as name:
        folder, port = Path(name), free_port()
        file = write_config(folder, port)
        config = json.loads(file.read_text())
        config["engine"] = {"type": "redis", "redis": {"address": f"unix://{redis}"}}
        file.write_text(json.dumps(config))
        command = [*flyball_command(), "-c", str(file), "--workers", str(workers)]
        server = Server(command, port, folder, health=True)
        try:
            return _load(server, seconds)
        finally:
            server.stop()


def _load(server: Server, seconds: int) -> Figures:
    base = [str(BIN / "rtload"), "--port", str(server.port), "--apikey", API_KEY]
    base += ["--mode", "fanout", "--verbose"]
    own = [*base, "--conns", str(CONNECTIONS), "--rate", "0", "--seconds", str(seconds)]
    pids = [["--pid", str(server.process.pid)], *([] for _ in range(CLIENTS - 1))]
    before = os.times()
    clients = [_start([*own, *pid]) for pid in pids]
    for client in clients:  # says that all its connections are subscribed
        assert client.stderr is not None
        if not client.stderr.readline().startswith(f"ready {CONNECTIONS} "):
            sys.exit(f"bench: clients cannot connect: {server.tail()}")
    rate = ["--conns", "1", "--rate", str(RATE), "--publishers", "4", "--patient"]
    publisher = _start([*base, *rate, "--seconds", str(seconds + 1)])
    answers: list[dict[str, Any]] = [json.loads(c.communicate()[0]) for c in clients]
    publisher.communicate()
    after = os.times()
    if any(answer["failed"] for answer in answers):
        sys.exit(f"bench: clients failed: {server.tail()}")
    ops = sum(answer["ops"] for answer in answers)
    cpu = answers[0]["cpu_s"]
    load = after.children_user + after.children_system
    load -= before.children_user + before.children_system
    return Figures(ops / seconds, cpu * 1e6 / ops, (cpu + load) / seconds)


def _start(command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


async def compare(seconds: int, repeats: int) -> list[list[Figures]]:
    """Figures of one worker and of two, in turn."""
    found: list[list[Figures]] = [[], []]
    async with redis_server() as path:
        for _ in range(repeats):
            for workers, figures in enumerate(found, 1):
                figures.append(await asyncio.to_thread(run_once, workers, path, seconds))
    return found


def report(found: list[list[Figures]]) -> str:
    """The table, and what it means."""
    rows = [Figures(*map(statistics.median, zip(*figures, strict=True))) for figures in found]
    ratio, cores = rows[1].rate / rows[0].rate, os.cpu_count() or 1
    room = 2 * rows[0].cpu / rows[1].cpu
    lines = [
        f"Fan-out to {CLIENTS * CONNECTIONS} clients at saturation, {machine()}:",
        "",
        "| workers | delivered | server CPU for each | cores used by server and load |",
        "|---|---|---|---|",
        *(
            f"| {workers} | {row.rate:,.0f}/s | {row.cpu:.1f} µs | {row.load:.1f} of {cores} |"
            for workers, row in enumerate(rows, 1)
        ),
        "",
        f"Two workers deliver {ratio:.2f}× one's (target {TARGET:g}×).",
        f"By CPU for each delivery they would deliver {room:.2f}× where cores are free.",
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
