"""`make conformance`: all cases of all suites; prints a table, fails on what is not known."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import uvloop
from suites import (
    FULL_PARTS,
    HTTP2_CLEARTEXT,
    HTTP2_TLS,
    KNOWN,
    missing_h2spec,
    missing_kosoku,
    run_autobahn,
    run_h2spec,
)

COLUMNS = "{:<18} {:<9} {:>6} {:>7} {:>7} {:>9} {:>8}"


async def main():
    """Runs everything, part by part; whether all is as it should be."""
    for why in (missing_kosoku(), missing_h2spec()):
        if why:
            print(why, file=sys.stderr)
            return False
    print(COLUMNS.format("suite", "part", "cases", "passed", "known", "surprises", "seconds"))
    outcomes = []
    for part in FULL_PARTS:
        outcomes += await timed(run_autobahn(part))
    for suite in (HTTP2_TLS, HTTP2_CLEARTEXT):
        outcomes += await timed(run_h2spec(suite))
    surprises = [outcome for outcome in outcomes if outcome.surprise]
    known = [outcome for outcome in outcomes if not outcome.passed and not outcome.surprise]
    print(f"{len(outcomes)} cases, {len(known)} differ as known, {len(surprises)} surprises")
    for outcome in known:
        print(f"  known: {outcome.suite} {outcome.case}: {KNOWN[outcome.suite, outcome.case]}")
    for outcome in surprises:
        print(f"  SURPRISE: {outcome}")
    return bool(outcomes) and not surprises


async def timed(run):
    """Awaits a part's outcomes and prints the line of each group."""
    began = time.monotonic()
    outcomes = await run
    seconds = time.monotonic() - began
    for part in dict.fromkeys(outcome.part for outcome in outcomes):
        row = [outcome for outcome in outcomes if outcome.part == part]
        passed = sum(outcome.passed for outcome in row)
        surprises = sum(outcome.surprise for outcome in row)
        known = sum(not outcome.passed and not outcome.surprise for outcome in row)
        figures = (len(row), passed, known, surprises, f"{seconds:.1f}")
        print(COLUMNS.format(row[0].suite, part, *figures), flush=True)
    return outcomes


if __name__ == "__main__":
    sys.exit(not uvloop.run(main()))
