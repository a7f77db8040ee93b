# ruff: noqa: RUF001 -- the printed table is typeset
"""Compares engines with their bare client libraries doing the same work, in one run.

Each row: operations in a second at saturation, the 99th percentile of their time, and CPU of this
process for each, of the library and of Flyball. Servers are started here, on loopback or a unix
socket. Rows of NATS compare the time, rows of Redis the CPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable

import uvloop
from measuring import WORKERS, Row
from nats_rows import nats_rows
from postgres_rows import postgres_rows
from redis_rows import redis_rows
from tarantool_rows import tarantool_rows

GROUPS: dict[str, Callable[[float], Awaitable[list[Row]]]] = {
    "nats": nats_rows,
    "postgres": postgres_rows,
    "tarantool": tarantool_rows,
    "redis": redis_rows,
}
"""Engine to its rows."""


def line(row: Row) -> str:
    """A row as text."""
    sign = "≤" if row.ratio <= row.limit else "> !"
    what = "CPU" if row.by_cpu else "time"
    ratio = f"{row.ratio:.2f} × {what} ({sign} {row.limit:g})"
    cells = (
        f"{f.rate:,.0f}/s, p99 {f.p99:.1f} ms, {f.cpu:.1f} µs" for f in (row.library, row.flyball)
    )
    return "| " + " | ".join([row.title, *cells, ratio]) + " |"


async def run(groups: list[str], seconds: float) -> int:
    """Prints the table; 1 if a row takes more than its limit."""
    rows = [row for group in groups for row in await GROUPS[group](seconds)]
    print(
        f"| {WORKERS} at a time: rate, p99, CPU | library | Flyball | Flyball costs |\n|---|---|---|---|"
    )
    for row in rows:
        print(line(row))
    return int(any(row.ratio > row.limit for row in rows))


def main() -> int:
    """Reads the arguments, and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=GROUPS, action="append")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--quick", action="store_true", help="half a second each")
    options = parser.parse_args()
    seconds = 0.5 if options.quick else options.seconds
    return uvloop.run(run(options.only or list(GROUPS), seconds))


if __name__ == "__main__":
    sys.exit(main())
