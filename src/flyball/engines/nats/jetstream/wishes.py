"""Publications that wait to be written to a channel, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections import deque

    from flyball.core.errors import FlyballError
    from flyball.core.types import PublishOptions, PublishResult

MOST_TOGETHER: Final = 100
"""Publications in one message."""
MOST_BYTES: Final = 64 << 10
"""Bytes of publications in one message, unless the first one is longer."""


@dataclass(slots=True)
class Wish:
    """A publication that waits to be written."""

    stored: bytes
    options: PublishOptions
    done: asyncio.Future[PublishResult]


def together(wishes: deque[Wish]) -> list[Wish]:
    """Takes those that are written next: one with an idempotency key, or several without."""
    taken = [wishes.popleft()]
    size = len(taken[0].stored)
    if taken[0].options.idempotency_key:
        return taken
    while wishes and len(taken) < MOST_TOGETHER:
        size += len(wishes[0].stored)
        if size > MOST_BYTES or not _alike(wishes[0].options, taken[0].options):
            break
        taken.append(wishes.popleft())
    return taken


def settle(wishes: list[Wish], results: list[PublishResult]) -> None:
    """Whoever waits for them is told what became of them."""
    for wish, result in zip(wishes, results, strict=True):
        if not wish.done.done():
            wish.done.set_result(result)


def fail(wishes: list[Wish], error: FlyballError) -> None:
    """Whoever waits for them is told that they failed."""
    for wish in wishes:
        if not wish.done.done():
            wish.done.set_exception(error)


def _alike(one: PublishOptions, other: PublishOptions) -> bool:
    """They want the same of the stream."""
    return (
        not one.idempotency_key
        and one.history_size == other.history_size
        and one.history_ttl == other.history_ttl
        and one.history_meta_ttl == other.history_meta_ttl
    )
