"""The loops of a consumer: what fails waits and begins anew, and all end where nothing is half done."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from flyball.core.errors import FlyballError
from flyball.server.common.outages import Outages
from flyball.server.consumers.backoff import Backoff
from flyball.server.consumers.errors import StoppedError, TryAgainError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from flyball.aio.clock import Clock
    from flyball.server.consumers.base import Message
    from flyball.server.consumers.commands import Commands

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.consumers")

GRACE: Final = 5.0
"""Seconds that a loop has to end by itself; then it is cancelled where it is."""

Turn: TypeAlias = "Callable[[Worker], Awaitable[None]]"
"""What a loop does again and again: reads some messages, has them done, and says so."""


class Workers:
    """All loops of one consumer.

    Args:
        commands: does messages.
        clock: where time comes from.
    """

    def __init__(self, commands: Commands, clock: Clock) -> None:
        self.commands: Commands = commands
        self.clock: Clock = clock
        self.stopping: bool = False
        """The loops shall end."""
        self._workers: list[Worker] = []
        self._parts: dict[str, Outages] = {}

    def start(self, what: str, turn: Turn) -> None:
        """Begins a loop; ``what`` tells it from the others in the log."""
        self._workers.append(Worker(self, self._outages(what), what, turn))

    def start_alike(self, what: str, turns: Iterable[Turn]) -> None:
        """Begins loops that are alike: the log hears of them as one."""
        outages = self._outages(what)
        self._workers += [Worker(self, outages, f"{what}, {n}", t) for n, t in enumerate(turns)]

    def _outages(self, what: str) -> Outages:
        begins = "consumer does not get on, and tries again"
        name = self.commands.name
        found = Outages(logger, begins, "consumer works again", consumer=name, loop=what)
        self._parts[what] = found
        return found

    @property
    def problems(self) -> list[str]:
        """Which loops do not get on now, and why."""
        name = self.commands.name
        return [
            f"consumer {name}, {what}: {part.reason}"
            for what, part in self._parts.items()
            if part.reason
        ]

    async def stop(self) -> None:
        """Ends all loops: those that wait at once, others after the message they have."""
        self.stopping = True
        for worker in self._workers:
            worker.end()
        tasks = [worker.task for worker in self._workers]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=GRACE)
        for task in late:
            logger.warning("loop cancelled: it did not end in time", loop=task.get_name())
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._workers.clear()
        self._parts.clear()


class Worker:
    """One loop: its turn, again and again.

    A turn that returns has worked. One that raises is taken again after a while that grows with
    each failure. :class:`StoppedError` ends the loop.
    """

    def __init__(self, workers: Workers, outages: Outages, what: str, turn: Turn) -> None:
        self._workers = workers
        self._turn = turn
        self._waits = False
        self._backoff = Backoff()
        self._outages = outages
        task_name = f"flyball consumer {workers.commands.name}: {what}"
        self.task: asyncio.Task[None] = asyncio.get_running_loop().create_task(
            self._run(), name=task_name
        )

    def end(self) -> None:
        """Ends it now if it waits for something, else when it comes to that."""
        if self._waits:
            self.task.cancel()

    @property
    def stopping(self) -> bool:
        """The loop shall end soon."""
        return self._workers.stopping

    async def _run(self) -> None:
        while not self.stopping:
            try:
                await self._turn(self)
                self.well()
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - the root of this loop: told and counted
                self.failed(error)
                with contextlib.suppress(StoppedError):
                    await self.back_off()

    # -- for turns

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Around a wait that nothing is lost by if it ends when the consumer stops.

        Raises:
            StoppedError: it stops already.
        """
        if self.stopping:
            raise StoppedError("the consumer stops")
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    async def sleep(self, seconds: float, wake: asyncio.Event | None = None) -> None:
        """Waits, at most until ``wake`` is set; it is clear afterwards.

        Raises:
            StoppedError: the consumer stops.
        """
        wake = wake or asyncio.Event()
        timer = self._workers.clock.call_later(seconds, wake.set)
        try:
            with self.interruptible():
                await wake.wait()
        finally:
            timer.cancel()
        wake.clear()

    async def do(self, message: Message) -> None:
        """Has a message done, in one attempt.

        Raises:
            TryAgainError: it must stay where it is.
        """
        await self._workers.commands.do(message)
        self.well()

    def drop(self, message: Message, reason: str) -> None:
        """Tells that a message will never be done."""
        self._workers.commands.drop(message, reason)

    async def finish(
        self, message: Message, keep: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Has a message done, however often that takes; those behind it wait.

        Args:
            message: to be done.
            keep: called between attempts: tells the source that it is still being worked on.

        Raises:
            StoppedError: the consumer stops, and the message is not done.
        """
        while True:
            try:
                return await self.do(message)
            except TryAgainError as error:
                self.failed(error)
            await self.back_off()
            if keep is not None:
                await keep()

    def well(self) -> None:
        """It works: the next failure is a first one."""
        self._backoff.reset()
        self._outages.answered(self._workers.clock.monotonic())

    def failed(self, error: Exception) -> None:
        """The log and the metrics are told."""
        commands = self._workers.commands
        if not isinstance(error, TryAgainError):  # those were counted where they came from
            commands.metrics.errors[commands.name] += 1
        known = isinstance(error, FlyballError)
        self._outages.failed(
            str(error) if known else f"{type(error).__name__}: {error}",
            self._workers.clock.monotonic(),
            **({} if known else {"exc_info": error}),
        )

    async def back_off(self) -> None:
        """Waits, longer each time.

        Raises:
            StoppedError: the consumer stops.
        """
        await self.sleep(self._backoff.next())
