"""Every way to reach Redis, with nodes under audit while it changes."""

import asyncio
import ssl
import tempfile
from functools import partial

import pytest
from contract_engines import Recorder
from fault_world import ROUNDS, Nodes, Toxic, audited, progress
from redisservers import RedisCluster, RedisServer, Sentinel, certificate, synced
from waiting import until, wait_for

from flyball.core.errors import ConfigError
from flyball.core.types import ClientInfo, PublishOptions, payload
from flyball.engines.redis import Endpoint, Login, RedisEngine, RedisOptions, ShardOptions
from flyball.engines.redis.cluster import slot_of


async def test_sentinels_name_another_master():
    servers = [RedisServer("redis")]
    servers.append(RedisServer("redis", "--replicaof", "127.0.0.1", str(servers[0].port)))
    sentinel = Sentinel(servers[0])
    address = f"redis+sentinel://127.0.0.1:{sentinel.port}?sentinel_master_name=mymaster"
    nodes = None
    try:
        await asyncio.to_thread(wait_for, lambda: synced(servers[1]), "replica")
        ready = lambda: len(sentinel.ask("SENTINEL", "REPLICAS", "mymaster")) == 1  # noqa: E731
        await asyncio.to_thread(wait_for, ready, "replica at the Sentinel")
        nodes = await asyncio.to_thread(Nodes, [address])
        async with audited(nodes) as auditor:
            old, new = servers
            for _ in range(ROUNDS):
                old.kill()
                await asyncio.to_thread(
                    wait_for, lambda new=new: new.ask("ROLE")[0] == b"master", "failover"
                )
                await nodes.all_health(200)
                await progress(auditor)
                await asyncio.to_thread(old.start)
                await asyncio.to_thread(
                    wait_for,
                    lambda old=old: old.ask("ROLE")[0] == b"slave" and synced(old),
                    "old master as replica",
                )
                await asyncio.sleep(0)
                old, new = new, old
    finally:
        if nodes is not None:
            nodes.stop()
        sentinel.stop()
        for server in servers:
            server.stop()


async def test_a_replica_that_lags_takes_over():
    """The last publications are gone, their offsets given anew: nobody may miss that."""
    master = RedisServer("redis")
    behind = await Toxic(master.port).start()
    front = await Toxic(master.port).start()
    replica = RedisServer("redis")
    nodes = None
    try:
        nodes = await asyncio.to_thread(Nodes, [f"redis://127.0.0.1:{front.port}"])
        async with audited(nodes) as auditor:
            for _ in range(ROUNDS):
                behind.target = master.port
                await asyncio.to_thread(replica.ask, "REPLICAOF", "127.0.0.1", behind.port)
                while not await asyncio.to_thread(synced, replica):
                    await asyncio.sleep(0.02)
                await progress(auditor)
                behind.blocked.clear()
                await progress(auditor, 30)
                await asyncio.to_thread(replica.ask, "REPLICAOF", "NO", "ONE")
                behind.cut()
                behind.blocked.set()
                front.target = replica.port
                front.cut()
                await asyncio.to_thread(master.ask, "FLUSHALL")
                master, replica = replica, master
                await progress(auditor)
    finally:
        if nodes is not None:
            nodes.stop()
        await behind.stop()
        await front.stop()
        master.stop()
        replica.stop()


@pytest.mark.parametrize(
    ("kind", "sharded"), [("redis", False), ("valkey", False), ("redis", True), ("valkey", True)]
)
async def test_slots_of_a_cluster_move(kind, sharded):
    cluster = await asyncio.to_thread(RedisCluster, kind)
    nodes = None
    try:
        nodes = await asyncio.to_thread(partial(Nodes, [cluster.url], sharded_pub_sub=sharded))
        async with audited(nodes) as auditor:
            for number in range(ROUNDS):
                for channel in (b"audit:1", b"audit:2"):
                    slot = slot_of(channel)
                    source = next(n for n in cluster.nodes if holds(n, slot))
                    target = cluster.nodes[(cluster.nodes.index(source) + 1 + number % 2) % 3]
                    await asyncio.to_thread(cluster.move, slot, source, target)
                    await progress(auditor)
    finally:
        if nodes is not None:
            nodes.stop()
        cluster.stop()


def holds(node, slot):
    mine = node.ask("CLUSTER", "MYID")
    return any(
        first <= slot <= last and master[2] == mine for first, last, master, *_ in slots(node)
    )


def slots(node):
    return node.ask("CLUSTER", "SLOTS")


async def test_sharded_subscriptions_follow_their_slot():
    cluster = await asyncio.to_thread(RedisCluster, "valkey")
    engine = RedisEngine(cluster.url, options=RedisOptions(sharded_pub_sub=True))
    events = Recorder()
    broker = engine.broker
    try:
        await broker.start(events)
        await broker.subscribe("ch")
        slot = slot_of(b"ch")
        source = next(n for n in cluster.nodes if holds(n, slot))
        target = next(n for n in cluster.nodes if n is not source)
        await asyncio.to_thread(cluster.move, slot, source, target)
        await until(lambda: events.restored > 0, "positions are to be checked")
        await broker.publish("ch", payload(b"1"), PublishOptions())
        await until(lambda: b"1" in events.data())
    finally:
        await broker.close()
        cluster.stop()


