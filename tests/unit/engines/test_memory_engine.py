"""What only the memory engine promises: no waiting, no idle work, memory given back."""

import re

from hypothesis import given
from hypothesis import strategies as st

from flyball.aio.eager import start_eagerly
from flyball.core.memory import LONGEST_SLEEP, SWEEP_BUDGET, MemoryBroker, MemoryPresenceManager
from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    PublishOptions,
    PublishResult,
    StreamPosition,
    payload,
)
from flyball.testing import TestClock

DATA = payload(b"{}")


def publish(broker, channel="ch", **options):
    result = start_eagerly(
        broker.publish(
            channel, DATA, PublishOptions(**{"history_size": 5, "history_ttl": 60, **options})
        )
    )
    assert isinstance(result, PublishResult), "it must not wait"
    return result


def test_works_with_the_real_clock():
    broker = MemoryBroker()
    assert publish(broker, history_size=0).offset == 0
    presence = MemoryPresenceManager()
    assert start_eagerly(presence.presence("ch")) == {}


def test_epochs_are_eight_letters():
    epochs = {publish(MemoryBroker(TestClock())).epoch for _ in range(50)}
    assert len(epochs) == 50
    assert all(re.fullmatch("[A-Za-z]{8}", epoch) for epoch in epochs)


def test_no_timer_without_anything_to_expire():
    clock = TestClock()
    broker, presence = MemoryBroker(clock), MemoryPresenceManager(clock)
    publish(broker, history_size=0)
    start_eagerly(presence.presence("ch"))
    assert clock.pending == 0


def test_one_timer_whatever_the_number_of_channels():
    clock = TestClock()
    broker = MemoryBroker(clock)
    for n in range(100):
        publish(broker, f"ch{n}", history_ttl=60 + n)
    assert clock.pending == 1


def test_it_sleeps_until_something_is_due(monkeypatch):
    clock = TestClock()
    broker = MemoryBroker(clock, history_meta_ttl=30 * 86400)
    delays = []
    call_later = clock.call_later
    monkeypatch.setattr(
        clock, "call_later", lambda delay, f: delays.append(delay) or call_later(delay, f)
    )
    publish(broker, history_ttl=300)
    clock.advance(2 * 86400)
    # The first deadline alone is known when the watch begins; then one sleep a day.
    assert len(delays) < 8
    assert max(delays) <= LONGEST_SLEEP


def test_an_earlier_deadline_wakes_earlier():
    clock = TestClock()
    broker = MemoryBroker(clock)
    publish(broker, "long", history_ttl=3600, history_meta_ttl=7200)
    publish(broker, "short", history_ttl=1, history_meta_ttl=5)
    clock.advance(7)
    assert set(broker._streams) == {"long"}


def test_expired_streams_are_given_back():
    clock = TestClock()
    broker = MemoryBroker(clock)
    for n in range(100):
        publish(broker, f"ch{n}", history_ttl=10, history_meta_ttl=20)
    clock.advance(12)
    assert all(not len(s) for s in broker._streams.values())
    clock.advance(12)
    assert not broker._streams
    clock.advance(100)
    assert clock.pending == 0


def test_idempotency_keys_are_given_back():
    clock = TestClock()
    broker = MemoryBroker(clock)
    for n in range(100):
        publish(broker, idempotency_key=str(n), idempotency_ttl=10, history_size=0)
    assert len(broker._repeats) == 100
    clock.advance(12)
    assert not broker._repeats


def test_a_key_used_again_lives_on():
    clock = TestClock()
    broker = MemoryBroker(clock)
    publish(broker, idempotency_key="k", idempotency_ttl=5)
    clock.advance(5.5)  # over, but not swept yet
    assert not publish(broker, idempotency_key="k", idempotency_ttl=5).suppressed
    clock.advance(3)
    assert publish(broker, idempotency_key="k").suppressed == "idempotency"


