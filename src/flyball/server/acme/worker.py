"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def in_thread(name: str, work: Callable[[], T]) -> asyncio.Future[T]:
    """Runs ``work`` on a thread of its own; the future has its result.

    Unlike those of an executor, the thread does not keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(outcome: T | BaseException, *, failed: bool) -> None:
        if future.done():  # nobody waits any more
            return
        if failed:
            assert isinstance(outcome, BaseException)
            future.set_exception(outcome)
        else:
            future.set_result(outcome)  # type: ignore[arg-type]

    def run() -> None:
        failed = False
        outcome: T | BaseException
        try:
            outcome = work()
        except BaseException as error:  # noqa: BLE001 - it is the waiting task's
            outcome, failed = error, True
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: finish(outcome, failed=failed))

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
