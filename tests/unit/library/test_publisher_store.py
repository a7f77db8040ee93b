"""Publishing into the store that nodes share: no node, no server, in between."""

import asyncio
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from contract_engines import cluster, nats_server, server
from natsserver import NatsServer
from ports import free_port
from redisservers import RedisServer
from waiting import until

import flyball
from flyball.engines.nats import JetStreamOptions, NatsEngine, NatsOptions
from flyball.engines.nats import options as nats_options
from flyball.engines.redis import RedisEngine, RedisOptions
from flyball.engines.redis import options as redis_options
from flyball.publisher import engine as ways

KEPT = {"history_size": 10, "history_ttl": 60}


class Threaded:
    """The sync publisher, as an async one: both do the same."""

    def __init__(self, *arguments, **options):
        self.inner = flyball.Publisher(*arguments, **options)

    async def publish(self, *arguments, **fields):
        return await asyncio.to_thread(self.inner.publish, *arguments, **fields)

    async def broadcast(self, *arguments, **fields):
        return await asyncio.to_thread(self.inner.broadcast, *arguments, **fields)

    async def close(self):
        await asyncio.to_thread(self.inner.close)


@pytest.fixture(params=["sync", "async"])
async def make(request):
    made = []

    def publisher(where, **options):
        kind = Threaded if request.param == "sync" else flyball.AsyncPublisher
        made.append(kind(where, **options))
        return made[-1]

    yield publisher
    for each in made:
        await each.close()


def redis(**options):
    found, how = server("redis"), RedisOptions(prefix=uuid4().hex, **options)
    return lambda: RedisEngine(found.url, options=how)


def redis_cluster(**options):
    found, how = cluster("redis"), RedisOptions(prefix=uuid4().hex, **options)
    return lambda: RedisEngine(found.url, options=how)


def nats(**options):
    found, how = nats_server("wheel", jetstream=True), NatsOptions(prefix=uuid4().hex, **options)
    return lambda: NatsEngine(found.url, options=how)


STORES = {
    "redis": redis,
    "redis-lists": lambda: redis(history_use_lists=True),
    "cluster": redis_cluster,
    "cluster-sharded": lambda: redis_cluster(sharded_pub_sub=True),
    "jetstream": lambda: nats(jetstream=JetStreamOptions(storage="memory")),
}


@pytest.fixture(params=STORES)
def store(request):
    """Makes engines of one store, which nobody else uses."""
    return STORES[request.param]()


async def test_subscribers_of_nodes_get_it(store, make):
    publisher = make(store())
    async with flyball.Node(clients=False, engine=store()) as node:
        async with node.subscribe("news") as reader:
            first = await publisher.publish("news", {"text": "é"}, tags={"a": "b"}, **KEPT)
            assert (first.offset, len(first.epoch)) == (1, 8)
            assert (await publisher.publish("news", b"\xff", delta=True, **KEPT)).offset == 2
            assert await publisher.publish("news", "plain") == flyball.PublishResult()
            seen = [await anext(reader) for _ in range(3)]
        assert [bytes(p.data) for p in seen] == ['{"text":"é"}'.encode(), b"\xff", b'"plain"']
        assert (seen[0].tags, seen[1].offset) == ({"a": "b"}, 2)
        kept = await node.history("news")
        assert [p.offset for p in kept.publications] == [1, 2]
        since = flyball.StreamPosition(1, first.epoch)
        async with node.subscribe("news", since=since) as reader:
            assert (await anext(reader)).offset == 2


async def test_keys_versions_and_broadcasts(store, make):
    publisher = make(store())
    for repeated in (False, True):
        fields = {**KEPT, "idempotency_key": "once", "idempotency_ttl": 60}
        results = await publisher.broadcast(["a", "b"], 1, **fields)
        assert [r.offset for r in results] == [1, 1]
        assert [bool(r.suppressed) for r in results] == [repeated] * 2
    assert (await publisher.publish("a", 1, version=5, **KEPT)).offset == 2
    assert (await publisher.publish("a", 1, version=5, **KEPT)).suppressed == "version"
    many = [f"many:{n}" for n in range(ways.AT_ONCE + 1)]
    assert [r.offset for r in await publisher.broadcast(many, 1, **KEPT)] == [1] * len(many)


async def test_refusals(make):
    publisher = make(server("redis").unix_url)
    for call in (
        publisher.publish("", 1),
        publisher.broadcast([], 1),
        publisher.broadcast([""], 1),
    ):
        with pytest.raises(flyball.Error, match="107 bad request"):
            await call
    with pytest.raises(TypeError, match="histroy_size"):
        await publisher.publish("news", 1, histroy_size=1)
    await publisher.publish(uuid4().hex, 1)


async def test_nats_at_most_once(make):
    prefix = uuid4().hex

    def engine():
        return NatsEngine(nats_server("wheel").url, options=NatsOptions(prefix=prefix))

    publisher = make(engine())
    async with flyball.Node(clients=False, engine=engine()) as node:
        # Without positions there is nothing to recover from: a reader of the hub's would do.
        seen = asyncio.Queue()
        node.broker._delivery._events.on_publication = lambda *a, **_: seen.put_nowait(a)
        await node.broker.subscribe("news")
        await publisher.publish("news", [1])
        async with asyncio.timeout(30):
            channel, publication, *_ = await seen.get()
    assert (channel, bytes(publication.data)) == ("news", b"[1]")
    with pytest.raises(flyball.Error, match="107"):
        await make(
            NatsEngine(nats_server("wheel").url, options=NatsOptions(allow_wildcards=True))
        ).publish("news.*", 1)


