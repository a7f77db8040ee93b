"""Coverage-guided fuzzing of every target with atheris.

Usage: ``python tests/fuzz/run.py --minutes 10 [target ...]``. Each target has its share of the time in
a process of its own. It starts from ``corpus/<target>`` and keeps what reaches new code in
``found/<target>``, beside it and out of the repository; what crashes is written to ``crashes/`` and
printed: copy it into the corpus with the repair, and the tests play it for ever.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def fuzz(name: str, seconds: int) -> None:
    """Runs one target until its time is over; exits with 77 when it found something."""
    import atheris

    with atheris.instrument_imports(include=["flyball"]):
        from targets import TARGETS, corpus

    target = TARGETS[name]
    found, crashes = HERE / "found" / name, HERE / "crashes" / name
    for folder in (found, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate((*target.seeds, *corpus(name))):
        (found / f"seed-{number}").write_bytes(seed)
    arguments = [
        sys.argv[0],
        str(found),
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=10",
        f"-artifact_prefix={crashes}/",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, target.read)
    atheris.Fuzz()


def main() -> int:
    """Runs the chosen targets one after the other."""
    if sys.argv[1:2] == ["--one"]:  # before anything is imported: atheris must see it happen
        fuzz(sys.argv[2], int(sys.argv[3]))
        return 0
    from targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("targets", nargs="*", help=f"some of {', '.join(TARGETS)}; all if none")
    options = parser.parse_args()
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    names = options.targets or list(TARGETS)
    seconds = max(int(options.minutes * 60 / len(names)), 1)
    failed = []
    for name in names:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, str(seconds)],
            capture_output=True,
            text=True,
            check=False,
        )
        runs = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(f"{name:20} {runs[0].split()[-1] if runs else '?':>9} inputs", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
    if failed:
        print(f"failed: {', '.join(failed)}; see {HERE / 'crashes'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
