"""Many coroutines at once, without tasks for those that do not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from flyball.aio.eager import start_eagerly

T = TypeVar("T")
R = TypeVar("R")

MAX_CONCURRENCY: Final = 1024
"""Most parts of one broadcast or parallel batch under way at the same time."""


async def map_concurrently(
    function: Callable[[T], Coroutine[Any, Any, R]],
    items: Sequence[T],
    *,
    limit: int = MAX_CONCURRENCY,
) -> list[R]:
    """The results of ``function`` for all items, in their order.

    The first failure ends the whole: what is still under way is cancelled.

    Args:
        function: Called for each item.
        items: What is to be done.
        limit: Most of them under way at the same time.
    """
    results: dict[int, R] = {}
    pending: dict[asyncio.Task[R], int] = {}
    try:
        for index, item in enumerate(items):
            outcome = start_eagerly(function(item))
            if isinstance(outcome, asyncio.Task):
                pending[outcome] = index
                if len(pending) >= limit:
                    await _collect(pending, results, asyncio.FIRST_COMPLETED)
            else:
                results[index] = outcome
        if pending:
            await _collect(pending, results, asyncio.ALL_COMPLETED)
    finally:
        if pending:
            await _abandon(list(pending))
    return [results[index] for index in range(len(items))]


async def _collect(
    pending: dict[asyncio.Task[R], int], results: dict[int, R], return_when: str
) -> None:
    done, _ = await asyncio.wait(pending, return_when=return_when)
    for task in done:
        results[pending.pop(task)] = task.result()


async def _abandon(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancels ``tasks`` and waits for their end, whatever it is."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
