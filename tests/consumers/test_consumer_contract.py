"""What holds for every consumer: nothing is lost, and what belongs together stays in order."""

import asyncio

from consumer_world import NAME, publish, world
from waiting import until


async def all_done(source, world=None):
    """Waits until the source keeps nothing any more."""
    left = [None]

    async def none_left():
        while left[0] != 0:
            left[0] = await asyncio.to_thread(source.left)

    async with asyncio.timeout(60):
        await none_left()


async def test_messages_are_done_in_order(source, tmp_path):
    async with world(tmp_path, source.entry()) as w:
        await asyncio.to_thread(source.put, *(publish(n) for n in range(300)))
        assert await w.seen("ch", 300) == list(range(300))
        await all_done(source)
        await until(lambda: w.processed == 300)
        assert w.errors == 0


async def test_partitions_do_not_wait_for_each_other(source, tmp_path):
    async with world(tmp_path, source.entry()) as w:
        await asyncio.to_thread(source.put, publish(0, "broken"), publish(1, "behind"))
        await until(lambda: w.broker.failures >= 2)
        if source.partitions > 1:
            await asyncio.to_thread(source.put, publish(2, "beside"), partition=1)
            assert await w.seen("beside", 1) == [2]
        assert w.broker.numbers("behind") == []


async def test_a_message_that_fails_is_tried_again_and_those_behind_it_wait(source, tmp_path):
    async with world(tmp_path, source.entry()) as w:
        w.broker.down = True
        await asyncio.to_thread(source.put, *(publish(n) for n in range(20)))
        await until(lambda: w.broker.failures >= 3)
        assert w.processed == 0
        w.broker.down = False
        assert await w.seen("ch", 20) == list(range(20))
        await all_done(source)
        assert w.errors >= 3


async def test_messages_that_can_never_be_done_are_dropped(source, tmp_path):
    async with world(tmp_path, source.entry()) as w:
        await asyncio.to_thread(source.put, ("publish", {"channel": "", "data": {}}), publish(1))
        await asyncio.to_thread(source.put_malformed)
        await asyncio.to_thread(source.put, publish(0, "never"), ("info", {}), publish(2))
        assert await w.seen("ch", 2) == [1, 2]
        await all_done(source)
        await until(lambda: w.processed == 6)
        assert w.errors == 3  # info is skipped


async def test_a_source_that_goes_away_and_comes_back(source, tmp_path):
    async with world(tmp_path, source.entry()) as w:
        await asyncio.to_thread(source.put, *(publish(n) for n in range(5)))
        await w.seen("ch", 5)
        await all_done(source)
        await asyncio.to_thread(source.kill)
        await until(lambda: w.errors >= 1)
        await until(lambda: w.problems)
        assert all(problem.startswith(f"consumer {NAME}, ") for problem in w.problems)
        await asyncio.to_thread(source.start)
        await asyncio.to_thread(source.put, *(publish(n) for n in range(5, 10)))
        assert await w.seen("ch", 10) == list(range(10))
        await all_done(source)
        await until(lambda: not w.problems, lambda: f"end of {w.problems}")


async def test_a_source_that_is_not_there_at_the_start(source, tmp_path):
    await asyncio.to_thread(source.kill)
    async with world(tmp_path, source.entry()) as w:
        await until(lambda: w.errors >= 1)
        await asyncio.to_thread(source.start)
        await asyncio.to_thread(source.put, publish(0))
        assert await w.seen("ch", 1) == [0]


async def test_a_consumer_that_stops_leaves_the_rest_to_the_next(source, tmp_path):
    commands = [publish(n) for n in range(500)]
    async with world(tmp_path, source.entry()) as first:
        await asyncio.to_thread(source.put, *commands)
        await first.seen("ch", 1)
    done = first.broker.numbers("ch")
    assert done == list(range(len(done)))
    async with world(tmp_path, source.entry()) as second:
        await all_done(source)
        rest = second.broker.numbers("ch")
    assert done + rest == list(range(500)), "stopped between two messages, nothing is done twice"


async def test_a_consumer_that_stops_while_a_message_fails_keeps_it(source, tmp_path):
    async with world(tmp_path, source.entry()) as first:
        first.broker.down = True
        await asyncio.to_thread(source.put, publish(0), publish(1))
        await until(lambda: first.broker.failures >= 1)
    async with world(tmp_path, source.entry()) as second:
        assert await second.seen("ch", 2) == [0, 1]


async def test_a_broadcast_is_not_repeated_where_it_worked(source, tmp_path):
    broadcast = {"channels": ["a", "broken", "never", "b"], "data": {"n": 1}}
    async with world(tmp_path, source.entry()) as w:
        await asyncio.to_thread(source.put, ("broadcast", broadcast))
        await until(lambda: w.broker.failures >= 5)
        assert sorted(w.broker.channels()) == ["a", "b"]
