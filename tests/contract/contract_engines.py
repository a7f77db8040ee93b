"""The engines that the contract suite runs over: one factory each."""

import atexit
import time
from abc import ABC, abstractmethod
from functools import cache, partial
from uuid import uuid4

import asyncpg
import redisservers
import tarantoolserver
from natsserver import NatsServer
from postgres import PostgresServer
from redisservers import RedisCluster, RedisServer
from tarantoolserver import TarantoolServer
from waiting import until

from flyball.core.memory import MemoryBroker, MemoryPresenceManager
from flyball.engines.nats import JetStreamOptions, NatsEngine, NatsOptions
from flyball.engines.nats.jetstream import JetStreamBroker, JetStreamPresenceManager
from flyball.engines.postgres import PostgresEngine, StreamOptions, parse_dsn
from flyball.engines.redis import RedisEngine, RedisOptions
from flyball.engines.redisnats import RedisNatsBroker
from flyball.engines.tarantool import TarantoolEngine, TarantoolOptions
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


class ServersUnderTest(EngineUnderTest):
    """An engine that is an address and options; each test has a prefix of its own."""

    ENGINE = OPTIONS = None
    """Its class, and that of its options."""
    pass_time_of = None
    """Makes what servers keep under a prefix older."""

    def __init__(self, servers, addresses, **options):
        self.servers = servers
        self.addresses = addresses
        self.options = options
        self.prefix = f"t{uuid4().hex}"
        self.brokers = []

    def engine(self, **options):
        how = self.OPTIONS(prefix=self.prefix, **self.options, **options)
        return self.ENGINE(*self.addresses, options=how)

    def broker(self, *, history_meta_ttl=3600.0):
        broker = self.engine(history_meta_ttl=history_meta_ttl).broker
        self.brokers.append(broker)
        return broker

    def presence_manager(self, *, presence_ttl=60.0):
        return self.engine(presence_ttl=presence_ttl).presence_manager

    def controller(self):
        return self.engine().controller

    async def pass_time(self, seconds):
        self.pass_time_of(self.servers, self.prefix, seconds)


class RedisUnderTest(ServersUnderTest):
    """A Redis engine."""

    ENGINE, OPTIONS = RedisEngine, RedisOptions
    pass_time_of = staticmethod(redisservers.pass_time)

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


@cache
def nats_server(kind, *, jetstream=False):
    found = NatsServer(kind=kind, jetstream=jetstream)
    atexit.register(found.stop)
    return found


class NatsUnderTest(EngineUnderTest):
    """NATS, at most once; each test has a prefix of its own."""

    def __init__(self, kind):
        self.server = nats_server(kind)
        self.options = NatsOptions(prefix=f"t{uuid4().hex}")
        self.brokers = []

    def broker(self, *, history_meta_ttl=3600.0):
        broker = NatsEngine(self.server.url, options=self.options).broker
        self.brokers.append(broker)
        return broker

    def presence_manager(self, *, presence_ttl=60.0):
        raise NotImplementedError

    def controller(self):
        return NatsEngine(self.server.url, options=self.options).controller

    async def pass_time(self, seconds):
        raise NotImplementedError

    async def settle(self):
        await all_came(self.options.prefix, self.brokers)


class RedisNatsUnderTest(RedisUnderTest):
    """History in Redis, delivery by NATS."""

    def __init__(self):
        found = server("redis")
        super().__init__([found], [found.unix_url], spreads=False)
        self.nats = nats_server("wheel")

    def broker(self, *, history_meta_ttl=3600.0):
        store = self.engine(history_meta_ttl=history_meta_ttl).broker
        link = NatsEngine(self.nats.url).link
        broker = RedisNatsBroker(store, link, NatsOptions(prefix=self.prefix))
        self.brokers.append(broker)
        return broker

    def controller(self):
        return NatsEngine(self.nats.url, options=NatsOptions(prefix=self.prefix)).controller

    async def settle(self):
        await all_came(self.prefix, self.brokers)


class JetStreamUnderTest(EngineUnderTest):
    """NATS with JetStream; each test has a prefix, and a clock, of its own."""

    def __init__(self, **options):
        self.server = nats_server("wheel", jetstream=True)
        self.options = options
        self.prefix = f"t{uuid4().hex}"
        self.later = 0.0
        self.brokers = []
        self.links = []

    def parts(self, **options):
        jetstream = JetStreamOptions(storage="memory", **self.options, **options)
        link = NatsEngine(self.server.url).link
        return link, NatsOptions(prefix=self.prefix, jetstream=jetstream), jetstream, self.time

    def time(self):
        return time.time() + self.later

    def broker(self, *, history_meta_ttl=3600.0):
        broker = JetStreamBroker(*self.parts(history_meta_ttl=history_meta_ttl))
        self.brokers.append(broker)
        return broker

    def presence_manager(self, *, presence_ttl=60.0):
        return JetStreamPresenceManager(*self.parts(presence_ttl=presence_ttl))

    def controller(self):
        return NatsEngine(self.server.url, options=NatsOptions(prefix=self.prefix)).controller

    async def pass_time(self, seconds):
        self.later += seconds
        for broker in self.brokers:
            if broker._events is not None:
                await broker.store.sweep()

    async def settle(self):
        await all_came(self.prefix, self.brokers)

    async def close(self):
        link = self.parts()[0]
        await link.acquire()
        for name in ("history", "once", "presence"):
            await link.request(f"$JS.API.STREAM.DELETE.{self.prefix}_{name}".encode(), b"")
        await link.release()


