"""The room that strangers share: who began first has to go when it is full."""

import logging

from flyball.aio.held import FREE, HeldBytes
from flyball.testing.clock import TestClock


class Guest:
    def __init__(self, name, log, held=None):
        self.name, self.log, self.held = name, log, held

    def give_up(self):
        self.log.append(self.name)
        if self.held is not None:
            self.held.free(self)  # as connections do at their end


def test_who_began_first_is_given_up_first():
    gone, counted = [], []
    held = HeldBytes(TestClock(), 10_000, lambda: counted.append(1))
    first, second, third = (Guest(n, gone, held) for n in "abc")
    held.hold(first, 4000)
    held.hold(second, 4000)
    held.hold(first, 4500)  # grows, and is still the oldest
    held.hold(third, 1500)
    assert (held.size, gone) == (10_000, [])
    held.hold(third, 1501)
    assert (held.size, gone, len(counted)) == (5501, ["a"], 1)
    held.hold(third, 10_001)
    assert (held.size, gone, len(counted)) == (0, ["a", "b", "c"], 3)


def test_little_is_not_counted_and_what_is_freed_is_forgotten():
    held = HeldBytes(TestClock(), 10_000)
    guest = Guest("a", [])
    held.hold(guest, FREE)
    assert held.size == 0
    held.hold(guest, FREE + 1)
    assert held.size == FREE + 1
    held.hold(guest, 5)
    assert held.size == 0
    held.free(guest)
    assert held.size == 0


def test_without_a_limit_nobody_has_to_go():
    held = HeldBytes(TestClock(), 0)
    held.hold(Guest("a", []), 1 << 40)
    assert held.size == 1 << 40


def test_it_is_said_once_a_second_with_a_count(caplog):
    clock = TestClock()
    held = HeldBytes(clock, 2000)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            held.hold(Guest(number, []), 3000)
        assert len(caplog.records) == 1
        assert "more than 2000 bytes" in caplog.text
        clock.advance(1)
        held.hold(Guest("x", []), 3000)
    assert len(caplog.records) == 2
    assert "(5 since the last line)" in caplog.text
