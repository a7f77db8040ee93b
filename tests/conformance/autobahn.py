"""Autobahn's cases against a server: `autobahn.py ws://... PATTERN...`; prints JSON, a line each.

A program of its own, as it shares neither the server's interpreter nor its rules for warnings.
"""

import asyncio
import json
import os
import sys

import kosoku

CASES_AT_A_TIME = 4
"""Some cases wait for time outs."""


async def main(server, *patterns):
    """Runs the cases that match."""
    try:
        found = await kosoku.run_fuzzingclient(
            server, list(patterns), None, concurrency=CASES_AT_A_TIME
        )
    except kosoku.FailureError as failure:
        found = failure.results
    for result in found:
        fields = {
            "case": result.case_id,
            "verdict": result.behavior.value,
            "closing": result.behavior_close.value,
            "detail": f"{result.result} {result.result_close}",
        }
        print(json.dumps(fields))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    sys.stdout.flush()
    # Threads of the suite may still be at work, and would abort the interpreter's usual end.
    os._exit(0)
