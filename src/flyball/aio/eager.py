"""Running coroutines without a task as long as they do not wait.

A handler that needs nothing from outside answers in the same loop turn: its coroutine is
driven by hand and ends before any task exists. Only if it suspends, the rest of it becomes
a task.
"""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")


def start_eagerly(coroutine: Coroutine[Any, Any, T]) -> T | asyncio.Task[T]:
    """The coroutine's result, or a task with the rest of it if it had to wait.

    Until its first wait the coroutine runs outside of any task: it must not use
    ``asyncio.timeout`` or ``asyncio.current_task`` there. ``await OWN_TASK`` gets it into one.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    loop = asyncio.get_running_loop()
    if waits_for is None:
        # It waits for its next turn, which is the first one of a task: nothing stands between.
        return loop.create_task(coroutine)
    return loop.create_task(_finish(coroutine, waits_for))


async def _finish(coroutine: Coroutine[Any, Any, T], waits_for: Any) -> T:
    # Tasks take true coroutines only (since Python 3.12), so the generator below is wrapped.
    result: T = await _Rest(coroutine, waits_for)
    return result


class _OwnTask:
    """See :data:`OWN_TASK`."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


OWN_TASK: Final = _OwnTask()
"""To be awaited before the first wait of what may run eagerly and needs a task, as timeouts do.

What runs in a task already gives up one turn.
"""


class _Rest:
    """The rest of a coroutine that has begun, to be awaited."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        # Hands on to the task what the coroutine already waits for, then goes on as ``await`` does.
        coroutine, waits_for = self._coroutine, self._waits_for
        step: Callable[[Any], Any]
        value: Any
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - passed on into the coroutine
                step, value = coroutine.throw, error
            else:
                step, value = coroutine.send, sent
            try:
                waits_for = step(value)
            except StopIteration as stop:
                return stop.value


def eager(handler: F) -> F:
    """Marks an async handler that may run without a task until its first wait.

    For handlers that rarely wait. Such a handler must not use ``asyncio.timeout``,
    ``asyncio.current_task`` or libraries built on them before it first waits.
    """
    handler.__flyball_eager__ = True  # type: ignore[attr-defined]
    return handler


async def call_handler(handler: Callable[..., Any], event: Any) -> Any:
    """Calls a sync or async handler and returns its result."""
    result = handler(event)
    if type(result) is types.CoroutineType:
        if getattr(handler, "__flyball_eager__", False):
            return await result
        # A task of its own, as a stranger's coroutine may ask for the current task.
        return await asyncio.get_running_loop().create_task(result)
    if hasattr(type(result), "__await__"):  # a third of what inspect.isawaitable takes
        awaitable: Awaitable[Any] = result
        return await awaitable
    return result
