"""The history of all channels in one JetStream stream: written, read, and cleared away."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flyball.core.errors import FlyballError
from flyball.core.types import LONGEST_TTL, HistoryResult, PublishResult, StreamPosition
from flyball.engines.common.continuity import tell_of_loss
from flyball.engines.nats.connection import MOST_UNSENT, TooMuchError
from flyball.engines.nats.jetstream import entries
from flyball.engines.nats.jetstream.api import BATCH, Ack, WrongLastError
from flyball.engines.nats.jetstream.barrier import Barrier
from flyball.engines.nats.jetstream.channels import Channels
from flyball.engines.nats.jetstream.entries import Entry
from flyball.engines.nats.jetstream.expiries import Expiries
from flyball.engines.nats.jetstream.wishes import Wish, fail, settle, together

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from flyball.core.types import HistoryFilter, Publication, PublishOptions
    from flyball.engines.nats.jetstream.api import JetStream, Stored
    from flyball.engines.nats.jetstream.channels import Channel
    from flyball.engines.nats.jetstream.streams import Streams
    from flyball.engines.nats.options import JetStreamOptions

logger: Final = logging.getLogger("flyball.engine")

MOST_TRIES: Final = 50
"""How often a write is tried while other nodes write the same channel."""
SWEEP_AGAIN: Final = 5_000
"""Milliseconds until what could not be cleared away is tried again."""
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_NEVER: Final = "never"
"""No message has this id."""
READ_TRIES: Final = 20
READ_DELAY: Final = 0.05
"""How often, and after how many seconds, a copy that lags is read again."""


class LaggingError(FlyballError):
    """No copy is as new as what was acknowledged."""


class CrowdedError(FlyballError):
    """Others were quicker, again and again."""


class HistoryStore:
    """Streams of channels.

    Args:
        jetstream: where they are kept.
        streams: names of streams and subjects.
        options: how long things live, and how many servers have a copy.
    """

    def __init__(
        self,
        jetstream: JetStream,
        streams: Streams,
        options: JetStreamOptions,
    ) -> None:
        self._jetstream = jetstream
        self._stream = streams.history
        self._barrier = Barrier(jetstream, streams.barrier_subject())
        self._options = options
        self._channels = Channels(streams.history_subject)
        self._expiries = Expiries()
        """Of channels that were written here."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        """Bytes of publications that wait to be stored."""
        self._copies = options.replicas > 1
        self._writer = entries.new_writer()

    def now(self) -> int:
        """Unix milliseconds."""
        return int(self._jetstream.now() * 1000)

    async def close(self) -> None:
        """Whoever still waits for a write is told."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._channels.clear()
        self._expiries.clear()

    def forget(self) -> None:
        """Another server may answer now: nothing is known."""
        self._channels.forget()

    # -- writing

    async def publish(self, name: str, stored: bytes, options: PublishOptions) -> PublishResult:
        """Adds a publication. What comes while one is written goes together, in the next message."""
        if self._waiting + len(stored) > MOST_UNSENT:
            raise TooMuchError(f"more than {MOST_UNSENT} bytes wait to be stored")
        channel = self._channels[name]
        wish = Wish(stored, options, asyncio.get_running_loop().create_future())
        channel.wishes.append(wish)
        if channel.task is None:
            channel.task = self._spawn(self._write_all(channel), "write")
        self._waiting += len(stored)
        try:
            return await wish.done
        finally:
            self._waiting -= len(stored)

    async def _write_all(self, channel: Channel) -> None:
        """Writes until nothing waits."""
        wishes: list[Wish] = []
        try:
            while channel.wishes:
                wishes = together(channel.wishes)
                try:
                    await self._write(channel, wishes)
                except FlyballError as error:
                    channel.known = False  # whether it was written is not known
                    fail(wishes, error)
        finally:
            channel.task = None
            fail([*wishes, *channel.wishes], FlyballError("the node stops"))
            channel.wishes.clear()

    async def _write(self, channel: Channel, wishes: list[Wish]) -> None:
        """Writes publications: several, or one with an idempotency key."""
        key = wishes[0].options.idempotency_key
        repeat = 0
        for _ in range(MOST_TRIES):
            fresh = not channel.known
            last = await self._last(channel)
            if not fresh and last is not None and not _is_enough(last, wishes):
                channel.known = False
                continue
            entry, results = self._next(channel, last, wishes)
            if not fresh and any(result.suppressed for result in results):
                channel.known = False  # others may have changed what it was compared with
                continue
            ack: Ack | None = None
            try:
                if entry.publications:
                    ack = await self._put(channel, entry, _message_id(channel, key, repeat))
                elif key:
                    ack = await self._look_up(channel, _message_id(channel, key, repeat))
            except WrongLastError:
                continue
            if ack is not None and ack.duplicate:
                known = await self._known_result(channel, ack.sequence, wishes[0].options)
                if known is None:  # so long ago that it counts no more
                    repeat = ack.sequence
                    continue
                results = [known]
            settle(wishes, results)
            return
        raise CrowdedError(f"{channel.name!r} is written by too many nodes at once")

    async def _look_up(self, channel: Channel, message_id: str) -> Ack | None:
        """Whether something was stored with this id: asked for by a write that cannot succeed."""
        headers = {"Nats-Msg-Id": message_id, "Nats-Expected-Last-Msg-Id": _NEVER}
        try:
            return await self._jetstream.publish(channel.subject, b"", headers)
        except WrongLastError:
            return None

    async def _known_result(
        self, channel: Channel, sequence: int, options: PublishOptions
    ) -> PublishResult | None:
        """What the first publish with the same key returned; None if the key is forgotten."""
        stored = await self._jetstream.at(self._stream, sequence)
        if stored is None:  # it was trimmed: where the stream is now must do
            channel.known = False
            last = await self._last(channel)
            position = (last.top, last.epoch) if last is not None else (0, "")
            return PublishResult(*position, "idempotency")
        entry = entries.read_entry(stored.data)
        published = entries.read_publication(entry.publications[-1], entry.top, entry.epoch)
        if self.now() >= published.time + _ms(options.idempotency_ttl):
            return None
        return PublishResult(entry.top, entry.epoch, "idempotency")

    def _next(
        self, channel: Channel, last: Entry | None, wishes: list[Wish]
    ) -> tuple[Entry, list[PublishResult]]:
        """The message that follows, and what becomes of each wish."""
        now, options = self.now(), wishes[-1].options
        entry = self._state(channel, last, now)
        if now >= entry.expires:
            entry.floor = entry.top
        previous = last.publications[-1:] if last is not None and entry.top > entry.floor else []
        results = []
        for wish in wishes:
            wanted = wish.options
            same = wanted.version_epoch in ("", entry.version_epoch)
            if wanted.version and entry.version >= wanted.version and same:
                results.append(PublishResult(entry.top, entry.epoch, "version"))
                continue
            if wanted.version:
                entry.version, entry.version_epoch = wanted.version, wanted.version_epoch
            if wanted.delta:
                entry.deltas |= 1 << len(entry.publications)
                if not entry.publications and previous:
                    entry.previous = previous[0]
            entry.publications.append(wish.stored)
            entry.top += 1
            results.append(PublishResult(entry.top, entry.epoch))
        entry.size = options.history_size
        entry.expires = now + _ms(options.history_ttl)
        entry.meta_expires = now + self._meta_ms(options.history_meta_ttl)
        return entry, results

    def _state(self, channel: Channel, last: Entry | None, now: int) -> Entry:
        """A message that changes nothing, to follow ``last``; a new stream if that is over."""
        if last is None or now >= last.meta_expires:
            meta = now + self._meta_ms(0)
            return Entry(
                epoch=channel.next_epoch,
                top=0,
                publications=[],
                meta_expires=meta,
                writer=self._writer,
            )
        return msgspec.structs.replace(
            last,
            publications=[],
            previous=b"",
            deltas=0,
            number=last.number + 1,
            jumps=last.jumps_after(channel.sequence),
            writer=self._writer,
        )

    async def _put(self, channel: Channel, entry: Entry, message_id: str = "") -> Ack:
        """Stores a message behind the last one that is known.

        Raises:
            WrongLastError: there is a newer one.
        """
        headers = {_EXPECTED: str(channel.sequence), "Nats-TTL": self._lifetime(entry)}
        if message_id:
            headers["Nats-Msg-Id"] = message_id
        body = entries.write_entry(entry)
        try:
            ack = await self._jetstream.publish(channel.subject, body, headers)
        except WrongLastError:
            channel.known = False
            if not self._copies or message_id:
                raise
            ack = Ack(await self._find(channel, entry), duplicate=False)
        if ack.duplicate:
            channel.known = False
            return ack
        self._clear(channel, ack.sequence, entry, follows=channel.sequence > 0)
        if len(entry.publications) > 1 or (entry.publications and not entry.deltas):
            # All that the next one may need of it is a previous publication.
            kept = entry.publications[-1:] if entry.deltas else []
            entry = msgspec.structs.replace(entry, publications=kept, deltas=len(kept))
        channel.learn(ack.sequence, entry)
        return ack

    async def _find(self, channel: Channel, entry: Entry) -> int:
        """The place of a message that was stored although a server denied it.

        A server that does not know yet that it is the leader no more refuses what the new one
        takes. If that took it, it is what follows the message that it names as the last one.

        Raises:
            WrongLastError: it was not stored; what is known of the channel is new.
        """
        stored = await self._newest(channel)
        after = channel.sequence
        if stored is None or stored.sequence == after:
            channel.see(stored)
            raise WrongLastError(0, "another message is the last one")
        following = stored
        if entries.read_entry(stored.data).number != entry.number:
            following = await self._after(channel, after)
        if entries.read_entry(following.data).is_same(entry):
            return following.sequence
        channel.see(stored)
        raise WrongLastError(0, "another message is the last one")

    async def _newest(self, channel: Channel) -> Stored | None:
        """The last message of a channel, as a server tells that has the one known as the last."""
        stored = None
        for _ in range(READ_TRIES):
            stored = await self._jetstream.last(self._stream, channel.subject)
            if stored is not None and stored.sequence >= channel.sequence:
                break
            await asyncio.sleep(READ_DELAY)
        return stored

    async def _after(self, channel: Channel, sequence: int) -> Stored:
        """The message of a channel that follows a place, where there is one."""
        for _ in range(READ_TRIES):
            subject, place = channel.subject, sequence + 1
            for found in await self._jetstream.following(self._stream, subject, place, most=1):
                return found
            await asyncio.sleep(READ_DELAY)
        raise LaggingError(f"the copies of {channel.name!r} lag")

    def _lifetime(self, entry: Entry) -> str:
        """For how long the server keeps a message."""
        left = (max(entry.expires, entry.meta_expires) - self.now()) / 1000
        return f"{max(ceil(left), 1)}s" if left < LONGEST_TTL / 10 else "never"

    # -- clearing away

    def _clear(self, channel: Channel, sequence: int, entry: Entry, *, follows: bool) -> None:
        """Removes what the channel does not keep any more, and sees to the rest when it is time."""
        bottom = max(entry.floor, entry.top - entry.size)
        whole = bottom >= entry.first - 1
        below = sequence if whole else entry.reach(bottom + 1)
        if follows and below > max(channel.purged, 1):
            channel.purged = below
            self._spawn(self._purge(channel.subject, below), "trim")
        if entry.top > bottom:
            self._expiries.set(channel.name, entry.expires)

    async def _purge(self, subject: bytes, below: int) -> None:
        try:
            await self._jetstream.purge(self._stream, subject, below)
        except FlyballError as error:  # the next one removes it
            logger.debug("nats: %r is not trimmed: %s", subject, error)

    async def sweep(self) -> None:
        """Removes publications of channels whose time is over. To be called now and then."""
        now = self.now()
        while (name := self._expiries.take(now)) is not None:
            try:
                await self._expire(self._channels[name])
            except WrongLastError:
                continue  # whoever wrote there sees to it
            except FlyballError as error:
                logger.debug("nats: %r is not cleared: %s", name, error)
                self._expiries.postpone(name, now + SWEEP_AGAIN)
                return

    async def _expire(self, channel: Channel) -> None:
        last = await self._last(channel, fresh=True)
        now = self.now()
        if last is not None and last.expires <= now < last.meta_expires and last.floor < last.top:
            await self._put(channel, _emptied(self._state(channel, last, now)))

    async def remove(self, name: str) -> None:
        """Drops the publications; offset and epoch live on."""
        channel = self._channels[name]
        for _ in range(MOST_TRIES):
            last = await self._last(channel, fresh=True)
            now = self.now()
            if last is None or now >= last.meta_expires:
                return
            try:
                await self._put(channel, _emptied(self._state(channel, last, now)))
            except WrongLastError:
                continue
            return
        raise CrowdedError(f"{name!r} is written by too many nodes at once")

    # -- reading

    async def history(self, name: str, query: HistoryFilter) -> HistoryResult:
        """Reads part of a stream; an untouched channel gets an epoch."""
        channel = self._channels[name]
        tries = READ_TRIES if self._copies else 3
        while True:
            last, sequence = await self._alive(channel, query.meta_ttl)
            first, end = _range(query, last.bottom(self.now()), last.top)
            found = await self._read(channel, last, sequence, first, end)
            tries -= 1
            if len(found) > end - first or not tries:
                break
            await asyncio.sleep(READ_DELAY)  # trimmed meanwhile, or a copy that lags
        if query.reverse:
            found.reverse()
        return HistoryResult(found, StreamPosition(last.top, last.epoch))

    async def _settled(self, channel: Channel) -> Entry | None:
        """The last message of a channel that a server has which has passed the barrier."""
        if not self._copies:
            return await self._last(channel, fresh=True)
        await self._barrier.put()
        subjects = (channel.subject, self._barrier.subject)
        for _ in range(READ_TRIES):
            found = await self._jetstream.last_of(self._stream, subjects)
            barrier = found.get(subjects[1].decode())
            if barrier is not None and barrier.sequence >= self._barrier.place:
                stored = found.get(subjects[0].decode())
                channel.see(stored)
                return channel.entry
            await asyncio.sleep(READ_DELAY)
            if barrier is None:
                await self._barrier.put()
        raise LaggingError(f"the copies of {channel.name!r} lag")

    async def _alive(self, channel: Channel, meta_ttl: float) -> tuple[Entry, int]:
        """The state of a channel, whose life is prolonged; and the place of its last message."""
        for _ in range(MOST_TRIES):
            last = await self._settled(channel)
            now, wanted = self.now(), self._meta_ms(meta_ttl)
            if last is not None and last.meta_expires - now >= wanted / 2:
                return last, channel.sequence
            entry = self._state(channel, last, now)
            entry.meta_expires = now + wanted
            try:
                ack = await self._put(channel, entry)
            except WrongLastError:
                continue
            return entry, ack.sequence
        raise CrowdedError(f"{channel.name!r} is written by too many nodes at once")

    async def _read(
        self, channel: Channel, last: Entry, sequence: int, first: int, end: int
    ) -> list[Publication]:
        """Publications from ``first`` to ``end``: all, or those from a hole on."""
        found: dict[int, bytes] = {}
        _collect(last, last.epoch, first, end, found)
        place = last.reach(first)
        before = min(end, last.first - 1)
        while first <= before and before not in found and place < sequence:
            batch = await self._jetstream.following(self._stream, channel.subject, place)
            for stored in batch:
                _collect(entries.read_entry(stored.data), last.epoch, first, before, found)
            if len(batch) < BATCH:
                break
            place = batch[-1].sequence + 1
        start = end + 1
        while start - 1 in found:
            start -= 1
        return [
            entries.read_publication(found[offset], offset, last.epoch, timed=False)
            for offset in range(start, end + 1)
        ]

    # -- continuity

    async def unchanged(self, name: str, offset: int, epoch: str, stored_hash: int) -> bool:
        """Whether a stream still has a publication; if not it gets a fresh epoch."""
        channel = self._channels[name]
        last = await self._settled(channel)
        if last is None or last.epoch != epoch:
            return True  # whoever follows the stream finds that out by itself
        if last.top >= offset:
            found: dict[int, bytes] = {}
            _collect(last, epoch, offset, offset, found)
            if not found:
                place = last.reach(offset)
                for stored in await self._jetstream.following(self._stream, channel.subject, place):
                    _collect(entries.read_entry(stored.data), epoch, offset, offset, found)
            if offset not in found or hash(found[offset]) == stored_hash:
                return True
        await self.renew(name, epoch, max(offset, last.top + 1))
        return False

    async def renew(self, name: str, epoch: str, offset: int) -> None:
        """The stream went back behind ``offset``: it gets a fresh epoch, unless it has one."""
        channel = self._channels[name]
        for _ in range(MOST_TRIES):
            last = await self._last(channel, fresh=True)
            if last is None or last.epoch != epoch or last.top >= offset:
                return
            entry = _emptied(self._state(channel, last, self.now()))
            entry.epoch, entry.jumps, entry.number = entries.new_epoch(), [], 0
            try:
                await self._put(channel, entry)
            except WrongLastError:
                continue
            tell_of_loss("JetStream", name, offset)
            return

    # -- details

    async def _last(self, channel: Channel, *, fresh: bool = False) -> Entry | None:
        """The last message of a channel; None if there is none."""
        if fresh or not channel.known:
            channel.see(await self._jetstream.last(self._stream, channel.subject))
        return channel.entry

    def _meta_ms(self, ttl: float) -> int:
        return _ms(ttl or self._options.history_meta_ttl)

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"flyball jetstream {what}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _ms(seconds: float) -> int:
    return max(int(min(seconds, LONGEST_TTL) * 1000), 1)


