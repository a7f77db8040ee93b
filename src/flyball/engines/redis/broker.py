"""Redis as broker: streams or lists for the history, PUB/SUB between nodes."""

from __future__ import annotations

import logging
import random
import string
import time
from typing import TYPE_CHECKING, Any, Final

from flyball.core.broker import NoEvents, at_work, take_lag
from flyball.core.errors import FlyballError
from flyball.core.types import (
    LONGEST_TTL,
    NO_RESULT,
    REPEATED,
    HistoryResult,
    PublishResult,
    StreamPosition,
)
from flyball.engines.common.continuity import tell_of_loss
from flyball.engines.common.following import FollowingBroker
from flyball.engines.redis import layout, scripts
from flyball.engines.redis.layout import JOIN, LEAVE, Names

if TYPE_CHECKING:
    from flyball.core.types import (
        ClientInfo,
        HistoryFilter,
        Publication,
        PublishOptions,
        Raw,
    )
    from flyball.engines.common.continuity import Seen
    from flyball.engines.redis.servers import RedisServers

logger: Final = logging.getLogger("flyball.engine")

DEFAULT_META_TTL: Final = 2_592_000.0
"""Seconds."""


class RedisBroker(FollowingBroker["RedisServers", bytes]):
    """Keeps and spreads publications by Redis.

    Args:
        servers: the servers, shared with the other parts of the engine.
        names: of keys and PUB/SUB channels.
        history_meta_ttl: seconds that offset and epoch of a stream live, if not said otherwise.
        lists: keep the history in lists, not in streams.
        spreads: send publications to the other nodes; otherwise somebody else does.
    """

    def __init__(
        self,
        servers: RedisServers,
        names: Names,
        *,
        history_meta_ttl: float = DEFAULT_META_TTL,
        lists: bool = False,
        spreads: bool = True,
    ) -> None:
        super().__init__(servers)
        self._names = names
        self._meta_ttl = history_meta_ttl
        self._lists = lists
        self._spreads = spreads
        self._publish_script = scripts.PUBLISH_LIST if lists else scripts.PUBLISH_STREAM

    def _listen(self) -> None:
        self._servers.listen(self._names.client, self._take)

    async def open_to_publish(self) -> None:
        """See :meth:`Broker.open_to_publish`: there is no link for subscriptions."""
        if self._events is not None:
            raise at_work()
        await self._servers.acquire(listens=False)
        self._events = NoEvents()

    async def _unchanged(self, channel: str, seen: Seen) -> bool:
        """Whether a stream still has the publication; if not it gets a fresh epoch."""
        shard = self._servers.shard_of(channel)
        keys = self._names.history(layout.channel_bytes(channel, braces=shard.braces))
        args = (seen.offset, "1" if self._lists else "0")
        epoch, top, stored = await shard.run(scripts.LOOK_BACK, keys, args)
        if epoch.decode() != seen.epoch:
            return True  # whoever follows the stream finds that out by itself
        if stored and self._lists:
            stored = layout.split_item(stored)[1]
        if top >= seen.offset and (not stored or hash(stored) == seen.hash):
            return True
        await self._renew(channel, seen.epoch, max(seen.offset, top + 1))
        return False

    # -- subscriptions

    async def subscribe(self, channel: str) -> None:
        """See :meth:`Broker.subscribe`."""
        shard = self._servers.shard_of(channel)
        name = layout.channel_bytes(channel, braces=shard.braces)
        await self._servers.ask(shard.subscribe(self._names.messages(name)))

    async def unsubscribe(self, channel: str) -> None:
        """See :meth:`Broker.unsubscribe`."""
        if not self._servers.shards:
            return
        self._continuity.forget(channel)
        shard = self._servers.shard_of(channel)
        name = layout.channel_bytes(channel, braces=shard.braces)
        shard.unsubscribe(self._names.messages(name))

    def _take(self, name: bytes, data: bytes) -> None:
        events = self._events
        if events is None:
            return
        try:
            found = name[len(self._names.client) :].decode()
            # The shard of a plain name and that of one in braces are of the same kind.
            if self._servers.shards[0].braces:
                found = found[1:-1]
        except ValueError as error:
            logger.warning("the name %r is not understood: %s", name, error)
            return
        if not self._continuity.holds(found, data):
            self._deliver(found, data)

    def _deliver(self, found: str, data: bytes) -> None:
        events = self._events
        if events is None:
            return
        try:
            message = layout.read_message(data)
        except (FlyballError, ValueError) as error:
            logger.warning("a message of %r is not understood: %s", found, error)
            return
        if message.publication is not None:
            position = message.position
            if position.epoch and not self._follows(found, position, hash(message.stored)):
                return
            events.on_publication(
                found,
                message.publication,
                position,
                delta=message.delta,
                previous=message.previous,
                lag=take_lag(message.publication, time.time()),
            )
        elif message.join is not None:
            events.on_join(found, message.join)
        elif message.leave is not None:
            events.on_leave(found, message.leave)

    # -- publishing

    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """See :meth:`Broker.publish`."""
        shard = self._servers.shard_of(channel)
        name = layout.channel_bytes(channel, braces=shard.braces)
        publication = layout.write_publication(data, options, time.time())
        if options.keeps_history:
            return await self._publish_kept(channel, name, publication, options)
        to = self._names.messages(name)
        spread = self._servers.publish_command if self._spreads else ""
        if not options.idempotency_key:
            if not spread:
                return NO_RESULT
            await self._servers.ask(shard.command(to, spread, to, publication))
            return NO_RESULT
        key = self._names.result(name, options.idempotency_key)
        ttl = _ms(options.idempotency_ttl)
        args = (publication, to, spread, ttl, channel)
        done = await self._servers.ask(shard.run(scripts.PUBLISH_ONCE, (key,), args))
        return NO_RESULT if done else REPEATED

    async def _publish_kept(
        self, channel: str, name: bytes, publication: bytes, options: PublishOptions
    ) -> PublishResult:
        keys: tuple[bytes, ...] = self._names.history(name)
        if options.idempotency_key:
            keys += (self._names.result(name, options.idempotency_key),)
        args = (
            publication,
            self._names.messages(name) if self._spreads else b"",
            options.history_size,
            _ms(options.history_ttl),
            self._meta_ms(options.history_meta_ttl),
            new_epoch(),
            self._servers.publish_command,
            "1" if options.delta else "0",
            options.version,
            options.version_epoch,
            _ms(options.idempotency_ttl),
            channel,
        )
        shard = self._servers.shard_of(channel)
        offset, epoch, why = await self._servers.ask(shard.run(self._publish_script, keys, args))
        return PublishResult(offset, epoch.decode(), why.decode())

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`."""
        shard = self._servers.shard_of(channel)
        to = self._names.messages(layout.channel_bytes(channel, braces=shard.braces))
        message = (JOIN if joined else LEAVE) + layout.write_info(info)
        await self._servers.ask(shard.command(to, self._servers.publish_command, to, message))

    # -- history

    async def history(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """See :meth:`Broker.history`."""
        shard = self._servers.shard_of(channel)
        keys = self._names.history(layout.channel_bytes(channel, braces=shard.braces))
        meta_ttl = self._meta_ms(query.meta_ttl)
        if self._lists:
            args: tuple[Any, ...] = ("0" if query.limit == 0 else "1", meta_ttl, new_epoch())
            script = scripts.HISTORY_LIST
        else:
            args = (*_stream_range(query), meta_ttl, new_epoch())
            script = scripts.HISTORY_STREAM
        top, epoch, found = await self._servers.ask(shard.run(script, keys, args))
        position = StreamPosition(top, epoch.decode())
        try:
            read = self._list_items if self._lists else self._stream_entries
            return HistoryResult(read(found, position.epoch, query), position)
        except FlyballError as error:
            raise self._servers.faults.error(f"history of {channel!r}: {error}") from None

    def _stream_entries(
        self, entries: list[Any], epoch: str, _query: HistoryFilter
    ) -> list[Publication]:
        found = []
        for id_, fields in entries:
            publication = layout.read_publication(fields[1], timed=False)
            publication.offset = offset = int(id_.partition(b"-")[0])
            if offset == 1:
                publication.epoch = epoch
            found.append(publication)
        return found

    def _list_items(
        self, items: list[bytes], epoch: str, query: HistoryFilter
    ) -> list[Publication]:
        found = []
        for item in items if query.reverse else reversed(items):
            position, stored = layout.split_item(item)
            if not _wanted(position.offset, query):
                continue
            publication = layout.read_publication(stored, timed=False)
            found.append(layout.at(publication, position.offset, epoch))
            if len(found) == query.limit:
                break
        return found

    async def remove_history(self, channel: str) -> None:
        """See :meth:`Broker.remove_history`."""
        shard = self._servers.shard_of(channel)
        key = self._names.history(layout.channel_bytes(channel, braces=shard.braces))[0]
        await self._servers.ask(shard.command(key, "DEL", key))

    async def renew_epoch(self, channel: str, seen: StreamPosition) -> None:
        """See :meth:`Broker.renew_epoch`."""
        await self._servers.ask(self._renew(channel, seen.epoch, seen.offset))

    async def _renew(self, channel: str, epoch: str, offset: int) -> None:
        shard = self._servers.shard_of(channel)
        meta = self._names.history(layout.channel_bytes(channel, braces=shard.braces))[1]
        args = (epoch, offset, new_epoch())
        renewed = await shard.run(scripts.RENEW_EPOCH, (meta,), args)
        if renewed:
            tell_of_loss("Redis", channel, offset)

    def _meta_ms(self, ttl: float) -> int:
        return _ms(ttl or self._meta_ttl or LONGEST_TTL)


def new_epoch() -> str:
    """A name for a new stream, should it need one: eight letters."""
    return "".join(random.choices(string.ascii_letters, k=8))  # noqa: S311 - no secret


def _ms(seconds: float) -> int:
    return max(int(min(seconds, LONGEST_TTL) * 1000), 1)


def _wanted(offset: int, query: HistoryFilter) -> bool:
    if query.since is None:
        return True
    return offset < query.since.offset if query.reverse else offset > query.since.offset


def _stream_range(query: HistoryFilter) -> tuple[str, str, str, int]:
    """Command, ends and count of the part of a stream that is asked for; no command for nothing."""
    nothing = ("", "", "", 0)
    limit, since = query.limit, query.since
    if limit == 0:
        return nothing
    count = max(limit, 0)
    if query.reverse:
        if since is None:
            return "XREVRANGE", "+", "-", count
        return ("XREVRANGE", str(since.offset - 1), "-", count) if since.offset > 1 else nothing
    if since is None:
        return "XRANGE", "-", "+", count
    return ("XRANGE", str(since.offset + 1), "+", count) if since.offset < 2**63 else nothing
