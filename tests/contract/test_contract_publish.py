"""What every broker does with publications."""

import pytest
from contract_engines import Recorder

from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    PublishOptions,
    StreamPosition,
    payload,
)

KEPT = PublishOptions(history_size=10, history_ttl=60)
INFO = ClientInfo(user="ann", client="c1", conn_info=payload(b'{"a":1}'))


def data(value):
    return payload(str(value).encode())


def options(**changes):
    return PublishOptions(**{"history_size": 10, "history_ttl": 60.0, **changes})


async def publish(broker, *values, channel="ch", **changes):
    result = None
    for value in values:
        result = await broker.publish(channel, data(value), options(**changes))
    return result


class TestWithoutHistory:
    async def test_delivered_as_given(self, engine, broker, events):
        result = await broker.publish("ch", data("[1]"), PublishOptions(tags={"k": "v"}, info=INFO))
        await engine.settle()
        assert (result.offset, result.epoch, result.suppressed) == (0, "", "")
        ((channel, publication, position, delta, previous),) = events.publications
        assert channel == "ch"
        assert bytes(publication.data) == b"[1]"
        assert publication.tags == {"k": "v"}
        assert publication.info.user == "ann"
        assert bytes(publication.info.conn_info) == b'{"a":1}'
        assert publication.offset == 0
        assert position.epoch == ""
        assert (delta, previous) == (False, None)

    @pytest.mark.needs("bytes")
    async def test_any_bytes_pass(self, engine, broker, events):
        payloads = [b"\xff\x00\n", b"", b'"\xe2\x80\xa8"', b"x" * 200_000]
        for value in payloads:
            await broker.publish("ch", payload(value), PublishOptions())
        await engine.settle()
        assert events.data() == payloads

    @pytest.mark.needs("history")
    async def test_nothing_is_kept(self, broker):
        await broker.publish("ch", data(1), PublishOptions())
        result = await broker.history("ch", HistoryFilter())
        assert result.publications == []
        assert result.position.offset == 0

    @pytest.mark.needs("history")
    @pytest.mark.parametrize(
        "some",
        [
            {"history_size": 0},
            {"history_ttl": 0.0},
            {"skip_history": True},
        ],
    )
    async def test_history_needs_size_and_ttl(self, engine, broker, events, some):
        result = await publish(broker, 1, **some)
        await engine.settle()
        assert result.offset == 0
        assert events.data() == [b"1"]
        assert (await broker.history("ch", HistoryFilter())).publications == []

    async def test_order_is_kept(self, engine, broker, events):
        await publish(broker, *range(200), history_size=0)
        await engine.settle()
        assert events.data() == [str(n).encode() for n in range(200)]


@pytest.mark.needs("history")
class TestWithHistory:
    async def test_offsets_count_from_one(self, engine, broker, events):
        results = [await publish(broker, n) for n in range(3)]
        await engine.settle()
        assert [r.offset for r in results] == [1, 2, 3]
        assert len({r.epoch for r in results}) == 1
        assert [p.offset for _, p, *_ in events.publications] == [1, 2, 3]
        positions = [position for _, _, position, *_ in events.publications]
        assert positions == [StreamPosition(n, results[0].epoch) for n in (1, 2, 3)]

    async def test_epoch_names_the_stream(self, broker):
        first = await publish(broker, 1)
        other = await publish(broker, 1, channel="other")
        assert first.epoch
        assert first.epoch != other.epoch

    async def test_first_publication_carries_the_epoch(self, engine, broker, events):
        result = await publish(broker, 1, 2)
        await engine.settle()
        assert [p.epoch for _, p, *_ in events.publications] == [result.epoch, ""]
        history = await broker.history("ch", HistoryFilter())
        assert [p.epoch for p in history.publications] == [result.epoch, ""]

    async def test_a_read_stream_keeps_its_epoch(self, broker):
        empty = await broker.history("ch", HistoryFilter(0))
        result = await publish(broker, 1)
        assert result.epoch == empty.position.epoch

    async def test_everything_is_kept(self, broker):
        await broker.publish("ch", data("[1]"), options(tags={"k": "v"}, info=INFO, version=3))
        (kept,) = (await broker.history("ch", HistoryFilter())).publications
        assert bytes(kept.data) == b"[1]"
        assert kept.tags == {"k": "v"}
        assert (kept.info.user, kept.info.client) == ("ann", "c1")
        assert kept.version == 3

    @pytest.mark.needs("bytes")
    async def test_any_bytes_are_kept(self, broker):
        payloads = [b"\xff\x00\n", b"", b'{"a": 1}']
        for value in payloads:
            await broker.publish("ch", payload(value), options())
        kept = (await broker.history("ch", HistoryFilter())).publications
        assert [bytes(p.data) for p in kept] == payloads

    async def test_skipped_publications_do_not_count(self, broker):
        await publish(broker, 1)
        await publish(broker, 2, skip_history=True)
        assert (await publish(broker, 3)).offset == 2


