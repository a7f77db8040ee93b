"""The broker, or the server, is killed or stands still while records are done."""

import asyncio
import contextlib
import json
import socket
import urllib.request

import pytest
from consumer_sources import KafkaSource
from consumer_world import Slow, publish, world
from kafkaclient import Topic
from kafkaserver import KafkaCluster
from ports import free_port
from processes import FLYBALL, Program
from redisservers import RedisServer
from structlog.testing import capture_logs
from test_consumer_contract import all_done
from waiting import until, wait_for


@pytest.fixture(scope="module")
def running():
    source = KafkaSource()
    yield source
    source.stop()


@pytest.fixture
def source(running):
    running.clear()
    return running


def firsts(numbers):
    """Each number where it came first."""
    return list(dict.fromkeys(numbers))


async def test_a_broker_that_is_killed_in_the_middle(source, tmp_path):
    async with world(tmp_path, source.entry(max_poll_records=50)) as w:
        await asyncio.to_thread(source.put, *(publish(n) for n in range(3000)))
        await w.seen("ch", 100)
        await asyncio.to_thread(source.kill)
        await until(lambda: w.errors >= 1)
        await asyncio.to_thread(source.start)
        await asyncio.to_thread(source.put, *(publish(n) for n in range(3000, 3100)))
        await until(lambda: 3099 in w.broker.numbers("ch"))
        assert firsts(w.broker.numbers("ch")) == list(range(3100))
        await all_done(source)


async def test_both_are_away_and_a_record_is_in_work(source, tmp_path):
    """The engine fails, then the broker too; both come back."""
    with capture_logs() as records:
        async with world(tmp_path, source.entry()) as w:
            w.broker.down = True
            await asyncio.to_thread(source.put, *(publish(n) for n in range(30)))
            await until(lambda: w.broker.failures >= 2)
            await asyncio.to_thread(source.kill)
            await until(lambda: w.errors >= w.broker.failures + 2)
            w.broker.down = False
            await w.seen("ch", 30)
            await asyncio.to_thread(source.start)
            await all_done(source)
            assert firsts(w.broker.numbers("ch")) == list(range(30))
            await asyncio.to_thread(source.put, publish(30))
            await until(lambda: 30 in w.broker.numbers("ch"))
    about_kafka = [r["event"] for r in records if r.get("loop") == "group"]
    assert about_kafka[:2] == [
        "consumer does not get on, and tries again",
        "consumer works again",
    ]


async def test_a_broker_that_stands_still_is_told(source, tmp_path):
    with capture_logs() as records:
        async with world(tmp_path, source.entry(dial_timeout="300ms")) as w:
            await asyncio.to_thread(source.put, publish(0))
            await w.seen("ch", 1)
            source.server.pause()
            try:
                await until(lambda: w.errors >= 1)
            finally:
                source.server.resume()
            await asyncio.to_thread(source.put, publish(1))
            assert await w.seen("ch", 2) == [0, 1]
            await until(lambda: any(r["event"] == "consumer works again" for r in records))
    (told, *_) = [r for r in records if r["log_level"] == "error"]
    assert told["reason"].startswith("no answer about topic-")


async def test_a_server_stops_while_its_broker_says_nothing(source, tmp_path):
    """It does not know whether the last commit has arrived, and says so."""
    async with world(tmp_path, source.entry()) as w:
        slow = Slow(w, "slow")
        await asyncio.to_thread(source.put, publish(0, "slow"), publish(1))
        await slow.began.wait()
        source.server.pause()
        try:
            slow.goes.set()
            await w.seen("ch", 1)
            with capture_logs() as records:
                await w.consumer.stop()
        finally:
            source.server.resume()
    told = {r["event"]: r for r in records}
    assert "loop cancelled: it did not end in time" not in told
    (reason,) = [r["reason"] for event, r in told.items() if event.startswith("offsets are not")]
    assert reason == "no answer within 3 s"
    async with world(tmp_path, source.entry()) as w:
        await asyncio.to_thread(source.put, publish(2))
        await until(lambda: 2 in w.broker.numbers("ch"))
        await all_done(source)


