"""Nodes come to a Kafka group and leave it: nothing is lost, and each partition stays in order."""

import asyncio
import contextlib
import itertools
import json

import pytest
from consumer_sources import KafkaSource
from consumer_world import NAME, Slow, publish, world
from kafkaclient import Topic
from structlog.testing import capture_logs
from test_consumer_contract import all_done
from waiting import until

PARTITIONS = 4


@pytest.fixture(scope="module")
def running():
    source = KafkaSource()
    yield source
    source.stop()


@pytest.fixture
def source(running):
    running.topic = Topic(running.server.address(), PARTITIONS)
    return running


def numbers(published):
    """What came into each channel, over all nodes, in the order it was done."""
    found = {}
    for channel, data, _ in published:
        found.setdefault(channel, []).append(json.loads(data)["n"])
    return found


def consumer_of(world):
    return world.consumer.start.__self__


def partitions_of(world):
    """The partitions that a node has; empty while they change hands."""
    share = consumer_of(world)._share
    return set() if share is None or share.over else set(share.partitions)


@contextlib.asynccontextmanager
async def node(tmp_path, source, published, **options):
    async with world(tmp_path, source.entry(**options)) as w:
        w.broker.published = published
        yield w


class Writer:
    """Writes numbers into all partitions, until it is told to end."""

    def __init__(self, source):
        self.source = source
        self.count = 0
        self.ends = asyncio.Event()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_):
        self.ends.set()
        await self.task

    async def run(self):
        while not self.ends.is_set():
            first, self.count = self.count, self.count + 25
            for partition in range(PARTITIONS):
                commands = [publish(n, f"ch{partition}") for n in range(first, self.count)]
                await asyncio.to_thread(self.source.put, *commands, partition=partition)


async def test_partitions_move_and_nothing_is_lost_or_done_twice(source, tmp_path):
    published = []
    async with contextlib.AsyncExitStack() as stack:
        writer = await stack.enter_async_context(Writer(source))
        first = await stack.enter_async_context(node(tmp_path, source, published))
        await until(lambda: len(partitions_of(first)) == PARTITIONS)
        await until(lambda: len(published) > 100)
        async with node(tmp_path, source, published) as second:
            await until(lambda: len(partitions_of(first)) == len(partitions_of(second)) == 2)
            seen = len(published)
            await until(lambda: len(published) > seen + 200)
            assert second.processed
        await until(lambda: len(partitions_of(first)) == PARTITIONS)
        seen = len(published)
        await until(lambda: len(published) > seen + 200)
        writer.ends.set()
        await writer.task
        await all_done(source)
    expected = list(range(writer.count))
    assert numbers(published) == {f"ch{n}": expected for n in range(PARTITIONS)}


async def test_what_is_being_done_is_finished_before_partitions_move(source, tmp_path):
    published = []
    async with node(tmp_path, source, published) as first:
        slow = Slow(first, "slow")
        await asyncio.to_thread(source.put, publish(0, "slow"), publish(1), publish(2))
        await slow.began.wait()
        share = consumer_of(first)._share
        async with node(tmp_path, source, published) as second:
            await until(lambda: share.over)
            assert not partitions_of(second)
            slow.goes.set()
            await all_done(source)
            await until(lambda: partitions_of(first) and partitions_of(second))
    assert numbers(published) == {"slow": [0], "ch": [1, 2]}


async def test_what_takes_too_long_is_left_to_whoever_is_next(source, tmp_path):
    published = []
    async with node(tmp_path, source, published) as first:
        slow = Slow(first, "slow")
        await asyncio.to_thread(source.put, publish(0, "slow"), publish(1))
        await slow.began.wait()
        share = consumer_of(first)._share
        async with node(tmp_path, source, published):
            await until(lambda: share.over)
            # It is never let go: the one that is begun anew is.
            first.broker.publish = slow._publish
            await all_done(source)
    assert numbers(published) == {"slow": [0], "ch": [1]}


async def test_a_partition_that_was_lost_is_not_committed(source, tmp_path):
    """A node whose signs of life do not arrive: its session ends at the broker."""
    published = []
    async with node(tmp_path, source, published) as first:
        slow = Slow(first, "slow")
        await asyncio.to_thread(source.put, publish(0, "slow"))
        await slow.began.wait()
        silence, share = Silence(first), consumer_of(first)._share
        async with node(tmp_path, source, published) as second:
            await until(lambda: len(partitions_of(second)) == PARTITIONS)
            await asyncio.to_thread(source.put, *(publish(n) for n in range(1, 5)))
            await all_done(source)
            done = await asyncio.to_thread(source.topic.committed)
            with capture_logs() as records:
                slow.goes.set()
                await until(lambda: first.processed >= 1)
                silence.ends()
                await until(lambda: share.over)
                await until(lambda: partitions_of(first) and partitions_of(second))
            assert await asyncio.to_thread(source.topic.committed) == done
            assert await asyncio.to_thread(source.left) == 0
    assert numbers(published)["slow"] == [0, 0]
    assert numbers(published)["ch"][:4] == [1, 2, 3, 4]
    assert [r for r in records if r["event"].startswith("offsets are not committed")]


class Silence:
    """Nothing that a node says to the group arrives."""

    def __init__(self, world):
        self._coordinator = coordinator_of(world)
        self._beat = self._coordinator._do_heartbeat
        self._coordinator._do_heartbeat = self._well

    async def _well(self):
        return True

    def ends(self):
        self._coordinator._do_heartbeat = self._beat


def coordinator_of(world):
    return consumer_of(world)._share._client._coordinator


async def test_a_static_member_comes_back_to_its_partitions(source, tmp_path):
    published = []
    names = itertools.cycle(["a", "b"])
    async with node(tmp_path, source, published, instance_id=next(names)) as stays:
        async with node(tmp_path, source, published, instance_id=next(names)) as goes:
            await until(lambda: len(partitions_of(stays)) == len(partitions_of(goes)) == 2)
            had = partitions_of(goes)
        share = consumer_of(stays)._share
        async with node(tmp_path, source, published, instance_id="b") as back:
            await until(lambda: partitions_of(back) == had)
            for place in had:
                await asyncio.to_thread(source.put, publish(place.partition), partition=place[1])
            await until(lambda: back.processed == 2)
        assert consumer_of(stays)._share is share
        assert not share.over


async def test_a_member_without_partitions_waits_for_some(source, tmp_path):
    published = []
    source.topic = await asyncio.to_thread(Topic, source.server.address(), 1)
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(contextlib.AsyncExitStack())
        await first.enter_async_context(node(tmp_path, source, published))
        second = await stack.enter_async_context(node(tmp_path, source, published))
        await asyncio.to_thread(source.put, publish(0))
        await until(lambda: len(published) == 1)
        await first.aclose()
        await asyncio.to_thread(source.put, publish(1))
        await until(lambda: len(published) == 2)
        await until(lambda: second.metrics.processed[NAME] >= 1)
    assert numbers(published) == {"ch": [0, 1]}
