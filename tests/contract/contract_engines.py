"""The engines that the contract suite runs over: one factory each."""

import atexit
from abc import ABC, abstractmethod
from functools import cache, partial
from uuid import uuid4

import redisservers
from redisservers import RedisCluster, RedisServer
from waiting import until

from flyball.core.memory import MemoryBroker, MemoryPresenceManager
from flyball.engines.redis import RedisEngine, RedisOptions
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


@cache
def server(kind, *options):
    """A server for all tests of this process."""
    found = RedisServer(kind, *options)
    atexit.register(found.stop)
    return found


@cache
def cluster(kind):
    found = RedisCluster(kind)
    atexit.register(found.stop)
    return found


class RedisUnderTest(EngineUnderTest):
    """A Redis engine; each test has a prefix of its own."""

    def __init__(self, servers, addresses, **options):
        self.servers = servers
        self.addresses = addresses
        self.options = options
        self.prefix = f"t{uuid4().hex}"
        self.brokers = []

    def engine(self, **options):
        how = RedisOptions(prefix=self.prefix, **self.options, **options)
        return RedisEngine(*self.addresses, options=how)

    def broker(self, *, history_meta_ttl=3600.0):
        broker = self.engine(history_meta_ttl=history_meta_ttl).broker
        self.brokers.append(broker)
        return broker

    def presence_manager(self, *, presence_ttl=60.0):
        return self.engine(presence_ttl=presence_ttl).presence_manager

    def controller(self):
        return self.engine().controller

    async def pass_time(self, seconds):
        redisservers.pass_time(self.servers, self.prefix, seconds)

    async def settle(self):
        """A message behind all others has come back on every link."""
        for broker in self.brokers:
            for shard in broker._servers.shards:
                await self._settle(broker, shard)

    async def _settle(self, broker, shard):
        # Every channel of a test is on the one or the other node: each gets a mark.
        marks = [f"{self.prefix}.mark.{{{n}}}".encode() for n in range(8)]
        seen = set()
        broker._servers.listen(f"{self.prefix}.mark".encode(), lambda name, data: seen.add(name))
        for mark in marks:
            await shard.subscribe(mark)
        for mark in marks:
            await shard.command(mark, broker._servers.publish_command, mark, b"")
        await until(lambda: len(seen) == len(marks), "marks")
        for mark in marks:
            shard.unsubscribe(mark)


def on_server(kind, scheme="unix", **options):
    found = server(kind)
    address = found.unix_url if scheme == "unix" else found.url
    return RedisUnderTest([found], [address], **options)


def on_cluster(kind, **options):
    found = cluster(kind)
    return RedisUnderTest(found.nodes, [found.url], **options)


def on_resp2():
    found = server("redis")
    return RedisUnderTest([found], [f"{found.url}?force_resp2=true"])


def on_shards():
    first, second = server("redis"), server("valkey")
    return RedisUnderTest([first, second], [first.unix_url, second.unix_url])


ENGINES = {
    "memory": MemoryEngine,
    "redis": partial(on_server, "redis", "tcp"),
    "redis-lists": partial(on_server, "redis", history_use_lists=True),
    "redis-resp2": on_resp2,
    "redis-users": partial(on_server, "redis", presence_user_mapping=True),
    "redis-sharded-pubsub": partial(on_server, "redis", sharded_pub_sub=True),
    "valkey": partial(on_server, "valkey"),
    "valkey-and-redis-shards": on_shards,
    "redis-cluster": partial(on_cluster, "redis"),
    "valkey-cluster-sharded": partial(on_cluster, "valkey", sharded_pub_sub=True),
}
"""Name to factory. Where a server is missing its tests are skipped with the reason; in CI they fail."""


class Recorder:
    """Broker events, written down in order."""

    def __init__(self):
        self.publications = []
        """``(channel, publication, position, delta, previous)``"""
        self.joins = []
        self.leaves = []
        self.restored = 0
        self.lost = []
        self.control = []

    def on_publication(self, channel, publication, position, *, delta=False, previous=None):
        self.publications.append((channel, publication, position, delta, previous))

    def on_join(self, channel, info):
        self.joins.append((channel, info))

    def on_leave(self, channel, info):
        self.leaves.append((channel, info))

    def on_broker_lost(self, reason):
        self.lost.append(reason)

    def on_control(self, message):
        self.control.append(message)

    def on_broker_restored(self):
        self.restored += 1

    def data(self, channel="ch"):
        """Payloads delivered for ``channel``."""
        return [bytes(p.data) for c, p, *_ in self.publications if c == channel]
