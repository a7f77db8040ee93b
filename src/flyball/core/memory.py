"""The memory engine: streams and presence inside this process.

Nothing here ever waits, so everything built on it runs without tasks. What is kept is gone
when the process ends; clients learn that by the epoch.
"""

from __future__ import annotations

import random
import string
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

from flyball.aio.clock import Clock, LoopClock
from flyball.core.broker import Broker, PresenceManager
from flyball.core.types import (
    NO_RESULT,
    HistoryFilter,
    HistoryResult,
    PresenceStats,
    Publication,
    PublishOptions,
    PublishResult,
    Raw,
    StreamPosition,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flyball.aio.clock import TimerHandle
    from flyball.core.broker import BrokerEvents
    from flyball.core.types import ClientInfo

__all__ = ["MemoryBroker", "MemoryPresenceManager"]

EPOCH_LENGTH = 8
SWEEP_INTERVAL = 1.0
"""Seconds by which memory is given back late; reads never see expired things anyway."""
SWEEP_BUDGET = 5000
"""Keys looked at in one turn of the event loop."""
LONGEST_SLEEP = 86400.0
"""Seconds; timers of event loops have an upper bound."""
NO_POSITION = StreamPosition()


def new_epoch() -> str:
    """A name for a new stream: eight letters."""
    return "".join(random.choices(string.ascii_letters, k=EPOCH_LENGTH))  # noqa: S311 - no secret


class Sweeper:
    """Calls back for keys whose time has come, about ``SWEEP_INTERVAL`` late.

    One timer, set for the first deadline: nothing runs while nothing is due. A key whose
    deadline moves away costs nothing: it is looked at when the old one comes.
    """

    __slots__ = ("_clock", "_closed", "_due", "_expire", "_handle", "_heap", "_wakes_at")

    def __init__(self, clock: Clock, expire: Callable[[str, float], float]) -> None:
        """``expire(key, now)`` drops what is over and returns the next deadline, ``inf`` for none."""
        self._clock = clock
        self._expire = expire
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        """The entry of the heap that counts, for each key; others are leftovers."""
        self._handle: TimerHandle | None = None
        self._wakes_at = inf
        self._closed = False

    def watch(self, key: str, deadline: float) -> None:
        """Looks at ``key`` at ``deadline`` (monotonic seconds), or earlier if asked before."""
        if deadline >= self._due.get(key, inf) or self._closed:
            return
        self._due[key] = deadline
        heappush(self._heap, (deadline, key))
        if deadline + SWEEP_INTERVAL < self._wakes_at:
            self._wake_at(deadline + SWEEP_INTERVAL)

    def open(self) -> None:
        """Watches again after :meth:`close`."""
        self._closed = False

    def close(self) -> None:
        """Forgets everything, and watches nothing until :meth:`open`."""
        self._closed = True
        self._heap.clear()
        self._due.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._wakes_at = inf

    def _wake_at(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        delay = min(max(when - self._clock.monotonic(), 0.0), LONGEST_SLEEP)
        self._wakes_at = when
        self._handle = self._clock.call_later(delay, self._sweep)

    def _sweep(self) -> None:
        self._handle = None
        self._wakes_at = inf
        now = self._clock.monotonic()
        heap = self._heap
        budget = SWEEP_BUDGET
        while heap and heap[0][0] <= now and budget:
            deadline, key = heappop(heap)
            if self._due.get(key) != deadline:
                continue
            budget -= 1
            del self._due[key]
            again = self._expire(key, now)
            if again != inf:
                self._due[key] = again
                heappush(heap, (again, key))
        if not heap:
            return
        # Out of budget: others get the loop before the rest is done.
        self._wake_at(now if heap[0][0] <= now else heap[0][0] + SWEEP_INTERVAL)


class Stream:
    """The publications of one channel that are kept, and its position."""

    __slots__ = ("_kept", "_size", "epoch", "expires_at", "meta_expires_at", "top", "versions")

    def __init__(self) -> None:
        self.epoch: str = new_epoch()
        self.top: int = 0
        """Offset of the newest publication, kept or not."""
        # A list takes a tenth of a small deque's memory, and gives slices.
        self._kept: list[Publication] = []
        self._size = 0  # of these only the last so many count
        self.expires_at: float = inf
        """Monotonic seconds when the publications are over."""
        self.meta_expires_at: float = inf
        """Monotonic seconds when the position is over as well."""
        self.versions: tuple[int, str] | None = None
        """Last version and its version epoch."""

    @property
    def position(self) -> StreamPosition:
        """Top of the stream."""
        return StreamPosition(self.top, self.epoch)

    @property
    def newest(self) -> Publication | None:
        """The last publication, if any is kept."""
        return self._kept[-1] if self._kept else None

    def append(self, publication: Publication, size: int) -> None:
        """Adds a publication at the next offset and keeps the newest ``size``."""
        self.top += 1
        publication.offset = self.top
        if self.top == 1:
            publication.epoch = self.epoch
        self._kept.append(publication)
        excess = len(self._kept) - size
        # Long streams are cut now and then: moving the rest down each time would cost more.
        if excess > 0 and (excess >= size >> 3 or size < self._size):
            del self._kept[:excess]
        self._size = size

    def clear(self) -> None:
        """Drops the publications; the position lives on."""
        self._kept.clear()
        self.expires_at = inf

    def __len__(self) -> int:
        return min(len(self._kept), self._size)

    def read(self, query: HistoryFilter) -> list[Publication]:
        """The publications that ``query`` asks for."""
        kept, limit = self._kept, query.limit
        if limit == 0 or not kept:
            return []
        first, end = kept[0].offset, len(kept)
        oldest = start = max(end - self._size, 0)
        # Offsets in the stream are without holes: a position is an index.
        if query.reverse:
            if query.since is not None:
                end = min(max(query.since.offset - first, oldest), end)
            if limit > 0:
                start = max(end - limit, oldest)
            return kept[start:end][::-1]
        if query.since is not None:
            start = min(max(query.since.offset + 1 - first, oldest), end)
        return kept[start : start + limit if limit > 0 else end]


class MemoryBroker(Broker):
    """Keeps streams in this process and delivers to its own node.

    Args:
        clock: where time comes from.
        history_meta_ttl: seconds for which positions live where publishers say nothing; 0 forever.
    """

    def __init__(
        self, clock: Clock | None = None, *, history_meta_ttl: float = 2_592_000.0
    ) -> None:
        self._clock: Clock = clock or LoopClock()
        self._meta_ttl = history_meta_ttl
        self._events: BrokerEvents | None = None
        self._streams: dict[str, Stream] = {}
        self._repeats: dict[str, tuple[PublishResult, float]] = {}
        """Channel and idempotency key to result and deadline."""
        self._stream_sweeper = Sweeper(self._clock, self._expire_stream)
        self._repeat_sweeper = Sweeper(self._clock, self._expire_repeat)

    async def start(self, events: BrokerEvents) -> None:
        """See :meth:`Broker.start`."""
        self._events = events
        self._stream_sweeper.open()
        self._repeat_sweeper.open()

    async def close(self) -> None:
        """See :meth:`Broker.close`. What was kept is gone, as at the end of the process."""
        self._events = None
        self._streams.clear()
        self._repeats.clear()
        self._stream_sweeper.close()
        self._repeat_sweeper.close()

    async def subscribe(self, channel: str) -> None:
        """Nothing to do: this node gets everything."""

    async def unsubscribe(self, channel: str) -> None:
        """Nothing to do: the hub ignores channels without subscribers."""

    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """See :meth:`Broker.publish`."""
        repeat_key = ""
        if options.idempotency_key:
            repeat_key = f"{channel}\0{options.idempotency_key}"
            known = self._repeats.get(repeat_key)
            if known is not None and known[1] > self._clock.monotonic():
                return PublishResult(known[0].offset, known[0].epoch, "idempotency")
        publication = Publication(
            data=data, info=options.info, tags=options.tags, version=options.version
        )
        previous: Publication | None = None
        position = NO_POSITION
        result = NO_RESULT
        if options.keeps_history:
            stream = self._stream(channel, options.history_meta_ttl)
            if options.version and _is_old(stream, options):
                return PublishResult(stream.top, stream.epoch, "version")
            if options.delta:
                previous = stream.newest
            position = self._append(channel, stream, publication, options)
            result = PublishResult(position.offset, position.epoch)
        if repeat_key:
            self._remember(repeat_key, result, options.idempotency_ttl)
        if self._events is not None:
            self._events.on_publication(
                channel, publication, position, delta=options.delta, previous=previous, lag=0.0
            )
        return result

    def _append(
        self, channel: str, stream: Stream, publication: Publication, options: PublishOptions
    ) -> StreamPosition:
        stream.append(publication, options.history_size)
        if options.version:
            stream.versions = (options.version, options.version_epoch)
        stream.expires_at = self._clock.monotonic() + options.history_ttl
        self._stream_sweeper.watch(channel, stream.expires_at)
        return StreamPosition(stream.top, stream.epoch)

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`."""
        if self._events is not None:
            if joined:
                self._events.on_join(channel, info)
            else:
                self._events.on_leave(channel, info)

    async def history(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """See :meth:`Broker.history`."""
        stream = self._stream(channel, query.meta_ttl)
        return HistoryResult(stream.read(query), stream.position)

    async def remove_history(self, channel: str) -> None:
        """See :meth:`Broker.remove_history`."""
        stream = self._streams.get(channel)
        if stream is not None:
            stream.clear()

    def forget(self, channel: str) -> None:
        """Drops the stream with its position, as a restart would: the next one is a new epoch."""
        self._streams.pop(channel, None)

    # -- expiry

    def _stream(self, channel: str, meta_ttl: float) -> Stream:
        """The channel's stream, without what is over; its position lives on for ``meta_ttl``."""
        now = self._clock.monotonic()
        stream = self._streams.get(channel)
        if stream is not None and stream.meta_expires_at <= now:
            stream = None
        ttl = meta_ttl or self._meta_ttl
        if stream is None:
            stream = self._streams[channel] = Stream()
        elif stream.expires_at <= now:
            stream.clear()
        stream.meta_expires_at = now + ttl if ttl else inf
        self._stream_sweeper.watch(channel, stream.meta_expires_at)
        return stream

    def _expire_stream(self, channel: str, now: float) -> float:
        stream = self._streams.get(channel)
        if stream is None:
            return inf
        if stream.meta_expires_at <= now:
            del self._streams[channel]
            return inf
        if stream.expires_at <= now:
            stream.clear()
        return min(stream.expires_at, stream.meta_expires_at)

    def _remember(self, key: str, result: PublishResult, ttl: float) -> None:
        deadline = self._clock.monotonic() + ttl
        self._repeat_sweeper.watch(key, deadline)
        self._repeats[key] = (result, deadline)

    def _expire_repeat(self, key: str, now: float) -> float:
        _, deadline = self._repeats[key]
        if deadline > now:
            return deadline
        del self._repeats[key]
        return inf


def _is_old(stream: Stream, options: PublishOptions) -> bool:
    if stream.versions is None:
        return False
    version, version_epoch = stream.versions
    # No version epoch compares with whatever there is; another one starts anew.
    same = not options.version_epoch or options.version_epoch == version_epoch
    return same and options.version <= version


class MemoryPresenceManager(PresenceManager):
    """Knows the subscribers of this process.

    Args:
        clock: where time comes from.
        presence_ttl: seconds after which an entry that nobody prolongs is gone.
    """

    def __init__(self, clock: Clock | None = None, *, presence_ttl: float = 60.0) -> None:
        self._clock: Clock = clock or LoopClock()
        self._ttl = presence_ttl
        self._channels: dict[str, dict[str, tuple[ClientInfo, float]]] = {}
        self._sweeper = Sweeper(self._clock, self._expire)

    async def add_presence(self, channel: str, client_id: str, info: ClientInfo) -> None:
        """See :meth:`PresenceManager.add_presence`."""
        deadline = self._clock.monotonic() + self._ttl
        entries = self._channels.get(channel)
        if entries is None:
            entries = self._channels[channel] = {}
        self._sweeper.watch(channel, deadline)
        entries[client_id] = (info, deadline)

    async def remove_presence(self, channel: str, client_id: str, user: str) -> None:  # noqa: ARG002
        """See :meth:`PresenceManager.remove_presence`."""
        entries = self._channels.get(channel)
        if entries is not None:
            entries.pop(client_id, None)
            if not entries:
                del self._channels[channel]

    async def presence(self, channel: str) -> Mapping[str, ClientInfo]:
        """See :meth:`PresenceManager.presence`."""
        now = self._clock.monotonic()
        entries = self._channels.get(channel, {})
        return {client: info for client, (info, deadline) in entries.items() if deadline > now}

    async def presence_stats(self, channel: str) -> PresenceStats:
        """See :meth:`PresenceManager.presence_stats`."""
        now = self._clock.monotonic()
        entries = self._channels.get(channel, {})
        users = [info.user for info, deadline in entries.values() if deadline > now]
        return PresenceStats(len(users), len(set(users)))

    async def start(self) -> None:
        """See :meth:`PresenceManager.start`."""
        self._sweeper.open()

    async def close(self) -> None:
        """See :meth:`PresenceManager.close`. Nobody is there any more."""
        self._channels.clear()
        self._sweeper.close()

    def _expire(self, channel: str, now: float) -> float:
        entries = self._channels.get(channel)
        if entries is None:
            return inf
        for client in [c for c, (_, deadline) in entries.items() if deadline <= now]:
            del entries[client]
        if not entries:
            del self._channels[channel]
            return inf
        return min(deadline for _, deadline in entries.values())
