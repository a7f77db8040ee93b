"""Parts of the program as subscribers: ``async for publication in node.subscribe("ch")``."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from flyball.core.errors import Error, FlyballError
from flyball.core.recovery import recover_stream
from flyball.core.types import HistoryFilter
from flyball.protocol import codes

if TYPE_CHECKING:
    from types import TracebackType

    from flyball.core.node import Node
    from flyball.core.types import Publication, StreamPosition


class TooSlowError(FlyballError):
    """The program did not take publications as fast as they came."""


class ChannelReader:
    """Publications of one channel, as an async iterator and async context manager.

    Leaving the ``async with`` block, or :meth:`close`, ends the subscription. Raises
    :class:`~flyball.core.errors.Error` 112 if the wanted position cannot be recovered.
    """

    def __init__(
        self, node: Node, channel: str, since: StreamPosition | None, max_waiting: int
    ) -> None:
        self._node = node
        self._channel = channel
        self._since = since
        self._max_waiting = max_waiting
        self._waiting: deque[Publication] = deque()
        self._wake = asyncio.Event()
        self._overflown = False
        self._opened = False
        self._closed = False
        self._offset = 0

    async def open(self) -> None:
        """Subscribes now rather than at the first publication asked for."""
        if self._opened:
            return
        self._opened = True
        self._node.hub.add_listener(self._channel, self._take)
        await self._node.settle_channel(self._channel)
        if self._since is not None:
            history = await self._node.history(self._channel, HistoryFilter(-1, self._since))
            recovery = recover_stream(self._since, history)
            if not recovery.recovered:
                await self.close()
                raise Error(codes.UNRECOVERABLE_POSITION)
            known = {p.offset for p in recovery.publications}
            live = [p for p in self._waiting if p.offset not in known]
            self._waiting = deque([*recovery.publications, *live])
            if self._waiting:
                self._wake.set()

    async def close(self) -> None:
        """Ends the subscription; a waiting iteration stops."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._node.hub.remove_listener(self._channel, self._take)
        await self._node.settle_channel(self._channel)

    def _take(self, publication: Publication, _position: StreamPosition) -> None:
        if len(self._waiting) >= self._max_waiting:
            self._overflown = True
        else:
            self._waiting.append(publication)
        self._wake.set()

    def __aiter__(self) -> ChannelReader:
        return self

    async def __anext__(self) -> Publication:
        await self.open()
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            if self._overflown:
                await self.close()
                message = f"more than {self._max_waiting} publications of {self._channel!r} waiting"
                raise TooSlowError(message)
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