def _message_id(channel: Channel, key: str, repeat: int) -> str:
    """Name of a publish with an idempotency key; ``repeat``: place of the last that is forgotten."""
    return once_id(channel.subject, key, repeat) if key else ""


def once_id(subject: bytes, key: str, repeat: int) -> str:
    """The same, by subject."""
    text = b"%s\0%s\0%d" % (subject, key.encode(), repeat)
    return hashlib.sha256(text).hexdigest()[:40]


def _emptied(entry: Entry) -> Entry:
    """The same with no publications left."""
    entry.floor, entry.expires = entry.top, 0
    return entry


def _is_enough(last: Entry, wishes: list[Wish]) -> bool:
    """Whether what is remembered of the last message does for these."""
    return not wishes[0].options.delta or bool(last.publications) or last.top <= last.floor


def _range(query: HistoryFilter, bottom: int, top: int) -> tuple[int, int]:
    """First and last offset that are asked for; nothing if they cross."""
    first, end = bottom + 1, top
    if query.limit == 0:
        return first, first - 1
    if query.reverse:
        if query.since is not None:
            end = min(end, query.since.offset - 1)
        if query.limit > 0:
            first = max(first, end - query.limit + 1)
    else:
        if query.since is not None:
            first = max(first, query.since.offset + 1)
        if query.limit > 0:
            end = min(end, first + query.limit - 1)
    return first, max(end, first - 1)


def _collect(entry: Entry, epoch: str, first: int, end: int, found: dict[int, bytes]) -> None:
    """Takes the publications that are wanted out of a message."""
    if entry.epoch != epoch:
        return
    start = entry.first
    for index, stored in enumerate(entry.publications):
        if first <= start + index <= end:
            found[start + index] = stored
