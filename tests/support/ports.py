"""Ports for servers of tests; a server that takes port 0 needs none of it."""

import random
import socket
from functools import partial
from pathlib import Path

KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def free_port():
    """A port that nobody has: see :func:`free_ports`."""
    return free_ports(1)[0]


def free_ports(count):
    """Ports that are free, TCP and UDP, and that no outgoing connection is given meanwhile."""
    linux = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first_given = int(linux.read_text().split()[0]) if linux.exists() else 32_768
    found = []
    while len(found) < count:
        port = random.randrange(10_000, first_given)
        if port not in found and all(map(partial(_is_free, port), KINDS)):
            found.append(port)
    return found


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