@pytest.mark.needs("history", "delta")
class TestDelta:
    async def test_previous_comes_along(self, engine, broker, events):
        await publish(broker, 1, 2, 3, delta=True)
        await engine.settle()
        assert [d for *_, d, _ in events.publications] == [True] * 3
        previous = [p and bytes(p.data) for *_, p in events.publications]
        assert previous == [None, b"1", b"2"]
        assert events.publications[2][4].offset == 2

    async def test_only_if_asked(self, engine, broker, events):
        await publish(broker, 1, 2)
        await engine.settle()
        assert events.publications[1][3:] == (False, None)

    async def test_after_removal_there_is_none(self, engine, broker, events):
        await publish(broker, 1, delta=True)
        await broker.remove_history("ch")
        await publish(broker, 2, delta=True)
        await engine.settle()
        assert events.publications[1][4] is None

    async def test_without_history_there_is_none(self, engine, broker, events):
        await publish(broker, 1, 2, delta=True, history_size=0)
        await engine.settle()
        assert events.publications[1][4] is None


@pytest.mark.needs("history")
class TestIdempotency:
    async def test_a_repeat_publishes_nothing(self, engine, broker, events):
        first = await publish(broker, 1, idempotency_key="k")
        again = await publish(broker, 2, idempotency_key="k")
        await engine.settle()
        assert (again.offset, again.epoch) == (first.offset, first.epoch)
        assert (first.suppressed, again.suppressed) == ("", "idempotency")
        assert events.data() == [b"1"]

    async def test_a_repeat_answers_with_the_first_position(self, broker):
        await publish(broker, 1, idempotency_key="k")
        await publish(broker, 2, 3)
        assert (await publish(broker, 4, idempotency_key="k")).offset == 1

    async def test_works_without_history(self, engine, broker, events):
        for _ in range(2):
            result = await publish(broker, 1, idempotency_key="k", history_size=0)
        await engine.settle()
        assert result.suppressed == "idempotency"
        assert events.data() == [b"1"]

    async def test_counts_for_each_channel(self, broker):
        await publish(broker, 1, idempotency_key="k")
        assert not (await publish(broker, 1, channel="other", idempotency_key="k")).suppressed

    async def test_keys_and_channels_do_not_mix(self, broker):
        await publish(broker, 1, channel="a", idempotency_key="b.c")
        assert not (await publish(broker, 1, channel="a.b", idempotency_key="c")).suppressed

    async def test_is_forgotten(self, engine, broker):
        await publish(broker, 1, idempotency_key="k", idempotency_ttl=2.0)
        await engine.pass_time(1)
        assert (await publish(broker, 1, idempotency_key="k", idempotency_ttl=2.0)).suppressed
        await engine.pass_time(2)
        assert not (await publish(broker, 1, idempotency_key="k", idempotency_ttl=2.0)).suppressed


