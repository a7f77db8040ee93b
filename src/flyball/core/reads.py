"""Reads of streams that many subscribers want at once: a storm of returning clients is one read.

Whoever comes while a stream is being read waits for the next read: what it needs may have been
published since this one began. Then one read serves all who wait, from the oldest position on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from flyball.core.types import HistoryFilter, HistoryResult

if TYPE_CHECKING:
    from flyball.core.broker import Broker
    from flyball.core.runtime import Runtime


class _Wish(NamedTuple):
    """A read that waits for others."""

    query: HistoryFilter
    result: asyncio.Future[HistoryResult]


class SharedReads:
    """Reads streams; of each no more than one read is under way."""

    __slots__ = ("_broker", "_runtime", "_waiting")

    def __init__(self, runtime: Runtime, broker: Broker) -> None:
        self._runtime = runtime
        self._broker = broker
        self._waiting: dict[str, list[_Wish]] = {}
        """Channels that are being read, and who has come since."""

    async def read(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """As :meth:`Broker.history <flyball.core.broker.Broker.history>`; others may get the
        same list of publications, which must not be changed.
        """
        waiting = self._waiting.get(channel)
        if waiting is not None:
            result: asyncio.Future[HistoryResult] = asyncio.get_running_loop().create_future()
            waiting.append(_Wish(query, result))
            return await result
        self._waiting[channel] = []
        try:
            return await self._ask(channel, query)
        finally:
            if self._waiting[channel]:
                self._runtime.tasks.spawn(self._serve(channel), "history reads")
            else:
                del self._waiting[channel]

    async def _ask(self, channel: str, query: HistoryFilter) -> HistoryResult:
        self._runtime.metrics.history_reads += 1
        return await self._broker.history(channel, query)

    async def _serve(self, channel: str) -> None:
        """Reads until nobody waits."""
        try:
            while wishes := self._waiting[channel]:
                self._waiting[channel] = []
                await self._serve_alike(channel, wishes)
        finally:
            for wish in self._waiting.pop(channel):
                wish.result.cancel()

    async def _serve_alike(self, channel: str, wishes: list[_Wish]) -> None:
        """Serves those that one read can serve; the others wait again, before all who came since."""
        alike = [wish for wish in wishes if _are_alike(wish, wishes[0])]
        query = widest([wish.query for wish in alike])
        rest = [wish for wish in wishes if not _are_alike(wish, wishes[0])]
        try:
            found = await self._ask(channel, query)
        except Exception as error:  # noqa: BLE001 - it is theirs
            for wish in alike:
                _settle(wish, error)
        except BaseException:
            for wish in wishes:
                wish.result.cancel()
            raise
        else:
            for wish in alike:
                part = part_of(found, query, wish.query)
                if part is None:
                    rest.append(wish)
                else:
                    _settle(wish, part)
        self._waiting[channel][:0] = rest


def _settle(wish: _Wish, outcome: HistoryResult | Exception) -> None:
    if wish.result.done():
        return  # nobody waits any more
    if isinstance(outcome, Exception):
        wish.result.set_exception(outcome)
    else:
        wish.result.set_result(outcome)


def _are_alike(one: _Wish, other: _Wish) -> bool:
    """One read can serve both, if it goes far enough."""
    if one.query.meta_ttl != other.query.meta_ttl:
        return False
    return one.query == other.query or (_is_onward(one.query) and _is_onward(other.query))


def _is_onward(query: HistoryFilter) -> bool:
    """Reads on from a position, or no more than where the stream stands."""
    return not query.limit or (query.since is not None and not query.reverse)


def widest(queries: list[HistoryFilter]) -> HistoryFilter:
    """The one whose read may serve the others: that from the oldest position."""
    return min(queries, key=_start)


def _start(query: HistoryFilter) -> float:
    if not query.limit:
        return float("inf")
    return query.since.offset if query.since is not None else 0


def part_of(
    found: HistoryResult, asked: HistoryFilter, query: HistoryFilter
) -> HistoryResult | None:
    """What ``query`` would have found, out of what ``asked`` did; None if it does not have all."""
    if query == asked:
        return found
    if not query.limit or query.since is None:
        return HistoryResult([], found.position)
    missed = [p for p in found.publications if p.offset > query.since.offset]
    if 0 <= query.limit <= len(missed):
        return HistoryResult(missed[: query.limit], found.position)
    is_all = asked.limit < 0 or len(found.publications) < asked.limit
    return HistoryResult(missed, found.position) if is_all else None
