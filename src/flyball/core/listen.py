"""Parts of the program as subscribers: ``async for publication in node.subscribe("ch")``.

A reader follows the stream as a recovering client does:

1. NEW it waits to be opened.
2. LIVE it takes what comes, checked by offset and epoch where the channel has a history.
3. It is BEHIND when a publication is missing, when the link between nodes was down, or when it
   is to begin at an earlier position: it reads the history, page by page, before it goes on.
4. CLOSED it gives what it has, then the iteration ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from flyball.aio.states import State
from flyball.core.errors import Error, FlyballError
from flyball.core.received import Publication as Received
from flyball.core.types import HistoryFilter, StreamPosition
from flyball.protocol import codes

if TYPE_CHECKING:
    from types import TracebackType

    from flyball.core.membership import Membership
    from flyball.core.types import HistoryResult, Publication

PAGE_SIZE = 1000
"""Publications read at once to catch up."""


class TooSlowError(FlyballError):
    """The program did not take publications as fast as they came."""


class LostPositionError(Error):
    """Publications are missing, and the history has them no more. Code 112.

    ``position`` is that of the last publication the reader has given; what came between it and
    now is lost.
    """

    def __init__(self, channel: str, position: StreamPosition) -> None:
        detail = f"{channel!r} cannot be followed from offset {position.offset}"
        super().__init__(codes.UNRECOVERABLE_POSITION, detail=detail)
        self.channel = channel
        self.position = position


class ReaderState(State):
    """The states of a reader."""

    NEW = "new"
    LIVE = "live"
    BEHIND = "behind"
    CLOSED = "closed"


TRANSITIONS: Final = {
    ReaderState.NEW: frozenset({ReaderState.LIVE, ReaderState.BEHIND, ReaderState.CLOSED}),
    ReaderState.LIVE: frozenset({ReaderState.BEHIND, ReaderState.CLOSED}),
    ReaderState.BEHIND: frozenset({ReaderState.LIVE, ReaderState.CLOSED}),
    ReaderState.CLOSED: frozenset[ReaderState](),
}
"""State to the states that may follow."""


class ChannelReader:
    """Publications of one channel, as an async iterator and async context manager.

    In a channel with history nothing is skipped in silence: what was missed is read from the
    history, and if it is not there any more the iteration raises :class:`LostPositionError`.
    A reader that lets more than ``max_waiting`` publications wait gets :class:`TooSlowError`.
    Leaving the ``async with`` block, :meth:`close` and the node's shutdown end the subscription.
    """

    def __init__(
        self,
        membership: Membership,
        channel: str,
        *,
        since: StreamPosition | None,
        max_waiting: int,
    ) -> None:
        self._membership = membership
        self._channel = channel
        self._position = since
        """Of the last publication in the queue; None before anything is known."""
        self._max_waiting = max_waiting
        self._waiting: deque[Publication] = deque()
        self._wake = asyncio.Event()
        self._overflown = False
        self._ahead: list[tuple[Publication, StreamPosition]] | None = None
        """What comes while the history is read; None otherwise."""
        self._read_again = False
        """Something happened meanwhile that this reading cannot have seen."""
        self._state = ReaderState.NEW

    async def open(self) -> None:
        """Subscribes now rather than at the first publication asked for.

        Raises:
            LostPositionError: what came after ``since`` is not in the history any more.
        """
        if self._state is not ReaderState.NEW:
            return
        self._become(ReaderState.BEHIND)
        try:
            await self._membership.add_listener(self._channel, self)
            await self._catch_up()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends the subscription; a waiting iteration stops."""
        if self._state is ReaderState.CLOSED:
            return
        self._become(ReaderState.CLOSED)
        self._wake.set()
        await self._membership.remove_listener(self._channel, self)

    aclose = close
    """For ``contextlib.aclosing``, and where the reader is a feed."""

    def _become(self, state: ReaderState) -> None:
        assert state in TRANSITIONS[self._state], (self._state, state)
        self._state = state

    # -- what comes (see ``Listener``)

    def take(self, publication: Publication, position: StreamPosition) -> None:
        """A publication of the channel."""
        if position.epoch and not self._takes(publication, position):
            return
        if len(self._waiting) >= self._max_waiting:
            self._overflown = True
        else:
            self._waiting.append(publication)
        self._wake.set()

    def _takes(self, publication: Publication, position: StreamPosition) -> bool:
        if self._state is ReaderState.LIVE:
            return self._follows(publication, position)
        if self._ahead is None:
            return False  # the history, which is to be read, has it
        if len(self._ahead) < self._max_waiting:
            self._ahead.append((publication, position))
        else:
            self._read_again = True
        return False

    def _follows(self, publication: Publication, position: StreamPosition) -> bool:
        """Whether it is the next one of the stream; if one is missing the reader is behind."""
        known = self._position
        offset = publication.offset
        if known is not None and known.epoch == position.epoch:
            if offset <= known.offset:
                return False
            if offset == known.offset + 1:
                self._position = StreamPosition(offset, position.epoch)
                return True
        self.check()
        return False

    def check(self) -> None:
        """Publications may be missing: the history tells."""
        self._read_again = True
        if self._state is ReaderState.LIVE:
            self._become(ReaderState.BEHIND)
            self._wake.set()

    def stop(self) -> None:
        """The node is shut down."""
        self._become(ReaderState.CLOSED)
        self._wake.set()

    # -- catching up

    async def _catch_up(self) -> None:
        """Reads what is missing, until it is live or has something to give.

        Raises:
            LostPositionError: it is not there any more.
        """
        while self._state is ReaderState.BEHIND and not self._waiting:
            await self._read_page()

    async def _read_page(self) -> None:
        known = self._position
        query = HistoryFilter(0) if known is None else HistoryFilter(PAGE_SIZE, known)
        self._ahead, self._read_again = [], False
        try:
            history = await self._membership.read_stream(self._channel, query)
        finally:
            ahead, self._ahead = self._ahead, None
        if self._state is not ReaderState.BEHIND:
            return  # closed meanwhile
        if known is None:
            self._position = _beginning(ahead, history.position)
        else:
            self._position = self._append(known, history)
        if self._position.offset == history.position.offset and not self._read_again:
            self._become(ReaderState.LIVE)
            for publication, position in ahead:
                self.take(publication, position)

    def _append(self, known: StreamPosition, history: HistoryResult) -> StreamPosition:
        """Takes a page of what came after ``known``, if it is all of it; returns its end."""
        top, missed = history.position, history.publications
        follows = missed[0].offset == known.offset + 1 if missed else known.offset == top.offset
        if known.epoch not in ("", top.epoch) or not follows:
            raise LostPositionError(self._channel, known)
        self._waiting.extend(missed)
        return StreamPosition(missed[-1].offset if missed else top.offset, top.epoch)

    # -- the iteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        await self.open()
        while not self._waiting:
            if self._state is ReaderState.CLOSED:
                raise StopAsyncIteration
            if self._overflown:
                await self.close()
                message = f"more than {self._max_waiting} publications of {self._channel!r} waiting"
                raise TooSlowError(message)
            if self._state is ReaderState.BEHIND:
                await self._catch_up_or_close()
            else:
                self._wake.clear()
                await self._wake.wait()
        return Received.of(self._waiting.popleft())

    async def _catch_up_or_close(self) -> None:
        try:
            await self._catch_up()
        except LostPositionError:
            await self.close()
            raise

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


def _beginning(
    ahead: list[tuple[Publication, StreamPosition]], top: StreamPosition
) -> StreamPosition:
    """Where a reader begins that follows from now on.

    What came after its subscription is new to it, though the top, read later, counts it in.
    """
    if not ahead:
        return top
    first, position = ahead[0]
    return StreamPosition(first.offset - 1, position.epoch)