async def all_came(prefix, brokers):
    """A message behind all others has come back on every link to NATS."""
    links = [b._delivery.link for b in brokers if b._delivery.link._connection]
    for link in links:
        seen = []
        mark = f"{prefix}.mark".encode()
        sub = await link.subscribe(mark, lambda *_, seen=seen: seen.append(1))
        for other in links:
            await other.publish(mark, b"")
        await until(lambda seen=seen: len(seen) == len(links), "marks")
        link.unsubscribe(sub)


@cache
def postgres_server(kind):
    found = PostgresServer(kind)
    atexit.register(found.stop)
    return found


class PostgresUnderTest(EngineUnderTest):
    """PostgreSQL; the tables are emptied for each test."""

    EMPTY = """
    DO $$
    DECLARE found text;
    BEGIN
        SELECT string_agg(relname, ', ') INTO found FROM pg_class
        WHERE relkind IN ('r', 'p') AND NOT relispartition
            AND relname ~ '^cf_.*(stream|_meta|_idempotency|_messages)$';
        IF found IS NOT NULL THEN
            EXECUTE 'TRUNCATE ' || found;
        END IF;
    END $$
    """

    def __init__(self, kind, **options):
        self.server = postgres_server(kind)
        self.options = options
        self.brokers = []
        self.connection = None
        self.server.ask(self.EMPTY)

    def engine(self, **options):
        # Nothing here is about time, and machines may be busy.
        server = parse_dsn(self.server.url, io_timeout=60.0, connect_timeout=60.0)
        return PostgresEngine(server, options=StreamOptions(**self.options, **options))

    def broker(self, *, history_meta_ttl=3600.0):
        broker = self.engine(history_meta_ttl=history_meta_ttl).broker
        self.brokers.append(broker)
        return broker

    def presence_manager(self, *, presence_ttl=60.0):
        raise NotImplementedError

    def controller(self):
        return self.engine().controller

    async def ask(self, sql, *values):
        if self.connection is None:
            self.connection = await asyncpg.connect(self.server.url)
        return await self.connection.fetch(sql, *values)

    async def pass_time(self, seconds):
        later = f"- interval '{seconds} s'"
        for name in ("cf_stream", "cf_binary_stream"):
            await self.ask(
                f"UPDATE {name}_meta SET expires_at = expires_at {later},"
                f" history_until = history_until {later}"
            )
            await self.ask(f"UPDATE {name}_idempotency SET expires_at = expires_at {later}")

    async def settle(self):
        """All of them have read the last row."""
        for broker in self.brokers:
            if broker._events is not None:
                ((last,),) = await self.ask(f"SELECT max(id) FROM {broker.outbox.tables.table}")
                await until(lambda b=broker, n=last: max(b.outbox._cursors) >= (n or 0), "last row")

    async def close(self):
        if self.connection is not None:
            await self.connection.close()


@cache
def tarantool_server(number=0, **cfg):
    """Another server for each number."""
    found = TarantoolServer(cfg)
    atexit.register(found.stop)
    return found


class TarantoolUnderTest(ServersUnderTest):
    """A Tarantool engine."""

    ENGINE, OPTIONS = TarantoolEngine, TarantoolOptions
    pass_time_of = staticmethod(tarantoolserver.pass_time)

    async def settle(self):
        """A message behind all others has come back on every link."""
        for broker in self.brokers:
            for link in broker._servers.shards:
                seen, take = [], broker._servers.on_control
                broker._servers.on_control = seen.append
                await link.subscribe("mark")
                await link.call("spread", "mark", 4, "")
                await until(lambda seen=seen: seen, "marks")
                broker._servers.on_control = take
                link.unsubscribe("mark")


def on_tarantool(shards=1):
    servers = [tarantool_server(number) for number in range(shards)]
    return TarantoolUnderTest(servers, [server.url for server in servers])


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
    "redisnats": RedisNatsUnderTest,
    "jetstream": JetStreamUnderTest,
    "tarantool": on_tarantool,
    "tarantool-shards": partial(on_tarantool, shards=2),
    "nats": partial(NatsUnderTest, "wheel"),
    "nats-2.9": partial(NatsUnderTest, "path"),
    "postgres-15": partial(PostgresUnderTest, "path"),
    "postgres-16": partial(PostgresUnderTest, "16"),
    "postgres-18": partial(PostgresUnderTest, "18", use_notify=True),
    "postgres-binary": partial(PostgresUnderTest, "18", binary_data=True, num_shards=8),
}
"""Name to factory. Where a server is missing its tests are skipped with the reason; in CI they fail."""


LACKING = {
    "nats": {"history", "presence"},
    "nats-2.9": {"history", "presence"},
    "redisnats": {"delta"},
    "postgres-15": {"presence", "bytes"},
    "postgres-16": {"presence", "bytes"},
    "postgres-18": {"presence", "bytes"},
    "postgres-binary": {"presence"},
}
"""What an engine does not have: tests that need it (``pytest.mark.needs``) are not for it."""


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

    def on_publication(
        self, channel, publication, position, *, delta=False, previous=None, lag=None
    ):
        assert lag is None or lag >= 0
        assert publication.time == 0, "no client's matter"
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
