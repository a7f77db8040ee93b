"""Ports for servers of tests; a server that takes port 0 needs none of it."""

import os
import random
import socket
from functools import partial
from pathlib import Path

KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def free_port():
    """A port that nobody has: see :func:`free_ports`."""
    return free_ports(1)[0]


def free_ports(count):
    """Ports that are free, TCP and UDP, and that no outgoing connection is given meanwhile.

    Processes that run tests beside each other have ports of their own, and none is given twice in a
    row: between this and the server's start nobody else takes them.
    """
    found = []
    while len(found) < count:
        if not _ports:
            _ports.extend(random.sample(*_own()))
        port = _ports.pop()
        if all(map(partial(_is_free, port), KINDS)):
            found.append(port)
    return found


_ports = []
"""Those that were not given yet."""


def _own():
    """The ports of this process, and how many there are."""
    linux = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first_given = int(linux.read_text().split()[0]) if linux.exists() else 32_768
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = range(10_000 + number, first_given, processes)
    return own, len(own)


def _is_free(port, kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def accepts(port):
    """Whether somebody takes connections to a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
