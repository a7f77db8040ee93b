"""Tests of programs that use Flyball: a node, clients in memory, a clock that the test moves.

::

    async def test_late_reader(flyball_node, flyball_clock):
        client = connect(flyball_node)
        ...
        client.drop()
        flyball_clock.advance(60)

No sockets, no sleeps. As a pytest plugin it brings the fixtures ``flyball_clock`` and
``flyball_node``.
"""

from flyball.testing.broker import ControlledBroker
from flyball.testing.client import MemoryFraming, MemoryTransport, TestClient
from flyball.testing.clock import TestClock

__all__ = ["ControlledBroker", "MemoryFraming", "MemoryTransport", "TestClient", "TestClock"]
