"""Work that nobody waits for: owned, logged, counted, waited for at the end."""

import asyncio
from collections import defaultdict

import pytest

from flyball.aio.tasks import TaskOwner, do_all
from flyball.testing import settle


@pytest.fixture
def failures():
    return defaultdict(int)


@pytest.fixture
def tasks(failures, clock):
    return TaskOwner(failures, clock.monotonic)


async def test_what_need_not_wait_is_done_at_once(tasks):
    seen = []

    async def work():
        seen.append(1)

    tasks.spawn(work(), "work")
    assert seen == [1]
    assert len(tasks) == 0


async def test_the_rest_becomes_a_task_with_a_name(tasks):
    gate = asyncio.Event()
    tasks.spawn(gate.wait(), "work")
    assert len(tasks) == 1
    assert "flyball work" in {task.get_name() for task in asyncio.all_tasks()}
    gate.set()
    await tasks.drain()
    assert len(tasks) == 0


@pytest.mark.parametrize("waits", [False, True])
async def test_failures_are_logged_and_counted(tasks, failures, caplog, waits):
    async def work():
        if waits:
            await asyncio.sleep(0)
        raise ValueError("broken")

    tasks.spawn(work(), "work")
    tasks.spawn(work(), "work")
    await tasks.drain()
    assert failures == {"work": 2}
    assert [r.message for r in caplog.records] == ["work failed"] * 2
    assert "ValueError: broken" in caplog.text


async def test_recurring_failures_are_logged_once_in_a_minute(tasks, failures, clock, caplog):
    async def work():
        raise ValueError

    for _ in range(61):
        tasks.spawn(work(), "work", recurring=True)
        clock.advance(1)
    assert failures == {"work": 61}
    assert len(caplog.records) == 2


async def test_cancelled_tasks_are_no_failures(tasks, failures):
    task = asyncio.ensure_future(asyncio.Event().wait())
    tasks.track_task(task, "work")
    task.cancel()
    await tasks.drain()
    assert not failures


async def test_drain_waits_for_what_work_starts(tasks):
    seen = []

    async def second():
        await asyncio.sleep(0)
        seen.append(2)

    async def first():
        await asyncio.sleep(0)
        tasks.spawn(second(), "second")

    tasks.spawn(first(), "first")
    await tasks.drain()
    assert seen == [2]


async def test_soon(tasks):
    seen = []
    tasks.soon(seen.append, 1)
    assert seen == []
    await settle(1)
    assert seen == [1]


async def test_all_steps_are_taken_and_the_first_failure_is_raised(caplog):
    seen = []

    def step(name, error=None):
        async def take():
            seen.append(name)
            if error is not None:
                raise error

        return take

    with pytest.raises(ValueError):
        await do_all([step(1), step(2, ValueError()), step(3, OSError("later")), step(4)])
    assert seen == [1, 2, 3, 4]
    assert "OSError: later" in caplog.text
    await do_all([step(5)])


async def test_what_was_told_already_is_counted_only(caplog):
    class Told(Exception):
        logged = True

    async def fail():
        raise Told

    failures = {}
    TaskOwner(failures).spawn(fail(), "work")
    assert failures == {"work": 1}
    assert not caplog.records
