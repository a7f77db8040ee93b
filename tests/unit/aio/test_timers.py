"""The timer wheel: one deadline an entry, one timer of the event loop for all."""

import logging

from flyball.aio.timers import TimerWheel
from flyball.testing import TestClock


class Entry:
    def __init__(self, wheel, calls, action=None):
        self.timer_tick = 0
        self.wheel = wheel
        self.calls = calls
        self.action = action

    def on_timer(self, now):
        self.calls.append(self)
        if self.action is not None:
            self.action()


def wheel():
    clock = TestClock()
    return clock, TimerWheel(clock)


def test_entries_are_called_once_and_not_before_their_time():
    clock, timers = wheel()
    calls = []
    early, late = Entry(timers, calls), Entry(timers, calls)
    timers.arm_in(late, 2.0)
    timers.arm_in(early, 1.0)
    assert timers.num_armed == 2
    clock.advance(0.9)
    assert calls == []
    clock.advance(0.2)
    assert calls == [early]
    clock.advance(5.0)
    assert calls == [early, late]
    assert timers.num_armed == 0


def test_a_deadline_that_moves_or_is_taken_back():
    clock, timers = wheel()
    calls = []
    moved, kept, gone = Entry(timers, calls), Entry(timers, calls), Entry(timers, calls)
    timers.arm_in(moved, 1.0)
    timers.arm_in(moved, 3.0)
    timers.arm_in(kept, 1.0)
    timers.arm_in(kept, 1.0)
    timers.arm_in(gone, 1.0)
    timers.cancel(gone)
    timers.cancel(gone)
    clock.advance(1.2)
    assert calls == [kept]
    clock.advance(2.0)
    assert calls == [kept, moved]


def test_entries_move_and_cancel_one_another():
    clock, timers = wheel()
    calls = []
    second = Entry(timers, calls)
    first = Entry(timers, calls, lambda: timers.cancel(second))
    timers.arm_in(first, 1.0)
    timers.arm_in(second, 1.0)
    clock.advance(1.1)
    assert calls == [first]
    assert timers.num_armed == 0


def test_an_entry_that_raises_stops_no_other(caplog):
    clock, timers = wheel()
    calls = []

    def fail():
        raise LookupError("broken")

    timers.arm_in(Entry(timers, calls, fail), 1.0)
    timers.arm_in(Entry(timers, calls), 1.0)
    with caplog.at_level(logging.ERROR):
        clock.advance(1.1)
    assert len(calls) == 2
    assert "the timer of Entry failed" in caplog.text


def test_rest_and_restart():
    clock, timers = wheel()
    calls = []
    entry = Entry(timers, calls)
    timers.rest()
    timers.arm_in(entry, 1.0)
    timers.rest()  # something is armed: goes on
    timers.restart()
    clock.advance(1.1)
    assert calls == [entry]
    timers.arm_in(entry, 1.0)
    timers.cancel(entry)
    timers.rest()
    timers.restart()
    clock.advance(2.0)
    assert calls == [entry]
