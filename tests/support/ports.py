"""Ports for servers of tests."""

import socket


def free_port():
    """A TCP port of 127.0.0.1 that nobody has; 0 will not do where two ports must differ."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
