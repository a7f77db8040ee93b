"""Messages that wait to be done: side by side, and in order in each lane."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """What waits, by its lane. Of one lane nothing is given while something of it is in hands."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[T]] = {}
        """Of each lane that something was put into and that is not worked off."""
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        """Lanes whose next one may be taken."""

    def put(self, lane: str, item: T) -> None:
        """Behind all others of its lane."""
        if lane in self._waiting:
            self._waiting[lane].append(item)
        else:
            self._waiting[lane] = deque([item])
            self._ready.put_nowait(lane)

    async def take(self) -> tuple[str, T]:
        """The next one, and its lane, which must be given back by :meth:`done`."""
        lane = await self._ready.get()
        return lane, self._waiting[lane].popleft()

    def done(self, lane: str) -> None:
        """What was taken is no more in hands."""
        if self._waiting[lane]:
            self._ready.put_nowait(lane)
        else:
            del self._waiting[lane]

    def clear(self, lane: str) -> list[T]:
        """Takes out what waits in a lane of which something is in hands."""
        waiting = list(self._waiting[lane])
        self._waiting[lane].clear()
        return waiting

    def clear_all(self) -> list[T]:
        """Takes out what waits in all lanes, when nobody takes any more."""
        waiting = [item for items in self._waiting.values() for item in items]
        self._waiting.clear()
        self._ready = asyncio.Queue()
        return waiting
