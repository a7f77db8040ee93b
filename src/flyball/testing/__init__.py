"""Tests of programs that use Flyball: no sockets, no sleeps.

A node, clients in memory, a clock that the test moves, and a broker that does things when
the test says so::

    async def test_returns_after_an_hour(flyball_node, flyball_clock, flyball_client):
        flyball_node.on_connecting(lambda event: flyball.Credentials(user="ann"))
        flyball_node.on_subscribe(lambda event: flyball.SubscribeOptions(recoverable=True))
        await flyball_client.connect()
        await flyball_client.subscribe("news")
        flyball_client.drop()
        flyball_clock.advance(3600)
        await flyball_node.publish("news", "late", history_size=10, history_ttl=60)
        flyball_client.reopen()
        await flyball_client.connect()
        result = await flyball_client.subscribe("news", recover=True)
        assert [bytes(p.data) for p in result.publications] == [b'"late"']

``pip install flyball[testing]`` is all it needs. Fixtures: ``flyball_clock``, ``flyball_broker``,
``flyball_node``, ``flyball_client``, ``flyball_connect`` (makes several clients) and ``flyball_live``
(a node on a real port, for SDKs, browsers and sync tests).
"""

from flyball.testing.broker import ControlledBroker, HeldCall
from flyball.testing.client import NoReplyError, TestClient
from flyball.testing.clock import TestClock, settle
from flyball.testing.cluster import ControlBus
from flyball.testing.live import LiveServer
from flyball.testing.transport import MemoryFraming, MemoryTransport, memory_framing

__all__ = [
    "ControlBus",
    "ControlledBroker",
    "HeldCall",
    "LiveServer",
    "MemoryFraming",
    "MemoryTransport",
    "NoReplyError",
    "TestClient",
    "TestClock",
    "memory_framing",
    "settle",
]
