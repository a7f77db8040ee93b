"""``node.subscribe``: nothing is skipped in silence in a channel that keeps history."""

import asyncio

import pytest
from waiting import PATIENCE

import flyball
from flyball.core.node import Node
from flyball.testing import settle

KEPT = {"history_size": 10, "history_ttl": 60}


@pytest.fixture
async def node(clock, broker):
    async with Node(clock=clock, broker=broker, clients=False) as node:
        yield node


async def take(reader, count):
    return [int(bytes((await anext(reader)).data)) for _ in range(count)]


async def publish(node, *values, **options):
    for value in values:
        await node.publish("news", value, **(options or KEPT))


async def test_a_lost_publication_is_read_from_history(node, broker):
    async with node.subscribe("news") as reader:
        await publish(node, 1)
        broker.hold_deliveries()
        await publish(node, 2)
        broker.lose_deliveries()
        broker.deliver()
        await publish(node, 3)
        assert await take(reader, 3) == [1, 2, 3]
        await publish(node, 4)
        assert await take(reader, 1) == [4]


async def test_repeated_deliveries_are_dropped(node, broker):
    async with node.subscribe("news") as reader:
        broker.hold_deliveries()
        await publish(node, 1, 2)
        broker.deliveries.append(broker.deliveries[0])
        broker.deliver()
        await publish(node, 3)
        assert await take(reader, 3) == [1, 2, 3]


async def test_after_the_link_is_restored_nothing_is_missing(node, broker):
    async with node.subscribe("news") as reader:
        waiting = asyncio.ensure_future(take(reader, 2))
        await settle()
        broker.hold_deliveries()
        await publish(node, 1, 2)
        broker.lose_deliveries()
        broker.deliver()
        await settle()
        assert not waiting.done()
        broker.restore()
        assert await waiting == [1, 2]


async def test_a_restored_link_without_losses_changes_nothing(node, broker):
    async with node.subscribe("news") as reader:
        await publish(node, 1)
        broker.restore()
        await publish(node, 2)
        assert await take(reader, 2) == [1, 2]


async def test_what_is_gone_is_told_with_the_position(node, broker):
    async with node.subscribe("news") as reader:
        await publish(node, 1)
        (first,) = (await node.history("news")).publications
        broker.hold_deliveries()
        await publish(node, 2)
        broker.lose_deliveries()
        broker.deliver()
        await publish(node, 3, history_size=1, history_ttl=60)
        assert await take(reader, 1) == [1]
        with pytest.raises(flyball.LostPositionError, match=r"'news'.*offset 1") as raised:
            await take(reader, 1)
        assert raised.value.code == 112
        assert raised.value.channel == "news"
        assert raised.value.position.offset == first.offset == 1
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
    assert not node.hub.channels


async def test_a_new_epoch_is_a_loss(node, broker):
    async with node.subscribe("news") as reader:
        await publish(node, 1)
        broker.forget("news")
        await publish(node, 2)
        assert await take(reader, 1) == [1]
        with pytest.raises(flyball.LostPositionError):
            await take(reader, 1)


async def test_what_comes_while_the_history_is_read(node, broker):
    await publish(node, 1, 2)
    since = flyball.StreamPosition(0, (await node.history("news")).position.epoch)
    broker.hold("history")
    async with asyncio.timeout(PATIENCE):
        opening = asyncio.ensure_future(node.subscribe("news", since=since).__aenter__())
        await settle()
        broker.held[0].perform()
        await publish(node, 3)
        broker.release()
        reader = await opening
        assert await take(reader, 3) == [1, 2, 3]
        await reader.close()


async def test_what_comes_while_it_opens(node, broker):
    """Publications after the subscription are new, though the top of the stream counts them."""
    broker.hold("history")
    reader = node.subscribe("news")
    opening = asyncio.ensure_future(reader.open())
    await settle()
    await publish(node, 1)
    await node.publish("news", 2)  # without history: nobody could read it later
    broker.release()
    await opening
    assert sorted(await take(reader, 2)) == [1, 2]
    await reader.close()


async def test_a_restored_link_while_the_history_is_read(node, broker):
    broker.hold("history")
    reader = node.subscribe("news")
    opening = asyncio.ensure_future(reader.open())
    await settle()
    broker.held[0].perform()
    broker.hold_deliveries()
    await publish(node, 1)
    broker.lose_deliveries()
    broker.deliver()
    broker.restore()
    broker.release()
    await opening
    assert await take(reader, 1) == [1]
    await reader.close()


async def test_a_long_past_is_read_in_pages(node):
    await publish(node, *range(2500), history_size=3000, history_ttl=60)
    epoch = (await node.history("news", flyball.HistoryFilter(0))).position.epoch
    async with node.subscribe("news", since=flyball.StreamPosition(0, epoch)) as reader:
        assert len(reader._waiting) == 1000
        await publish(node, 2500, history_size=3000, history_ttl=60)
        assert await take(reader, 2501) == [*range(2501)]


async def test_channels_without_history(node, broker):
    async with node.subscribe("news") as reader:
        await node.publish("news", 1)
        broker.restore()
        await node.publish("news", 2)
        assert await take(reader, 2) == [1, 2]


async def test_an_unreachable_store_is_told_and_can_be_tried_again(node, broker):
    async with node.subscribe("news") as reader:
        broker.hold_deliveries()
        await publish(node, 1)
        broker.lose_deliveries()
        broker.deliver()
        broker.fail_with(ConnectionError("the store is away"))
        broker.restore()
        with pytest.raises(ConnectionError):
            await anext(reader)
        broker.fail_with(None)
        assert await take(reader, 1) == [1]


async def test_a_failing_open_leaves_nothing_behind(node, broker):
    broker.hold("history")
    reader = node.subscribe("news")
    opening = asyncio.ensure_future(reader.open())
    await settle()
    broker.held[0].fail(ConnectionError("the store is away"))
    with pytest.raises(ConnectionError):
        await opening
    assert not node.hub.channels


async def test_too_much_while_the_history_is_read(node, broker):
    broker.hold("history")
    reader = node.subscribe("news", max_waiting=2)
    opening = asyncio.ensure_future(reader.open())
    await settle()
    broker.held[0].perform()
    await publish(node, 1, 2, 3)
    broker.release()
    await opening
    assert await take(reader, 3) == [1, 2, 3]
    await reader.close()


async def test_close_while_the_history_is_read(node, broker):
    broker.hold("history")
    reader = node.subscribe("news")
    opening = asyncio.ensure_future(reader.open())
    await settle()
    await reader.close()
    broker.release()
    await opening
    with pytest.raises(StopAsyncIteration):
        await anext(reader)


async def test_shutdown_ends_the_iteration(clock):
    node = Node(clock=clock, clients=False)
    await node.start()
    reader = node.subscribe("news")
    waiting = asyncio.ensure_future(anext(reader, None))
    await settle()
    await node.shutdown()
    assert await waiting is None
    await reader.close()
