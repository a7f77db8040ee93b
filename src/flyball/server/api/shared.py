"""One answer for all who ask the same at the same time: surveys are asked once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from flyball.aio.clock import Clock

T = TypeVar("T")

KEPT: Final = 1.0
"""Seconds for which an answer serves those who come later."""
MAX_KEPT: Final = 256
"""Questions that are remembered; with more, the oldest are forgotten."""


class SharedAnswers:
    """Remembers answers for a second, and the questions under way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}

    async def get(self, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``ask`` answers, or answered to the same question within the last second.

        Failures are raised to all who wait, and remembered by nobody.
        """
        now = self._clock.monotonic()
        asked_at, task = self._answers.get(question, (0.0, None))
        if task is None or now - asked_at >= KEPT or (task.done() and _failed(task)):
            task = asyncio.get_running_loop().create_task(ask())
            self._answers.pop(question, None)
            self._answers[question] = (now, task)
            if len(self._answers) > MAX_KEPT:
                del self._answers[next(iter(self._answers))]
        # Whoever gives up does not take the answer from the others.
        return cast("T", await asyncio.shield(task))


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None
