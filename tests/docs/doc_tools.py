"""What tests of the documentation share."""

import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
WAIT = 20.0
"""Seconds for something expected to happen."""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_for(condition, what):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in {WAIT:g} s"
        time.sleep(0.02)


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def read_line(process):
    """The next line of a program's output, awaited for a bounded time."""
    ready, _, _ = select.select([process.stdout], [], [], WAIT)
    assert ready, "no output in time"
    return process.stdout.readline()


def stop(process, number=signal.SIGTERM):
    process.send_signal(number)
    try:
        return process.wait(WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
