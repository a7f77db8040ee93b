"""What every broker keeps, for how long, and how it is read."""

import pytest

from flyball.core.types import HistoryFilter, PublishOptions, StreamPosition, payload

pytestmark = pytest.mark.needs("history")


async def publish(broker, *values, channel="ch", **changes):
    options = PublishOptions(**{"history_size": 10, "history_ttl": 60.0, **changes})
    result = None
    for value in values:
        result = await broker.publish(channel, payload(str(value).encode()), options)
    return result


async def read(broker, *, channel="ch", **query):
    """Offsets of a read, and the position."""
    result = await broker.history(channel, HistoryFilter(**query))
    assert [bytes(p.data) for p in result.publications] == [
        str(p.offset).encode() for p in result.publications
    ]
    return [p.offset for p in result.publications], result.position


@pytest.fixture
async def ten(broker):
    """Offsets 3 to 12 are kept, each with its offset as data; the epoch."""
    return (await publish(broker, *range(1, 13))).epoch


class TestReads:
    async def test_untouched_channel(self, broker):
        offsets, position = await read(broker)
        assert offsets == []
        assert position.offset == 0
        assert position.epoch
        assert (await read(broker))[1] == position

    @pytest.mark.parametrize(
        ("limit", "offsets"),
        [
            (0, []),
            (1, [3]),
            (3, [3, 4, 5]),
            (10, [*range(3, 13)]),
            (11, [*range(3, 13)]),
            (-1, [*range(3, 13)]),
        ],
    )
    async def test_from_the_oldest(self, broker, ten, limit, offsets):
        assert await read(broker, limit=limit) == (offsets, StreamPosition(12, ten))

    @pytest.mark.parametrize(
        ("limit", "offsets"),
        [
            (0, []),
            (1, [12]),
            (3, [12, 11, 10]),
            (11, [*range(12, 2, -1)]),
            (-1, [*range(12, 2, -1)]),
        ],
    )
    async def test_from_the_newest(self, broker, ten, limit, offsets):
        assert (await read(broker, limit=limit, reverse=True))[0] == offsets

    @pytest.mark.parametrize(
        ("since", "limit", "offsets"),
        [
            (0, -1, [*range(3, 13)]),
            (1, 2, [3, 4]),
            (2, 2, [3, 4]),
            (3, 2, [4, 5]),
            (8, -1, [9, 10, 11, 12]),
            (11, -1, [12]),
            (12, -1, []),
            (13, -1, []),
            (99, 5, []),
            (5, 0, []),
        ],
    )
    async def test_after_an_offset(self, broker, ten, since, limit, offsets):
        position = StreamPosition(since, ten)
        assert (await read(broker, since=position, limit=limit))[0] == offsets

    @pytest.mark.parametrize(
        ("since", "limit", "offsets"),
        [
            (0, -1, []),
            (3, -1, []),
            (4, -1, [3]),
            (8, 2, [7, 6]),
            (12, 3, [11, 10, 9]),
            (13, 2, [12, 11]),
            (99, 2, [12, 11]),
        ],
    )
    async def test_before_an_offset(self, broker, ten, since, limit, offsets):
        position = StreamPosition(since, ten)
        assert (await read(broker, since=position, limit=limit, reverse=True))[0] == offsets

    async def test_epochs_are_the_callers_matter(self, broker, ten):
        offsets, position = await read(broker, since=StreamPosition(11, "other"))
        assert offsets == [12]
        assert position.epoch == ten

    async def test_what_was_read_does_not_change(self, broker, ten):
        before = await broker.history("ch", HistoryFilter())
        await publish(broker, 13)
        assert len(before.publications) == 10
        assert before.position.offset == 12


class TestSize:
    async def test_the_oldest_go(self, broker):
        await publish(broker, 1, 2, 3, 4, history_size=2)
        assert (await read(broker))[0] == [3, 4]

    async def test_a_smaller_size_cuts(self, broker):
        await publish(broker, 1, 2, 3, 4, history_size=10)
        await publish(broker, 5, history_size=2)
        assert (await read(broker))[0] == [4, 5]


class TestRemoval:
    async def test_the_position_lives_on(self, broker, ten):
        await broker.remove_history("ch")
        assert await read(broker) == ([], StreamPosition(12, ten))
        assert (await publish(broker, 13)).offset == 13
        assert (await read(broker))[0] == [13]

    async def test_of_nothing(self, broker):
        await broker.remove_history("never")
        assert (await read(broker, channel="never"))[0] == []


class TestExpiry:
    async def test_publications(self, engine, broker):
        result = await publish(broker, 1, 2, history_ttl=2.0)
        await engine.pass_time(1)
        assert (await read(broker))[0] == [1, 2]
        await engine.pass_time(2)
        assert await read(broker) == ([], StreamPosition(2, result.epoch))
        assert (await publish(broker, 3)).offset == 3

    async def test_each_publication_prolongs(self, engine, broker):
        for n in (1, 2, 3):
            await publish(broker, n, history_ttl=2.0)
            await engine.pass_time(1)
        assert (await read(broker))[0] == [1, 2, 3]

    async def test_reading_does_not_prolong_publications(self, engine, broker):
        await publish(broker, 1, history_ttl=3.0)
        for _ in range(4):
            await engine.pass_time(1)
            await read(broker)
        assert (await read(broker))[0] == []

    async def test_position(self, engine, broker):
        first = await publish(broker, 1, history_ttl=1.0, history_meta_ttl=3.0)
        await engine.pass_time(4)
        offsets, position = await read(broker)
        assert (offsets, position.offset) == ([], 0)
        assert position.epoch != first.epoch

    async def test_reading_prolongs_the_position(self, engine, broker):
        first = await publish(broker, 1, history_ttl=1.0, history_meta_ttl=3.0)
        for _ in range(3):
            await engine.pass_time(2)
            result = await broker.history("ch", HistoryFilter(0, meta_ttl=3.0))
        assert result.position == StreamPosition(1, first.epoch)

    async def test_default_for_positions(self, engine, events):
        broker = engine.broker(history_meta_ttl=3.0)
        await broker.start(events)
        first = await publish(broker, 1, history_ttl=1.0)
        await engine.pass_time(2)
        assert (await read(broker))[1].epoch == first.epoch
        await engine.pass_time(4)
        assert (await read(broker))[1].epoch != first.epoch
        await broker.close()

    async def test_versions_go_with_the_position(self, engine, broker):
        await publish(broker, 1, version=9, history_ttl=1.0, history_meta_ttl=2.0)
        await engine.pass_time(3)
        assert (await publish(broker, 1, version=1)).suppressed == ""
