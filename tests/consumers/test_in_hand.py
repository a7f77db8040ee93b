"""The time that a source gives for messages, and how many of them are asked for."""

import asyncio

import pytest

from flyball.server.consumers.errors import SourceError
from flyball.server.consumers.in_hand import BUDGET, BatchSize, Holding
from flyball.testing import TestClock


class Source:
    """Agrees, as long as it does."""

    def __init__(self):
        self.asked = 0
        self.problem = None

    def renew(self):
        self.asked += 1
        answer = asyncio.get_running_loop().create_future()
        if self.problem is not None:
            answer.set_exception(self.problem)
        else:
            answer.set_result(None)
        return answer


class LateClock(TestClock):
    """Its timers fire when it is told."""

    def __init__(self):
        super().__init__()
        self.now = super().monotonic()
        self.timers = []

    def monotonic(self):
        return self.now

    def call_later(self, delay, callback):
        self.timers.append(callback)
        return super().call_later(delay, callback)


async def pass_time(clock, seconds):
    clock.advance(seconds)
    await asyncio.sleep(0)


async def test_the_time_is_renewed_again_and_again():
    clock, source = TestClock(), Source()
    with Holding(clock, 3.0, source.renew) as holding:
        for _ in range(20):
            await pass_time(clock, 1.0)
            holding.check()
        assert source.asked == 20
    await pass_time(clock, 9.0)
    assert source.asked == 20


async def test_what_the_source_does_not_agree_to_is_lost_in_time():
    clock, source = TestClock(), Source()
    source.problem = OSError()
    with Holding(clock, 3.0, source.renew) as holding:
        await pass_time(clock, 1.0)
        await pass_time(clock, 1.0)
        holding.check()
        await pass_time(clock, 0.8)
        with pytest.raises(SourceError, match="others may have them"):
            holding.check()


async def test_late_is_too_late():
    """A process that was stopped must not take back what others have."""
    clock, source = LateClock(), Source()
    with Holding(clock, 3.0, source.renew) as holding:
        clock.now += 10.0
        clock.timers[0]()
        assert source.asked == 0
        with pytest.raises(SourceError):
            holding.check()


async def test_time_that_passed_before_counts():
    clock, source = TestClock(), Source()
    since = clock.monotonic()
    clock.advance(2.8)
    with Holding(clock, 3.0, source.renew, since) as holding, pytest.raises(SourceError):
        holding.check()


def test_large_messages_are_few():
    size = BatchSize(100)
    assert size.now == 1
    for largest, wanted in ((0, 100), (10, 100), (BUDGET // 4, 4), (BUDGET * 3, 1), (1, 100)):
        size.saw(largest)
        assert size.now == wanted
