"""Time limits on the timer wheel."""

import asyncio

import pytest

from flyball.aio.limits import TimeLimit
from flyball.aio.timers import TimerWheel
from flyball.testing import TestClock


@pytest.fixture
def clock():
    return TestClock()


@pytest.fixture
def timers(clock):
    return TimerWheel(clock)


def limited(timers, work):
    """A task that does ``work`` in ten seconds at most; it has begun."""

    async def run():
        with TimeLimit(timers, 10):
            return await work

    return asyncio.ensure_future(run())


async def test_work_that_is_done_in_time(timers):
    gate = asyncio.get_running_loop().create_future()
    task = limited(timers, gate)
    await asyncio.sleep(0)
    assert timers.num_armed == 1
    gate.set_result("done")
    assert await task == "done"
    assert timers.num_armed == 0


async def test_work_that_fails_in_time(timers):
    gate = asyncio.get_running_loop().create_future()
    gate.set_exception(OSError())
    with pytest.raises(OSError):
        await limited(timers, gate)
    assert timers.num_armed == 0


async def test_work_that_takes_longer(clock, timers):
    task = limited(timers, asyncio.Event().wait())
    await asyncio.sleep(0)
    clock.advance(9.9)
    assert not task.cancelling()
    clock.advance(0.2)
    with pytest.raises(TimeoutError):
        await task
    assert not task.cancelling()


async def test_a_task_that_was_cancelled_is_cancelled(timers):
    task = limited(timers, asyncio.Event().wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert timers.num_armed == 0


async def test_a_task_that_was_cancelled_as_well_is_cancelled(clock, timers):
    task = limited(timers, asyncio.Event().wait())
    await asyncio.sleep(0)
    task.cancel()
    clock.advance(11)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_else_was_raised_when_the_time_was_over(clock, timers):
    async def work():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError from None

    task = limited(timers, work())
    await asyncio.sleep(0)
    clock.advance(11)
    with pytest.raises(OSError):
        await task
    assert not task.cancelling()
