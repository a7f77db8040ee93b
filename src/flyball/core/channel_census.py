"""Which channels have subscribers: all of them at once, or a page of them.

All of them are asked for in the form that Centrifugo's nodes answer too. A page is in the order of
names, or has the busiest ones; each node gives the first of its own, as in
:mod:`flyball.core.census`. Whatever is asked, a node works in slices.
"""

from __future__ import annotations

import asyncio
from heapq import nsmallest
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from flyball.core.census import answers_of, check_limit, first_page, in_turns
from flyball.core.control import CONTROL
from flyball.core.control_messages import ChannelInfo, ChannelsRequest, ChannelsResult
from flyball.core.errors import Error
from flyball.core.glob import compile_glob
from flyball.protocol import codes
from flyball.protocol.varints import cut_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import Protocol

    from flyball.core.cluster import SurveyHandler, SurveyResult
    from flyball.core.hub import Hub

    class Asks(Protocol):
        """A survey of all nodes, as :meth:`Node.survey`."""

        def __call__(self, op: str, data: bytes) -> Awaitable[dict[str, SurveyResult]]: ...


__all__ = ["ChannelEntry", "ChannelOrder", "ChannelsPage", "ChannelsQuery"]

CHANNELS: Final = "channels"
PAGE: Final = "flyball_channels"
COUNTS: Final = "flyball_channel_counts"
WIRE_SLICE: Final = 500
"""Channels written or read in Protobuf before others have their turn: about 2 ms."""

ChannelOrder: TypeAlias = Literal["name", "clients"]
"""``clients``: those with the most subscribers first."""


class ChannelsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which channels are wanted."""

    pattern: str = ""
    """A glob for their names, see :mod:`flyball.core.glob`."""
    order: ChannelOrder = "name"
    """The busiest have one page only."""
    limit: int = 100
    """Entries of the page, 1 to 1000."""
    cursor: str = ""
    """``cursor`` of the page before, in the order of names."""


class ChannelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A channel with subscribers."""

    channel: str
    num_clients: int
    """Subscribers, over all nodes."""


class ChannelsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some channels of all nodes."""

    channels: list[ChannelEntry]
    """In the order that was asked for."""
    total: int = 0
    """How many fit; 0: not known, as the same channel may be on several nodes."""
    cursor: str = ""
    """Asks for the next page; empty: there is none."""


class ChannelCensus:
    """Answers for one node.

    Args:
        hub: gives the channels of the node's run.
    """

    def __init__(self, hub: Callable[[], Hub]) -> None:
        self._hub = hub

    def handlers(self) -> dict[str, SurveyHandler]:
        """Survey to who answers it."""
        return {CHANNELS: self._all_here, PAGE: self._page_here, COUNTS: self._counts_here}

    async def _all_here(self, asked: bytes) -> bytes:
        fits = compile_glob(CONTROL.protobuf.read(ChannelsRequest, asked).pattern)
        channels = self._hub().channels
        found = [name for name in channels if fits(name)]
        # Maps in Protobuf are joined by writing one after the other.
        parts: list[bytes] = []
        async for names in in_turns(found, WIRE_SLICE):
            part = {
                name: ChannelInfo(channels[name].num_subscribers)
                for name in names
                if name in channels
            }
            parts.append(CONTROL.protobuf.write(ChannelsResult(part)))
        return b"".join(parts)

    async def _page_here(self, asked: bytes) -> bytes:
        query = msgspec.json.decode(asked, type=ChannelsQuery)
        fits = compile_glob(query.pattern)
        channels = self._hub().channels
        found: list[tuple[int, str]] = []  # by what they are ordered by
        total = 0
        async for part in in_turns(list(channels)):
            fitting = [name for name in part if name in channels and fits(name)]
            total += len(fitting)
            if query.order == "clients":
                ranked = [(-channels[name].num_subscribers, name) for name in fitting]
            else:
                ranked = [(0, name) for name in fitting if name > query.cursor]
            found = nsmallest(query.limit + 1, [*found, *ranked])
        names = [name for _, name in found]
        return msgspec.json.encode(ChannelsPage(channels=self._entries(names), total=total))

    def _counts_here(self, asked: bytes) -> bytes:
        return msgspec.json.encode(self._entries(msgspec.json.decode(asked, type=list[str])))

    def _entries(self, names: list[str]) -> list[ChannelEntry]:
        channels = self._hub().channels
        return [
            ChannelEntry(channel=name, num_clients=channels[name].num_subscribers)
            for name in names
            if name in channels
        ]


async def ask_for_all(survey: Asks, pattern: str) -> dict[str, int]:
    """See :meth:`Node.channels`."""
    compile_glob(pattern)
    answers = await survey(CHANNELS, CONTROL.protobuf.write(ChannelsRequest(pattern)))
    total: dict[str, int] = {}
    for _, data in answers_of(answers):
        for number, part in enumerate(cut_message(data, WIRE_SLICE)):
            if number:
                await asyncio.sleep(0)
            found = CONTROL.protobuf.read(ChannelsResult, part).channels or {}
            for name, info in found.items():
                total[name] = total.get(name, 0) + info.num_clients
    return total


async def ask_for_page(survey: Asks, query: ChannelsQuery) -> ChannelsPage:
    """See :meth:`Node.channels_page`."""
    check_limit(query.limit)
    compile_glob(query.pattern)
    if query.order not in ("name", "clients"):
        detail = f"order is {query.order!r}, allowed are 'name' and 'clients'"
        raise Error(codes.BAD_REQUEST, detail=detail)
    if query.order == "clients" and query.cursor:
        detail = "the busiest channels have one page only: a cursor needs order='name'"
        raise Error(codes.BAD_REQUEST, detail=detail)
    answers = await survey(PAGE, msgspec.json.encode(query))
    pages = [msgspec.json.decode(data, type=ChannelsPage) for _, data in answers_of(answers)]
    if query.order == "clients":
        return await _busiest(survey, pages, query.limit)
    counts = _add_up(page.channels for page in pages)
    first, cursor = first_page(counts, query.limit)
    return _page(first, counts, pages, cursor)


async def _busiest(survey: Asks, pages: list[ChannelsPage], limit: int) -> ChannelsPage:
    """Those that are among the first on any node, by their subscribers on all of them."""
    counts = _add_up(page.channels for page in pages)
    if len(pages) > 1:
        answers = await survey(COUNTS, msgspec.json.encode(list(counts)))
        counts = _add_up(
            msgspec.json.decode(data, type=list[ChannelEntry]) for _, data in answers_of(answers)
        )
    first = nsmallest(limit, counts, key=lambda name: (-counts[name], name))
    return _page(first, counts, pages, "")


def _add_up(lists: Iterable[list[ChannelEntry]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entries in lists:
        for entry in entries:
            counts[entry.channel] = counts.get(entry.channel, 0) + entry.num_clients
    return counts


def _page(
    names: list[str], counts: Mapping[str, int], pages: list[ChannelsPage], cursor: str
) -> ChannelsPage:
    entries = [ChannelEntry(channel=name, num_clients=counts[name]) for name in names]
    totals = [page.total for page in pages if page.total]
    return ChannelsPage(channels=entries, total=totals[0] if len(totals) == 1 else 0, cursor=cursor)