def test_a_flood_of_deadlines_is_worked_off_in_parts():
    clock = TestClock()
    broker = MemoryBroker(clock)
    count = 2 * SWEEP_BUDGET + 1
    for n in range(count):
        publish(broker, f"ch{n}", history_ttl=1, history_meta_ttl=1)
    left = []
    call_later = clock.call_later

    def note(delay, callback):
        left.append(len(broker._streams))
        return call_later(delay, callback)

    clock.call_later = note
    clock.advance(5)
    assert left == [SWEEP_BUDGET + 1, 1]
    assert not broker._streams


def test_presence_is_given_back():
    clock = TestClock()
    presence = MemoryPresenceManager(clock, presence_ttl=10)
    for n in range(50):
        start_eagerly(presence.add_presence(f"ch{n}", "c", ClientInfo("u", "c")))
    clock.advance(12)
    assert not presence._channels
    start_eagerly(presence.add_presence("ch", "c", ClientInfo("u", "c")))
    start_eagerly(presence.remove_presence("ch", "c", "u"))
    clock.advance(12)
    assert clock.pending == 0


def test_nothing_runs_after_close():
    clock = TestClock()
    broker, presence = MemoryBroker(clock), MemoryPresenceManager(clock)
    publish(broker)
    start_eagerly(presence.add_presence("ch", "c", ClientInfo("u", "c")))
    start_eagerly(broker.close())
    start_eagerly(presence.close())
    publish(broker, "late")
    assert clock.pending == 0


def test_a_forgotten_stream_starts_anew():
    clock = TestClock()
    broker = MemoryBroker(clock)
    first = publish(broker)
    broker.forget("ch")
    broker.forget("never")
    second = publish(broker)
    assert second.offset == 1
    assert second.epoch != first.epoch
    clock.advance(100)
    assert start_eagerly(broker.history("ch", HistoryFilter(0))).position == StreamPosition(
        1, second.epoch
    )


def test_long_streams_are_cut_now_and_then():
    broker = MemoryBroker(TestClock())
    for n in range(1, 2001):
        publish(broker, history_size=1000)
        stream = broker._streams["ch"]
        assert len(stream) == min(n, 1000)
        assert len(stream._kept) <= 1125
    read = start_eagerly(broker.history("ch", HistoryFilter()))
    assert [p.offset for p in read.publications] == [*range(1001, 2001)]


@given(
    count=st.integers(0, 40),
    size=st.integers(1, 30),
    since=st.none() | st.integers(0, 45),
    limit=st.integers(-1, 35),
    reverse=st.booleans(),
)
def test_reads_agree_with_their_definition(count, size, since, limit, reverse):
    broker = MemoryBroker(TestClock())
    for _ in range(count):
        publish(broker, history_size=size)
    position = None if since is None else StreamPosition(since, "")
    result = start_eagerly(broker.history("ch", HistoryFilter(limit, position, reverse)))
    wanted = [n for n in range(1, count + 1) if n > count - size]
    if since is not None:
        wanted = [n for n in wanted if (n < since if reverse else n > since)]
    if reverse:
        wanted.reverse()
    if limit >= 0:
        wanted = wanted[:limit]
    assert [p.offset for p in result.publications] == wanted


def test_a_position_is_over_to_the_moment():
    """Also before it is swept away."""
    clock = TestClock()
    broker = MemoryBroker(clock, history_meta_ttl=10)
    first = publish(broker, history_ttl=5)
    clock.advance(10.2)
    assert broker._streams
    position = start_eagerly(broker.history("ch", HistoryFilter(0))).position
    assert position.offset == 0
    assert position.epoch != first.epoch


def test_what_was_forgotten_need_not_be_swept():
    clock = TestClock()
    broker = MemoryBroker(clock)
    publish(broker, history_ttl=5)
    broker.forget("ch")
    clock.advance(100)
    assert not broker._streams


def test_joins_before_the_start_go_nowhere():
    broker = MemoryBroker(TestClock())
    start_eagerly(broker.publish_join_leave("ch", ClientInfo("u", "c"), joined=True))
