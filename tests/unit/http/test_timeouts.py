"""Deadlines of connections, and the wheel that they stand on."""

import pytest

from flyball.aio.timers import TimerWheel
from flyball.http.timeouts import NEVER, Deadline, RateLimit, WriteDeadline
from flyball.testing.clock import TestClock


class Connection:
    def __init__(self):
        self.expired = 0
        self.unsent = 0

    def unsent_bytes(self):
        return self.unsent

    def on_deadline(self):
        self.expired += 1


@pytest.fixture
def timers(clock):
    return TimerWheel(clock)


@pytest.fixture
def connection():
    return Connection()


def test_the_time_is_over_once(clock, timers, connection):
    deadline = Deadline(timers, connection.on_deadline)
    deadline.set(1.0)
    clock.advance(0.99)
    assert not connection.expired
    clock.advance(0.06)
    assert connection.expired == 1
    assert deadline.due == NEVER
    clock.advance(10)
    assert connection.expired == 1
    assert not clock.pending


@pytest.mark.parametrize(("first", "then"), [(1.0, 3.0), (3.0, 1.0)])
def test_the_last_limit_counts(clock, timers, connection, first, then):
    deadline = Deadline(timers, connection.on_deadline)
    deadline.set(first)
    clock.advance(0.5)
    deadline.set(then)
    clock.advance(then - 0.01)
    assert not connection.expired
    clock.advance(0.06)
    assert connection.expired == 1


@pytest.mark.parametrize("first", [1.0, 5.0])
def test_extending_counts_from_the_last_turn(clock, timers, connection, first):
    deadline = Deadline(timers, connection.on_deadline)
    deadline.set(first)
    clock.advance(0.9)
    deadline.extend(1.0)
    clock.advance(0.9)
    assert not connection.expired
    clock.advance(0.2)
    assert connection.expired == 1


def test_a_cleared_limit_does_nothing_and_can_be_set_again(clock, timers, connection):
    deadline = Deadline(timers, connection.on_deadline)
    deadline.set(1.0)
    deadline.clear()
    clock.advance(0.5)
    deadline.set(5.0)
    clock.advance(4.9)
    assert not connection.expired
    clock.advance(0.2)
    assert connection.expired == 1
    deadline.set(1.0)
    deadline.clear()
    clock.advance(2.0)
    assert connection.expired == 1
    assert not timers.num_armed


def test_a_closed_limit_is_forgotten_at_once(clock, timers, connection):
    deadline = Deadline(timers, connection.on_deadline)
    deadline.set(1.0)
    deadline.close()
    assert not timers.num_armed
    clock.advance(2.0)
    assert not connection.expired


def test_progress_gives_more_time(clock, timers, connection):
    deadline = WriteDeadline(timers, connection.on_deadline, connection.unsent_bytes)
    connection.unsent = 100
    deadline.expect_progress(1.0)
    for left in (99, 50, 1):
        connection.unsent = left
        clock.advance(1.05)
    assert not connection.expired
    clock.advance(1.05)
    assert connection.expired == 1


def test_a_plain_limit_looks_at_no_progress(clock, timers, connection):
    deadline = WriteDeadline(timers, connection.on_deadline, connection.unsent_bytes)
    connection.unsent = 100
    deadline.expect_progress(5.0)
    deadline.set(1.0)
    connection.unsent = 1
    clock.advance(1.05)
    assert connection.expired == 1


class Entry:
    def __init__(self, act=lambda: None):
        self.timer_tick = 0
        self.act = act
        self.calls = 0

    def on_timer(self, now):
        self.calls += 1
        self.act()


def test_an_entry_that_fails_keeps_nobody_from_its_turn(clock, timers, caplog):
    bad, good = Entry(lambda: 1 / 0), Entry()
    for entry in (bad, good):
        timers.arm_in(entry, 1.0)
    clock.advance(1.05)
    assert (bad.calls, good.calls) == (1, 1)
    assert "the timer of Entry failed" in caplog.text
    timers.arm_in(good, 1.0)
    clock.advance(1.05)
    assert good.calls == 2


def test_entries_cancel_and_move_others_of_their_slot(clock, timers):
    gone, moved = Entry(), Entry()

    def act():
        timers.cancel(gone)
        timers.arm_in(moved, 1.0)

    for entry in (Entry(act), gone, moved):
        timers.arm_in(entry, 1.0)
    clock.advance(1.05)
    assert (gone.calls, moved.calls) == (0, 0)
    clock.advance(1.05)
    assert (gone.calls, moved.calls) == (0, 1)


def test_a_wheel_goes_on_in_another_loop(clock, timers):
    entry = Entry()
    timers.arm_in(entry, 1.0)
    timers.clock = other = TestClock()
    timers.restart()
    assert not clock.pending
    other.advance(1.05)
    assert entry.calls == 1
    timers.restart()
    assert not other.pending


def test_extending_what_is_not_set_sets_it(clock, timers, connection):
    deadline = Deadline(timers, connection.on_deadline)
    clock.advance(5.0)
    deadline.extend(1.0)
    clock.advance(0.9)
    assert not connection.expired
    clock.advance(0.2)
    assert connection.expired == 1


def test_a_rate_is_that_of_a_second(clock):
    rate = RateLimit(clock, 2)
    for _ in range(3):
        assert not rate.is_exceeded
        rate.count()
    assert rate.is_exceeded
    clock.advance(1.0)
    rate.count()
    assert not rate.is_exceeded