async def test_one_of_two_shards_is_killed():
    """Channels of the other go on; all is told, and comes back."""
    shards = [await asyncio.to_thread(RedisServer, kind) for kind in ("redis", "valkey")]
    nodes = None
    try:
        nodes = await asyncio.to_thread(Nodes, [shard.url for shard in shards])
        channels = tuple(f"audit:{number}" for number in range(1, 9))
        async with audited(nodes, channels=channels) as auditor:
            assert all(keeps_some(shard, channels) for shard in shards)
            for number in range(ROUNDS):
                gone = shards[number % 2]
                gone.kill()
                await nodes.all_health(503)
                await progress(auditor)
                await asyncio.to_thread(gone.start)
                await nodes.all_health(200)
                await progress(auditor)
    finally:
        if nodes is not None:
            nodes.stop()
        for shard in shards:
            shard.stop()


def keeps_some(shard, channels):
    """Whether streams of some of the channels, but not of all, are on a shard."""
    found = {c for c in channels if shard.ask("EXISTS", f"centrifugo.stream.{c}")}
    return 0 < len(found) < len(channels)


async def test_a_master_of_a_cluster_fails():
    """What is on other masters goes on, health tells, and commands for it are refused in time."""
    cluster = await asyncio.to_thread(RedisCluster, "redis")
    for node in cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    shard = ShardOptions(seeds=(Endpoint(port=cluster.nodes[0].port),), io_timeout=0.5)
    broker = RedisEngine(shard).broker
    events = Recorder()
    try:
        await broker.start(events)
        slot = slot_of(b"ch")
        gone = next(n for n in cluster.nodes if holds(n, slot))
        gone.kill()
        await until(lambda: broker.problem, "problem")
        with pytest.raises(Exception, match="100 internal server error"):
            await broker.publish("ch", payload(b"1"), PublishOptions(history_size=1, history_ttl=9))
        first, last = cluster.slots(cluster.nodes.index(gone))
        other = next(c for c in "abcd" if not first <= slot_of(c.encode()) <= last)
        await until(lambda: events.lost)
        await broker.publish(other, payload(b"1"), PublishOptions(history_size=1, history_ttl=9))
        await asyncio.to_thread(gone.start)
        await until(lambda: not broker.problem, "recovery")
        await until(lambda: events.restored > 0, "the streams were looked at")
    finally:
        await broker.close()
        cluster.stop()


@pytest.fixture
def secured():
    with tempfile.TemporaryDirectory(prefix="flyball-tls-") as folder:
        names = certificate(folder)
        server = RedisServer(
            "redis",
            *("--tls-cert-file", names["server"], "--tls-key-file", names["server_key"]),
            *("--tls-ca-cert-file", names["ca"], "--tls-auth-clients", "yes"),
            tls=True,
        )
        server.ask(
            *("ACL", "SETUSER", "ann", "on", ">secret", "~centrifugo*", "&centrifugo*"),
            *("+@all", "-@dangerous", "+info"),
        )
        server.ask("CONFIG", "SET", "requirepass", "other")
        yield server, names
        server.stop()


def tls(names, *, client=True):
    context = ssl.create_default_context(cafile=names["ca"])
    if client:
        context.load_cert_chain(names["client"], names["client_key"])
    return context


async def works(engine):
    """Everything that an engine does, once."""
    events = Recorder()
    broker, presence, controller = engine.broker, engine.presence_manager, engine.controller
    await broker.start(events)
    await presence.start()
    await controller.start(events, "n")
    await broker.subscribe("ch")
    kept = PublishOptions(history_size=2, history_ttl=60)
    await broker.publish("ch", payload(b"1"), kept)
    await presence.add_presence("ch", "c", ClientInfo("u", "c"))
    assert set(await presence.presence("ch")) == {"c"}
    await controller.publish_control(b"x")
    await until(lambda: events.data() == [b"1"])
    await until(lambda: events.control == [b"x"])
    for part in (controller, presence, broker):
        await part.close()


async def test_tls_with_client_certificates_and_acl(secured):
    server, names = secured
    for resp2 in (False, True):
        login = Login(user="ann", password="secret", tls=tls(names), force_resp2=resp2)
        await works(RedisEngine(ShardOptions(seeds=(Endpoint(port=server.port),), login=login)))


@pytest.mark.parametrize(
    ("client", "password", "trusted", "complaint"),
    [
        (False, "secret", True, "cannot connect to Redis"),
        (True, "wrong", True, "WRONGPASS"),
        (True, "secret", False, "certificate verify failed"),
    ],
)
async def test_who_is_not_let_in_does_not_start(secured, client, password, trusted, complaint):
    server, names = secured
    context = tls(names, client=client) if trusted else ssl.create_default_context()
    login = Login(user="ann", password=password, tls=context)
    engine = RedisEngine(ShardOptions(seeds=(Endpoint(port=server.port),), login=login))
    with pytest.raises(ConfigError, match=complaint):
        await engine.broker.start(Recorder())


async def test_what_acl_forbids_is_an_error(secured):
    server, names = secured
    server_login = Login(user="ann", password="secret", tls=tls(names))
    shard = ShardOptions(seeds=(Endpoint(port=server.port),), login=server_login)
    broker = RedisEngine(shard, options=RedisOptions(prefix="other")).broker
    await broker.start(Recorder())
    with pytest.raises(Exception, match="NOPERM"):
        await broker.subscribe("ch")
    with pytest.raises(Exception, match="NOPERM"):
        await broker.publish("ch", payload(b"1"), PublishOptions(history_size=2, history_ttl=60))
    await broker.close()
