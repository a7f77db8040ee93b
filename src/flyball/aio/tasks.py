"""One owner of background work: what it starts it logs, counts, and waits for at the end."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flyball.aio.eager import start_eagerly

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

Step: TypeAlias = "Callable[[], Awaitable[object]]"
"""Something to be awaited later."""

logger: Final = logging.getLogger("flyball.aio")

QUIET_TIME = 60.0
"""Seconds in which the same recurring failure is logged once."""


class TaskOwner:
    """Owns the work of one run that nobody waits for. A failure never stops its owner.

    Args:
        failures: name of a piece of work to how often it failed; counted up here.
        monotonic: the time, in seconds.
    """

    __slots__ = ("_failures", "_monotonic", "_quiet_until", "_tasks")

    def __init__(
        self, failures: dict[str, int], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures = failures
        self._monotonic = monotonic
        self._tasks: dict[asyncio.Task[Any], tuple[str, bool]] = {}
        self._quiet_until: dict[str, float] = {}

    def __len__(self) -> int:
        """Tasks that have not ended."""
        return len(self._tasks)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], name: str, *, recurring: bool = False
    ) -> None:
        """Starts ``coroutine`` now, without a task as long as it need not wait.

        Whatever it raises is logged and counted under ``name``; nothing is raised here.
        ``recurring`` work comes again by itself: its failures are logged once in a minute.
        """
        try:
            work = start_eagerly(coroutine)
        except Exception as error:  # noqa: BLE001 - the root of the work: logged and counted
            self._failed(name, error, recurring=recurring)
            return
        if isinstance(work, asyncio.Task):
            self.track_task(work, name, recurring=recurring)

    def track_task(
        self, task: asyncio.Task[Any], name: str = "", *, recurring: bool = False
    ) -> None:
        """Owns a task until it ends, as :meth:`spawn` does."""
        self._tasks[task] = (name, recurring)
        task.set_name(f"flyball {name}".rstrip())
        task.add_done_callback(self._done)

    def soon(self, callback: Callable[..., object], *args: object) -> None:
        """Calls back in the next turn of the event loop."""
        asyncio.get_running_loop().call_soon(callback, *args)

    async def drain(self) -> None:
        """Waits until all work has ended, what it starts meanwhile included."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # Since Python 3.12 gather() of tasks that are done does not give up its turn, and
            # it is in the next turn that they leave.
            await asyncio.sleep(0)

    def _done(self, task: asyncio.Task[Any]) -> None:
        name, recurring = self._tasks.pop(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._failed(name, error, recurring=recurring)

    def _failed(self, name: str, error: BaseException, *, recurring: bool) -> None:
        self._failures[name] = self._failures.get(name, 0) + 1
        if getattr(error, "logged", False):
            return  # whoever raised it has told the log, less often than it fails
        if recurring:
            now = self._monotonic()
            if now < self._quiet_until.get(name, 0.0):
                return
            self._quiet_until[name] = now + QUIET_TIME
        logger.error("%s failed", name or "background work", exc_info=error)


async def do_all(steps: Iterable[Step]) -> None:
    """Takes every step, in order, whatever becomes of those before it.

    Raises:
        Exception: what the first step that failed raised, after the last one.
    """
    failure: Exception | None = None
    for step in steps:
        try:
            await step()
        except Exception as error:  # raised below
            if failure is not None:
                logger.exception("%s failed as well", step)
            failure = failure or error
    if failure is not None:
        raise failure