@pytest.mark.needs("history")
class TestVersions:
    @pytest.mark.parametrize(
        ("versions", "taken"),
        [
            ((1, 2, 3), (1, 2, 3)),
            ((5, 5), (5,)),
            ((5, 4, 6), (5, 6)),
            ((5, 0, 5), (5, 0)),
        ],
    )
    async def test_old_ones_are_dropped(self, engine, broker, events, versions, taken):
        for version in versions:
            await publish(broker, version, version=version)
        await engine.settle()
        assert events.data() == [str(v).encode() for v in taken]

    async def test_a_dropped_one_answers_with_the_position(self, broker):
        first = await publish(broker, 1, 2, version=0)
        await publish(broker, 3, version=7)
        dropped = await publish(broker, 4, version=7)
        assert (dropped.offset, dropped.epoch) == (3, first.epoch)
        assert dropped.suppressed == "version"

    @pytest.mark.parametrize(
        ("stored", "given", "suppressed"),
        [
            ("a", "a", "version"),
            ("a", "b", ""),
            ("a", "", "version"),
            ("", "b", ""),
            ("", "", "version"),
        ],
    )
    async def test_version_epochs(self, broker, stored, given, suppressed):
        await publish(broker, 1, version=9, version_epoch=stored)
        result = await publish(broker, 2, version=3, version_epoch=given)
        assert result.suppressed == suppressed

    async def test_the_publication_carries_it(self, engine, broker, events):
        await publish(broker, 1, version=4)
        await engine.settle()
        assert events.publications[0][1].version == 4

    async def test_outlives_the_publications(self, engine, broker):
        await publish(broker, 1, version=5, history_ttl=1.0)
        await engine.pass_time(2)
        assert (await publish(broker, 2, version=5)).suppressed == "version"

    async def test_idempotency_comes_first(self, broker):
        await publish(broker, 1, version=5, idempotency_key="k")
        assert (
            await publish(broker, 1, version=4, idempotency_key="k")
        ).suppressed == "idempotency"
        assert (await publish(broker, 1, version=4, idempotency_key="l")).suppressed == "version"


class TestJoinAndLeave:
    async def test_delivered(self, engine, broker, events):
        await broker.publish_join_leave("ch", INFO, joined=True)
        await broker.publish_join_leave("ch", INFO, joined=False)
        await engine.settle()
        ((channel, joined),) = events.joins
        assert (channel, joined.user, joined.client) == ("ch", "ann", "c1")
        assert bytes(joined.conn_info) == b'{"a":1}'
        ((channel, left),) = events.leaves
        assert (channel, left.client) == ("ch", "c1")
        assert events.publications == []


class TestNodes:
    @pytest.mark.needs("history")
    async def test_all_subscribed_nodes_get_it(self, engine, broker, events):
        other_events = Recorder()
        other = engine.broker()
        await other.start(other_events)
        await other.subscribe("ch")
        result = await publish(broker, 1, delta=True)
        await engine.settle()
        assert events.data() == [b"1"]
        if engine.nodes_share:
            assert other_events.data() == [b"1"]
            assert other_events.publications[0][2] == StreamPosition(1, result.epoch)
            assert (await publish(other, 2)).offset == 2
            await engine.settle()
            assert events.data() == [b"1", b"2"]
        else:
            assert other_events.data() == []
        await other.unsubscribe("ch")
        await publish(broker, 3)
        await engine.settle()
        assert b"3" not in other_events.data()
        await other.close()

    async def test_nodes_share_what_is_not_kept(self, engine, broker, events):
        if not engine.nodes_share:
            pytest.skip("nodes of this engine do not know each other")
        other = engine.broker()
        await other.start(Recorder())
        await other.publish("ch", data(1), PublishOptions())
        await engine.settle()
        assert events.data() == [b"1"]
        await broker.unsubscribe("ch")
        await other.publish("ch", data(2), PublishOptions())
        await engine.settle()
        assert events.data() == [b"1"]
        await other.close()

    async def test_nothing_after_close(self, engine, broker, events):
        await broker.close()
        await broker.close()
        await engine.settle()
        assert events.publications == []
