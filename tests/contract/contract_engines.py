"""The engines that the contract suite runs over: one factory each."""

from abc import ABC, abstractmethod

from flyball.core.memory import MemoryBroker, MemoryPresenceManager
from flyball.testing import TestClock, settle


class EngineUnderTest(ABC):
    """One engine for one test: nothing from another test is visible in it.

    Two brokers of one instance stand for two nodes on the same store.
    """

    nodes_share = True
    """Two brokers see each other's publications."""

    @abstractmethod
    def broker(self, *, history_meta_ttl=3600.0):
        """A broker that is not started yet."""

    @abstractmethod
    def presence_manager(self, *, presence_ttl=60.0):
        """A presence manager."""

    @abstractmethod
    async def pass_time(self, seconds):
        """Lets ``seconds`` go by: really, or on a clock of the test."""

    async def settle(self):
        """Returns once everything published has been delivered."""

    async def close(self):
        """Gives back what the engine took."""


class MemoryEngine(EngineUnderTest):
    """Everything in this process."""

    nodes_share = False

    def __init__(self):
        self.clock = TestClock()

    def broker(self, *, history_meta_ttl=3600.0):
        return MemoryBroker(self.clock, history_meta_ttl=history_meta_ttl)

    def presence_manager(self, *, presence_ttl=60.0):
        return MemoryPresenceManager(self.clock, presence_ttl=presence_ttl)

    async def pass_time(self, seconds):
        self.clock.advance(seconds)
        await settle(2)


ENGINES = {"memory": MemoryEngine}
"""Name to factory. An engine whose server is missing must say so by failing, not by skipping."""


class Recorder:
    """Broker events, written down in order."""

    def __init__(self):
        self.publications = []
        """``(channel, publication, position, delta, previous)``"""
        self.joins = []
        self.leaves = []
        self.restored = 0

    def on_publication(self, channel, publication, position, *, delta=False, previous=None):
        self.publications.append((channel, publication, position, delta, previous))

    def on_join(self, channel, info):
        self.joins.append((channel, info))

    def on_leave(self, channel, info):
        self.leaves.append((channel, info))

    def on_broker_restored(self):
        self.restored += 1

    def data(self, channel="ch"):
        """Payloads delivered for ``channel``."""
        return [bytes(p.data) for c, p, *_ in self.publications if c == channel]
