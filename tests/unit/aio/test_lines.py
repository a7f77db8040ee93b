"""What strangers can repeat at will is told of now and then, with a count."""

import logging
import re

import pytest

from flyball.aio.lines import MAX_KINDS, LineLimit, RepeatedLines
from flyball.aio.timers import TimerWheel
from flyball.testing import TestClock

logger = logging.getLogger("flyball.lines")


def test_so_many_lines_in_so_many_seconds():
    limit = LineLimit(2, 10.0)
    assert [limit.allows(now) for now in (0.0, 1.0, 2.0, 9.9, 10.0, 11.0, 12.0)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]


def test_what_is_left_out_is_counted():
    limit = LineLimit(1, 1.0)
    for _ in range(1000):
        limit.allows(5.0)
    assert limit.take_left_out() == 999
    assert limit.take_left_out() == 0
    assert limit.allows(6.0)


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def clock():
    return TestClock()


@pytest.fixture
def lines(clock):
    return RepeatedLines(TimerWheel(clock))


def test_one_line_of_a_kind_in_a_second(lines, clock, caplog):
    for number in range(100):
        lines.log(logger, logging.WARNING, "a request", "refused: %d", number)
        lines.log(logger, logging.WARNING, "a name", "unknown: %d", number)
    clock.advance(1.0)
    lines.log(logger, logging.WARNING, "a request", "refused: %d", 100)
    assert messages(caplog) == [
        "refused: 0",
        "unknown: 0",
        "(99 more left out) refused: 100",
    ]


def test_a_line_after_a_while_has_no_count(lines, clock, caplog):
    for number in range(2):
        lines.log(logger, logging.WARNING, "a request", "refused: %d", number)
        clock.advance(1.0)
    assert messages(caplog) == ["refused: 0", "refused: 1"]


def test_the_count_is_told_when_no_more_come(lines, clock, caplog):
    for number in range(3):
        lines.log(logger, logging.WARNING, "a request", "refused: %d", number)
    clock.advance(0.5)
    lines.log(logger, logging.WARNING, "a name", "unknown")
    lines.log(logger, logging.WARNING, "a name", "unknown")
    assert len(caplog.records) == 2
    clock.advance(1.6)
    assert messages(caplog)[2:] == ["2 more left out: a request"]
    clock.advance(1.0)
    assert messages(caplog)[3:] == ["1 more left out: a name"]
    clock.advance(100)
    assert len(caplog.records) == 4
    assert not lines.timer_tick


def test_a_count_that_was_told_meanwhile_is_not_told_again(lines, clock, caplog):
    for _ in range(2):
        lines.log(logger, logging.WARNING, "k", "refused")
    clock.advance(1.2)
    lines.log(logger, logging.WARNING, "k", "refused")
    lines.log(logger, logging.WARNING, "k", "refused")
    clock.advance(100)
    told = ["refused", "(1 more left out) refused", "1 more left out: k"]
    assert messages(caplog) == told


def test_the_end_tells_of_what_was_left_out(lines, caplog):
    for _ in range(5):
        lines.log(logger, logging.WARNING, "k", "refused")
    lines.close()
    assert messages(caplog) == ["refused", "4 more left out: k"]
    assert not lines.timer_tick


def test_kinds_are_bounded(lines, caplog):
    for number in range(MAX_KINDS + 1):
        lines.log(logger, logging.WARNING, str(number), "x")
        lines.log(logger, logging.WARNING, str(number), "x")
    lines.close()
    assert len(caplog.records) == 2 * (MAX_KINDS + 1)
    assert len(lines._kinds) == 0


def test_a_level_that_is_off_costs_nothing(lines, caplog):
    caplog.set_level(logging.ERROR)
    for _ in range(3):
        lines.log(logger, logging.INFO, "k", "refused")
    assert not lines._kinds


def test_failures_are_of_a_kind_by_the_line_that_raised(lines, caplog):
    heard = []
    lines.on_failure = lambda error, args: heard.append((type(error), args))

    def fail(value):
        try:
            1 / value
        except (TypeError, ZeroDivisionError) as error:
            lines.log_failure(logger, "publish", error, "publish of %s failed", "c1")

    for value in (0, 0, 0, ""):
        fail(value)
    lines.log_failure(logger, "rpc", ValueError("made, not raised"), "rpc failed")
    lines.close()
    told = messages(caplog)
    assert told[:3] == ["publish of c1 failed", "publish of c1 failed", "rpc failed"]
    assert re.fullmatch(
        r"2 more left out: publish failed: ZeroDivisionError in .*<locals>\.fail \(test_lines\.py\)",
        told[3],
    )
    assert [record.exc_info is not None for record in caplog.records] == [True, True, True, False]
    assert heard[0] == (ZeroDivisionError, ("c1",))
    assert len(heard) == 5


def test_failures_of_our_own_are_told_by_their_line(lines, caplog):
    def fail():
        try:
            LineLimit(1, "x").allows(0.0)
        except TypeError as error:
            lines.log_failure(logger, "publish", error, "failed")

    fail.__globals__["__name__"], name = "flyball.test", __name__
    try:
        fail()
        fail()
    finally:
        fail.__globals__["__name__"] = name
    lines.log_failure(logger, "rpc", ValueError("made, not raised"), "rpc failed")
    lines.log_failure(logger, "rpc", ValueError("made, not raised"), "rpc failed")
    lines.close()
    told = messages(caplog)
    assert re.fullmatch(r"1 more left out: publish failed: TypeError in lines\.py:\d+", told[2])
    assert told[3] == "1 more left out: rpc failed: ValueError in an unknown place"