async def test_a_port_that_somebody_else_has_now(source, tmp_path):
    """Connections are taken, and nothing is ever answered."""
    async with world(tmp_path, source.entry(dial_timeout="200ms")) as w:
        await asyncio.to_thread(source.put, publish(0))
        await w.seen("ch", 1)
        await asyncio.to_thread(source.kill)
        port = source.server.ports["PLAINTEXT"]
        with socket.create_server(("127.0.0.1", port), backlog=1000):
            before = w.errors
            await until(lambda: w.errors >= before + 10)
        await asyncio.to_thread(source.start)
        await asyncio.to_thread(source.put, publish(1))
        await w.seen("ch", 2)
        await asyncio.to_thread(source.kill)
        with socket.create_server(("127.0.0.1", port), backlog=1000):
            await w.consumer.stop()
        await asyncio.to_thread(source.start)


async def test_brokers_of_a_cluster_go_one_after_the_other(tmp_path):
    """The partitions, and what is known of the group, are with the others then."""
    cluster = await asyncio.to_thread(KafkaCluster)
    try:
        topic = await asyncio.to_thread(Topic, cluster.addresses(), 2, replicas=3)
        section = {"brokers": cluster.addresses(), "topics": [topic.name]}
        entry = {"type": "kafka", "kafka": {**section, "consumer_group": topic.group}}
        async with world(tmp_path, entry) as w:
            for step, node in enumerate(cluster.nodes):
                await put_into_both(topic, range(step * 200, step * 200 + 100))
                await until(lambda: w.processed >= 1)
                await asyncio.to_thread(node.kill)
                last = step * 200 + 199
                await put_into_both(topic, range(step * 200 + 100, last + 1))
                await until(lambda n=last: all(n in w.broker.numbers(c) for c in ("ch0", "ch1")))
                await asyncio.to_thread(node.start)
            await until_committed(topic)
        for channel in ("ch0", "ch1"):
            assert firsts(w.broker.numbers(channel)) == list(range(600))
    finally:
        await asyncio.to_thread(cluster.stop)


async def put_into_both(topic, numbers):
    """Writes numbers into both partitions, each with a channel of its own; it has to be kept twice."""
    for partition in (0, 1):
        values = [
            json.dumps({"method": m, "payload": p}).encode()
            for m, p in (publish(n, f"ch{partition}") for n in numbers)
        ]
        await asyncio.to_thread(topic.put, *values, partition=partition, enable_idempotence=True)


async def until_committed(topic):
    """Waits until nothing is left."""
    async with asyncio.timeout(60):
        while await asyncio.to_thread(topic.left):
            pass


class Server:
    """Flyball as a process, with a Redis that keeps what was published."""

    def __init__(self, tmp_path, source, redis):
        self.port = free_port()
        self.file = tmp_path / "config.json"
        config = {
            "http_api": {"insecure": True},
            "engine": {"type": "redis", "redis": {"address": redis.url}},
            "channel": {"without_namespace": {"history_size": 100000, "history_ttl": "300s"}},
            "consumers": [{"name": "kafka", "enabled": True, **source.entry()}],
        }
        self.file.write_text(json.dumps(config))

    def start(self):
        return Program(str(FLYBALL), "-c", str(self.file), "--http_server.port", str(self.port))

    def numbers(self, channel="ch"):
        """The numbers in the history of a channel; none while the server is away."""
        body = json.dumps({"channel": channel, "limit": -1}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/history", body)
        with contextlib.suppress(OSError):
            result = json.loads(urllib.request.urlopen(request).read())["result"]
            return [p["data"]["n"] for p in result["publications"]]
        return []


def test_a_server_that_is_killed_in_the_middle(source, tmp_path):
    count = 1500
    commands = [publish(n, idempotency_key=str(n)) for n in range(count)]
    with contextlib.ExitStack() as stack:
        redis = RedisServer()
        stack.callback(redis.stop)
        server = Server(tmp_path, source, redis)
        with server.start():
            wait_for(lambda: accepts_groups(source), "the group")
            source.put(*commands)
            wait_for(server.numbers, "the first publications")
        # The context ends it with SIGKILL.
        stack.enter_context(server.start())
        wait_for(lambda: len(server.numbers()) >= count, "all publications")
        assert server.numbers() == list(range(count)), "keys make of twice once"
        wait_for(lambda: source.left() == 0, "the last commit")


def accepts_groups(source):
    """Whether somebody is a member of the group and has done something."""
    source.put(publish(0, "first"))
    return source.left() == 0
