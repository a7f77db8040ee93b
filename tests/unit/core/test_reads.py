"""Many subscribers of a stream come back at once: how often it is read, and what each one gets."""

import asyncio

import pytest
from core_harness import Wire

import flyball
from flyball.core.handlers import Handlers
from flyball.core.metrics import Metrics
from flyball.core.options import NodeOptions
from flyball.core.reads import SharedReads, part_of, widest
from flyball.core.runtime import Runtime
from flyball.core.types import (
    HistoryFilter,
    HistoryResult,
    Publication,
    PublishOptions,
    StreamPosition,
    SubscribeOptions,
)
from flyball.engines import MemoryBroker
from flyball.testing.clock import TestClock, settle

KEPT = PublishOptions(history_size=1000, history_ttl=60)


def since(offset, limit=10):
    return HistoryFilter(limit, StreamPosition(offset, "e"))


class Store:
    """A stream of ``top`` publications, read when the test lets it."""

    def __init__(self, top=20):
        self.top = top
        self.asked = []
        self.gate = asyncio.Event()
        self.error = None

    async def history(self, channel, query):
        self.asked.append(query)
        found = self.read(query)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return found

    def read(self, query):
        offsets = range(1, self.top + 1)
        if query.reverse:
            offsets = offsets[::-1]
        elif query.since is not None:
            offsets = [o for o in offsets if o > query.since.offset]
        if query.limit >= 0:
            offsets = offsets[: query.limit]
        return HistoryResult(
            [Publication(data=flyball.Raw(b"1"), offset=o) for o in offsets],
            StreamPosition(self.top, "e"),
        )


@pytest.fixture
async def store():
    return Store()


@pytest.fixture
async def reads(store):
    runtime = Runtime(NodeOptions(), TestClock(), Metrics(), Handlers())
    yield SharedReads(runtime, store)
    await runtime.tasks.drain()


async def ask_all(reads, queries):
    tasks = [asyncio.ensure_future(reads.read("a", query)) for query in queries]
    await settle()
    return tasks


@pytest.mark.parametrize(
    "wishes",
    [
        [since(15)] * 50,
        [since(15), since(12), since(19), since(20)],
        [HistoryFilter(0), since(15), HistoryFilter(0)],
        [HistoryFilter(0)] * 3,
        [HistoryFilter(1, reverse=True)] * 5,
        [since(18), since(25)],
        [since(3, -1), since(5, -1), since(7)],
    ],
)
async def test_who_comes_during_a_read_shares_the_next_one(reads, store, wishes):
    (first,) = await ask_all(reads, [since(19)])
    others = await ask_all(reads, wishes)
    assert len(store.asked) == 1
    store.top += 1  # published while the first read is under way: those who wait must see it
    store.gate.set()
    found = await asyncio.gather(*others)
    assert len(store.asked) == 2
    assert found == [store.read(query) for query in wishes]
    assert (await first).position.offset == 20
    assert (await reads.read("a", since(21))).publications == []
    assert len(store.asked) == 3


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ([since(1), since(15)], 2),  # ten from 1 on do not reach the top
        ([since(1), since(1, 5), since(2, 5)], 1),
        ([since(15), HistoryFilter(1, reverse=True), since(16)], 2),
        ([HistoryFilter(2, reverse=True), HistoryFilter(1, reverse=True)], 2),
        ([HistoryFilter(3), since(15), HistoryFilter(3)], 2),
        ([HistoryFilter(0, meta_ttl=1.0), HistoryFilter(0, meta_ttl=2.0)], 2),
    ],
)
async def test_what_one_read_cannot_serve_is_read_apart(reads, store, wishes, expected):
    store.gate.set()
    first = asyncio.ensure_future(reads.read("a", HistoryFilter(0)))
    store.gate.clear()
    await asyncio.sleep(0)
    others = await ask_all(reads, wishes)
    store.gate.set()
    assert await asyncio.gather(*others) == [store.read(query) for query in wishes]
    assert len(store.asked) == 1 + expected
    await first


async def test_channels_do_not_wait_for_each_other(reads, store):
    one = asyncio.ensure_future(reads.read("a", since(1)))
    other = asyncio.ensure_future(reads.read("b", since(1)))
    await settle()
    assert len(store.asked) == 2
    store.gate.set()
    await asyncio.gather(one, other)


async def test_a_failure_is_told_to_all_who_waited_for_that_read(reads, store):
    (first,) = await ask_all(reads, [since(1)])
    others = await ask_all(reads, [since(1), since(2), HistoryFilter(1, reverse=True)])
    others[1].cancel()
    store.error = OSError("no store")
    store.gate.set()
    found = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(error) for error in found] == [OSError, OSError, asyncio.CancelledError, OSError]
    store.error = None
    assert (await reads.read("a", since(1))).position.offset == 20


async def test_who_leaves_does_not_keep_the_others_waiting(reads, store):
    (first,) = await ask_all(reads, [since(1)])
    others = await ask_all(reads, [since(1), since(2)])
    first.cancel()
    others[0].cancel()
    store.gate.set()
    assert (await others[1]).publications[0].offset == 3


async def test_the_end_of_the_run_leaves_nobody_waiting(reads, store):
    (first,) = await ask_all(reads, [since(1)])
    others = await ask_all(reads, [since(1)])
    first.cancel()
    await settle()
    later = await ask_all(reads, [since(3)])
    (work,) = reads._runtime.tasks._tasks
    work.cancel()
    found = await asyncio.gather(*others, *later, return_exceptions=True)
    assert [type(error) for error in found] == [asyncio.CancelledError] * 2


def test_parts():
    assert widest([HistoryFilter(0), since(5), since(3)]) == since(3)
    full = HistoryResult(
        [Publication(data=flyball.Raw(b"1"), offset=o) for o in (4, 5)], StreamPosition(9, "e")
    )
    assert part_of(full, since(3, 2), since(4, 2)) is None
    assert part_of(full, since(3, 2), since(3, 1)).publications[0].offset == 4


async def test_a_storm_of_returning_clients_reads_each_stream_once_or_twice():
    class Slow(MemoryBroker):
        async def history(self, channel, query):
            await asyncio.sleep(0)
            return await super().history(channel, query)

    node = flyball.Node(broker=Slow())
    node.on_connecting(lambda event: flyball.Credentials())
    node.on_subscribe(lambda event: SubscribeOptions(recoverable=True))
    async with node:
        epochs = {}
        for number in range(5):
            for value in range(4):
                result = await node.publish(f"c{number}", value, KEPT)
            epochs[number] = result.epoch
        wires = [Wire(node) for _ in range(200)]
        for index, wire in enumerate(wires):
            wire.connect()
            position = {"recover": True, "offset": index % 4, "epoch": epochs[index % 5]}
            wire.say({"id": 2, "subscribe": {"channel": f"c{index % 5}", **position}})
        await settle(50)
        for index, wire in enumerate(wires):
            (reply,) = wire.take()
            assert reply["subscribe"]["recovered"]
            got = [p["offset"] for p in reply["subscribe"].get("publications", ())]
            assert got == list(range(index % 4 + 1, 5))
        assert node.metrics.history_reads == 10