async def test_only_commands_are_sent(make):
    """No connection for subscriptions, and none before it is used."""
    own = RedisServer()
    try:
        publisher = make(own.unix_url)
        before = own.ask("INFO", "clients")
        assert b"connected_clients:1\r" in before
        await asyncio.gather(*(publisher.publish("news", n, **KEPT) for n in range(50)))
        clients = own.ask("CLIENT", "LIST").decode().splitlines()
        assert len(clients) == 2  # and the one that asks
        assert all(" sub=0 " in line for line in clients)
        await publisher.close()
        await until(lambda: len(own.ask("CLIENT", "LIST").splitlines()) == 1, "end")
        await publisher.publish("news", 1)  # opens another
    finally:
        own.stop()


async def test_a_server_that_is_away_and_comes_back(make):
    port = free_port()
    publisher = make(f"redis://127.0.0.1:{port}", timeout=30)
    for _ in range(2):
        with pytest.raises(
            flyball.PublishFailed, match=f"cannot connect to Redis at 127.0.0.1:{port}"
        ):
            await publisher.publish("news", 1)
    own = RedisServer(port=port)
    try:
        assert (await publisher.publish("news", 1, **KEPT)).offset == 1
        own.kill()
        with pytest.raises(flyball.PublishFailed, match=f"redis://127.0.0.1:{port}: "):
            await publisher.publish("news", 1)
        own.start()

        async def published():
            while True:
                try:
                    return await publisher.publish("news", 1, **KEPT)
                except flyball.PublishFailed:
                    await asyncio.sleep(0.01)

        assert (await published()).offset == 1  # it keeps nothing on disk
    finally:
        own.stop()


async def test_a_server_that_does_not_answer(make):
    own = NatsServer(kind="wheel")
    try:
        publisher = make(own.url, timeout=0.2)
        await publisher.publish("news", 1)
        own.pause()
        with pytest.raises(flyball.PublishFailed, match=r"nats://.* did not answer within 0\.2 s"):
            await publisher.publish("news", 1)
        own.resume()
    finally:
        own.stop()


async def test_an_engine_that_a_node_uses(store, make):
    engine = store()
    async with flyball.Node(clients=False, engine=engine) as node:
        with pytest.raises(flyball.PublishFailed, match="a publisher needs an engine of its own"):
            await make(engine).publish("news", 1)
        assert (await node.publish("news", 1, **KEPT)).offset == 1


def test_threads_share_one():
    url = server("redis").unix_url
    channel = uuid4().hex
    with flyball.Publisher(url) as publisher, ThreadPoolExecutor(8) as pool:
        offsets = pool.map(lambda n: publisher.publish(channel, n, **KEPT).offset, range(200))
        assert sorted(offsets) == list(range(1, 201))
    assert "flyball publisher" not in {thread.name for thread in threading.enumerate()}


def test_closed_while_something_is_under_way():
    own = NatsServer(kind="wheel")
    try:
        publisher = flyball.Publisher(own.url)
        publisher.publish("news", 1)
        own.pause()
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(publisher.publish, "news", 1)
            while not publisher._way._way._broker._delivery.link._connection.waiting:
                pass
            publisher.close()
            with pytest.raises(flyball.PublishFailed):
                future.result()
    finally:
        own.resume()
        own.stop()


@pytest.mark.filterwarnings("ignore:unclosed")  # loops that end take connections along
def test_every_event_loop_in_turn():
    publisher = flyball.AsyncPublisher(server("redis").unix_url)
    channel = uuid4().hex

    async def publish():
        return (await publisher.publish(channel, 1, **KEPT)).offset

    assert [asyncio.run(publish()) for _ in range(3)] == [1, 2, 3]

    async def elsewhere():
        await publish()
        with pytest.raises(flyball.WrongLoopError, match="belongs to the event loop"):
            await asyncio.to_thread(asyncio.run, publish())
        await publisher.close()

    asyncio.run(elsewhere())
    gc.collect()


SCRIPT = """
import os, sys, threading
import flyball

publisher = flyball.Publisher(sys.argv[1])
kept = {"history_size": 10, "history_ttl": 60}
first = publisher.publish(sys.argv[2], "parent", **kept).offset
child = os.fork()
if not child:
    offset = publisher.publish(sys.argv[2], "child", **kept).offset
    sys.exit(offset)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(first, status, publisher.publish(sys.argv[2], "parent", **kept).offset)
"""


@pytest.mark.parametrize("kind", ["redis", "nats"])
def test_a_program_that_forks_and_closes_nothing(kind):
    if kind == "redis":
        url, told = server("redis").url, "1 2 3"
    else:
        url, told = nats_server("wheel").url, "0 0 0"
    # Python 3.12 and newer warn of any fork with threads: whoever forks like that knows.
    command = [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore:This process"]
    done = subprocess.run(
        [*command, "-c", SCRIPT, url, uuid4().hex],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == (told, "")


def test_an_engine_given_before_a_fork():
    url = server("redis").url
    publisher = flyball.Publisher(RedisEngine(url))
    publisher.publish("news", 1)
    # As in a forked process.
    publisher._way.forked()
    with pytest.raises(flyball.PublishFailed, match="since before a fork"):
        publisher.publish("news", 1)
    publisher.close()
    thread, way = publisher._way._inherited
    assert way._broker.problem == "", "it is left alone"
    assert way._broker._events is not None
    thread.end()


def test_all_schemes_are_known():
    assert ways.REDIS == redis_options.SCHEMES
    assert ways.NATS == nats_options.SCHEMES
    assert all(ways.find_store(f"{s}://x", "") for s in (*ways.REDIS, *ways.NATS))


def test_without_the_extra(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("flyball.engines.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(flyball.ConfigError, match=r'pip install "flyball\[redis\]"'):
        flyball.Publisher("redis://localhost")
