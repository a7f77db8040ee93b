"""Tarantool as broker: history in spaces, messages between nodes by sessions."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from flyball.core.broker import NoEvents, at_work
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
from flyball.engines.common.publications import MalformedError, write_info
from flyball.engines.tarantool.connection import text_of
from flyball.engines.tarantool.layout import (
    JOIN,
    LEAVE,
    MISSHAPEN,
    PUBLICATION,
    Arrived,
    publication_of,
    read_message,
    rest_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.core.broker import BrokerEvents
    from flyball.core.types import ClientInfo, HistoryFilter, Publication, PublishOptions, Raw
    from flyball.engines.common.continuity import Seen
    from flyball.engines.tarantool.layout import Message, Names
    from flyball.engines.tarantool.options import TarantoolOptions
    from flyball.engines.tarantool.servers import TarantoolServers

logger: Final = logging.getLogger("flyball.engine")

LARGEST: Final = 1 << 46
"""Offsets and sizes above it are the same to the module: larger ones are no plain numbers in Lua."""


class TarantoolBroker(FollowingBroker["TarantoolServers", "Message"]):
    """Keeps and spreads publications by Tarantool.

    Args:
        servers: the servers, shared with the other parts of the engine.
        names: of channels.
        options: how long positions live.
    """

    def __init__(self, servers: TarantoolServers, names: Names, options: TarantoolOptions) -> None:
        super().__init__(servers)
        self._names = names
        self._meta_ttl = options.history_meta_ttl

    def _listen(self) -> None:
        self._servers.on_message = self._take

    async def open_to_publish(self) -> None:
        """See :meth:`Broker.open_to_publish`."""
        if self._events is not None:
            raise at_work()
        await self.start(NoEvents())

    async def _unchanged(self, channel: str, seen: Seen) -> bool:
        """Whether a stream still has the publication; if not it gets a fresh epoch."""
        epoch, top, *found = await self._call("look_back", channel, seen.offset)
        if epoch != seen.epoch:
            return True  # whoever follows the stream finds that out by itself
        if top >= seen.offset and (not found or hash(tuple(found)) == seen.hash):
            return True
        await self._renew(channel, StreamPosition(seen.offset, seen.epoch), whatever=True)
        return False

    # -- subscriptions

    async def subscribe(self, channel: str) -> None:
        """See :meth:`Broker.subscribe`."""
        link = self._servers.shard_of(channel)
        try:
            await link.subscribe(self._names.channel(channel))
        except FlyballError as error:
            raise self._servers.failure(error) from None

    async def unsubscribe(self, channel: str) -> None:
        """See :meth:`Broker.unsubscribe`."""
        self._continuity.forget(channel)
        if self._servers.shards:
            self._servers.shard_of(channel).unsubscribe(self._names.channel(channel))

    def _take(self, message: Message) -> None:
        if self._events is None:
            return
        channel = self._names.channel_of(message[0])
        if not self._continuity.holds(channel, message):
            self._deliver(channel, message)

    def _deliver(self, channel: str, message: Message) -> None:
        events = self._events
        if events is None:
            return
        try:
            found = read_message(message)
        except (MalformedError, *MISSHAPEN) as error:
            logger.warning("a message of %r is not understood: %s", channel, error)
            return
        if isinstance(found, Arrived):
            self._deliver_publication(events, channel, found, hash(tuple(message[2:4])))
        elif message[1] == JOIN:
            events.on_join(channel, found)
        else:
            events.on_leave(channel, found)

    def _deliver_publication(
        self, events: BrokerEvents, channel: str, arrived: Arrived, hash_: int
    ) -> None:
        publication, position, delta, previous, made = arrived
        if position.epoch and not self._follows(channel, position, hash_):
            return
        lag = max(time.time() - made, 0.0)
        events.on_publication(
            channel, publication, position, delta=delta, previous=previous, lag=lag
        )

    # -- publishing

    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """See :meth:`Broker.publish`."""
        publication = (text_of(data), rest_of(options), int(time.time() * 1000))
        if options.keeps_history:
            return await self._publish_kept(channel, publication, options)
        if not options.idempotency_key:
            await self._call("spread", channel, PUBLICATION, *publication)
            return NO_RESULT
        key, ttl = text_of(options.idempotency_key), _seconds(options.idempotency_ttl)
        (is_first,) = await self._call("publish_once", channel, *publication, key, ttl)
        return NO_RESULT if is_first else REPEATED

    async def _publish_kept(
        self, channel: str, publication: tuple[str, str, int], options: PublishOptions
    ) -> PublishResult:
        key = options.idempotency_key
        offset, epoch, why = await self._call(
            "publish",
            channel,
            *publication,
            min(options.history_size, LARGEST),
            _seconds(options.history_ttl),
            _seconds(options.history_meta_ttl or self._meta_ttl),
            options.delta,
            options.version,
            text_of(options.version_epoch),
            text_of(key),
            _seconds(options.idempotency_ttl) if key else 0,
        )
        return PublishResult(offset, epoch, why)

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`."""
        kind = JOIN if joined else LEAVE
        await self._call("spread", channel, kind, text_of(write_info(info)))

    # -- history

    async def history(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """See :meth:`Broker.history`."""
        since = -1 if query.since is None else min(query.since.offset, LARGEST)
        limit, meta_ttl = min(query.limit, LARGEST), _seconds(query.meta_ttl or self._meta_ttl)
        top, epoch, found = await self._call(
            "history", channel, since, limit, query.reverse, meta_ttl
        )
        try:
            publications = self._read(channel, found, epoch)
        except FlyballError as error:
            raise self._servers.faults.error(f"history of {channel!r}: {error}") from None
        return HistoryResult(publications, StreamPosition(top, epoch))

    def _read(self, channel: str, rows: Sequence[Any], epoch: str) -> list[Publication]:
        own = self._names.channel(channel)
        # Rows may be missing: then there are some of the next channel.
        return [
            publication_of(data, rest, offset, epoch)
            for name, offset, data, rest in rows
            if name == own
        ]

    async def remove_history(self, channel: str) -> None:
        """See :meth:`Broker.remove_history`."""
        await self._call("remove_history", channel)

    async def renew_epoch(self, channel: str, seen: StreamPosition) -> None:
        """See :meth:`Broker.renew_epoch`."""
        await self._renew(channel, seen, whatever=False)

    async def _renew(self, channel: str, seen: StreamPosition, *, whatever: bool) -> None:
        (renewed,) = await self._call(
            "renew_epoch", channel, text_of(seen.epoch), seen.offset, whatever
        )
        if renewed:
            tell_of_loss("Tarantool", channel, seen.offset)

    async def _call(self, what: str, channel: str, *args: Any) -> Any:
        link = self._servers.shard_of(channel)
        return await self._servers.call(link, what, self._names.channel(channel), *args)


def _seconds(ttl: float) -> float:
    return min(LONGEST_TTL, ttl)
