"""Whether streams are still those that this node followed, after a link was lost.

A replica that lags may have taken over: then publications that were acknowledged, and that this
node passed on, are gone, and others get their offsets. Nothing in offset and epoch tells. So the
node remembers of each stream the last publication that it saw, and looks at its place whether it
is still there. While it looks, what comes is held back: if the stream has changed nobody may take
it for the continuation of the old one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from flyball.core.errors import FlyballError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger: Final = logging.getLogger("flyball.engine")

RETRY_DELAY: Final = 0.05
"""Seconds until a look that failed is tried again."""
AT_ONCE: Final = 1000
"""Streams looked at at once."""


M = TypeVar("M")


class Seen(NamedTuple):
    """The last publication of a stream: its place, and a hash of it."""

    offset: int
    epoch: str
    hash: int


class Continuity(Generic[M]):
    """Remembers what was seen of streams, and finds those that changed meanwhile.

    Args:
        unchanged: tells whether a stream still has what was seen; raises FlyballError if that
            cannot be told now. It puts right what must be.
        deliver: gets the messages that were held back: channel, and the message.
        max_wait: seconds for which messages are held back at most.
    """

    __slots__ = ("_deliver", "_held", "_max_wait", "_seen", "_suspects", "_task", "_unchanged")

    def __init__(
        self,
        unchanged: Callable[[str, Seen], Awaitable[bool]],
        deliver: Callable[[str, M], None],
        max_wait: float,
    ) -> None:
        self._unchanged = unchanged
        self._deliver = deliver
        self._max_wait = max_wait
        self._seen: dict[str, Seen] = {}
        self._suspects: dict[str, Seen] = {}
        self._held: list[tuple[str, M]] | None = None
        self._task: asyncio.Task[None] | None = None

    def saw(self, channel: str, offset: int, epoch: str, hash_: int) -> bool:
        """Remembers a publication; False if it cannot come after the last one."""
        last = self._seen.get(channel)
        if last is not None and last.epoch == epoch and offset <= last.offset:
            return False
        self._seen[channel] = Seen(offset, epoch, hash_)
        return True

    def forget(self, channel: str) -> None:
        """Nobody here follows the stream any more."""
        self._seen.pop(channel, None)
        self._suspects.pop(channel, None)

    async def close(self) -> None:
        """Forgets everything, and looks no more."""
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._seen.clear()
        self._suspects.clear()
        self._held = None

    # -- after a link was lost

    def hold(self) -> None:
        """A link is back: what comes by it waits until the streams were looked at."""
        self._suspects = {**self._seen, **self._suspects}
        if self._held is None:
            self._held = []

    def holds(self, channel: str, message: M) -> bool:
        """Takes a message if it has to wait."""
        if self._held is None:
            return False
        self._held.append((channel, message))
        return True

    def look(self, then: Callable[[], None] | None = None) -> None:
        """Looks at all streams that may have changed; calls ``then`` when that is done."""
        previous = self._task
        work = self._look(previous, then)
        self._task = asyncio.get_running_loop().create_task(work, name="flyball streams")

    async def _look(
        self, previous: asyncio.Task[None] | None, then: Callable[[], None] | None
    ) -> None:
        if previous is not None:
            await asyncio.gather(previous, return_exceptions=True)
        changed: set[str] = set()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._max_wait
        while self._suspects:
            await self._look_once(changed)
            if not self._suspects or loop.time() > deadline:
                break  # its servers are away: it is looked at when they are back
            await asyncio.sleep(RETRY_DELAY)
        if then is not None:
            then()
        held, self._held = self._held or [], None
        for channel, message in held:
            if channel not in changed:
                self._deliver(channel, message)

    async def _look_once(self, changed: set[str]) -> None:
        suspects = list(self._suspects.items())
        for start in range(0, len(suspects), AT_ONCE):
            part = suspects[start : start + AT_ONCE]
            answers = await asyncio.gather(
                *(self._unchanged(channel, seen) for channel, seen in part), return_exceptions=True
            )
            for (channel, seen), answer in zip(part, answers, strict=True):
                if isinstance(answer, FlyballError):
                    continue
                if isinstance(answer, BaseException):
                    raise answer
                if self._suspects.get(channel) == seen:
                    del self._suspects[channel]
                if not answer:
                    changed.add(channel)
                    self._seen.pop(channel, None)


def tell_of_loss(store: str, channel: str, offset: int) -> None:
    """The log hears that a stream went back, and has a fresh epoch therefore.

    Args:
        store: what lost the publications.
        channel: of the stream.
        offset: behind which it went back.
    """
    logger.error(
        "the stream of %r went back behind offset %d: %s lost publications that it"
        " had acknowledged; its subscribers recover from a fresh epoch",
        *(channel, offset, store),
    )
