"""Coroutines that run without a task as long as they do not wait."""

import asyncio

import pytest

from flyball.aio.clock import LoopClock
from flyball.aio.eager import OWN_TASK, call_handler, eager, start_eagerly


async def test_the_result_is_there_at_once():
    async def work():
        return 1

    assert start_eagerly(work()) == 1


async def test_what_it_raises_before_it_waits():
    async def work():
        raise ValueError

    with pytest.raises(ValueError):
        start_eagerly(work())


async def test_the_rest_is_a_task():
    gates = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def work():
        return [await gate for gate in gates]

    task = start_eagerly(work())
    assert isinstance(task, asyncio.Task)
    gates[0].set_result(1)
    gates[1].set_result(2)
    assert await task == [1, 2]


async def test_a_task_of_its_own_is_one_turn_away():
    async def work():
        await OWN_TASK
        return asyncio.current_task()

    task = start_eagerly(work())
    await asyncio.sleep(0)
    assert task.result() is task


async def test_what_it_waits_for_may_fail():
    gate = asyncio.get_running_loop().create_future()

    async def work():
        try:
            await gate
        except OSError:
            return "caught"

    task = start_eagerly(work())
    gate.set_exception(OSError())
    assert await task == "caught"


async def test_cancellation():
    seen = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    task = start_eagerly(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["ended"]


def test_a_loop_that_ends_closes_the_coroutine():
    seen = []

    async def work():
        try:
            await asyncio.Event().wait()
        except GeneratorExit:
            seen.append("closed")
            raise

    coroutine = work()

    async def begin():
        task = start_eagerly(coroutine)
        await asyncio.sleep(0)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(begin())
    task.get_coro().close()
    assert seen == ["closed"]
    task._log_destroy_pending = False
    loop.close()


class TestHandlers:
    async def test_sync(self):
        assert await call_handler(lambda event: event + 1, 1) == 2

    async def test_async_in_a_task_of_its_own(self):
        async def handler(event):
            return asyncio.current_task()

        assert await call_handler(handler, 1) is not asyncio.current_task()

    async def test_eager_in_the_task_of_the_caller(self):
        @eager
        async def handler(event):
            return asyncio.current_task()

        assert await call_handler(handler, 1) is asyncio.current_task()

    async def test_anything_that_can_be_awaited(self):
        future = asyncio.get_running_loop().create_future()
        future.set_result(2)
        assert await call_handler(lambda event: future, 1) == 2


async def test_the_clock_of_the_loop():
    clock = LoopClock()
    called = asyncio.Event()
    before = clock.monotonic()
    clock.call_later(0, called.set)
    await called.wait()
    assert clock.monotonic() >= before
    assert clock.time() > 1_700_000_000
