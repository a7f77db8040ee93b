"""NATS as broker with history: JetStream keeps publications, and delivers what it has stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from flyball.core.broker import Broker, NoEvents, take_lag
from flyball.core.errors import FlyballError
from flyball.core.types import NO_RESULT, REPEATED, StreamPosition
from flyball.engines.common.continuity import Continuity
from flyball.engines.common.publications import MalformedError
from flyball.engines.nats import messages
from flyball.engines.nats.broker import NatsDelivery
from flyball.engines.nats.jetstream import entries
from flyball.engines.nats.jetstream.api import JetStream
from flyball.engines.nats.jetstream.store import HistoryStore, once_id
from flyball.engines.nats.jetstream.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.core.broker import BrokerEvents
    from flyball.core.types import (
        ClientInfo,
        HistoryFilter,
        HistoryResult,
        PublishOptions,
        PublishResult,
        Raw,
    )
    from flyball.engines.common.continuity import Seen
    from flyball.engines.nats.link import NatsLink, Subscription
    from flyball.engines.nats.options import JetStreamOptions, NatsOptions

SWEEP_INTERVAL: Final = 1.0
"""Seconds between looks for histories that have expired."""
ADVISORIES: Final = (
    "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.{}",
    "$JS.EVENT.ADVISORY.STREAM.RESTORE_COMPLETE.{}",
)
"""What JetStream tells when a stream may have gone back."""


class JetStreamBroker(Broker):
    """Keeps publications by JetStream and spreads them by NATS.

    Args:
        link: to the servers, shared with the other parts of the engine.
        options: prefix, wildcards.
        jetstream: how streams are kept.
        clock: Unix seconds; if none is given, those of the servers.
    """

    def __init__(
        self,
        link: NatsLink,
        options: NatsOptions,
        jetstream: JetStreamOptions,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._link = link
        self._delivery = _Delivery(link, options, self)
        self._streams = Streams(options.prefix, jetstream)
        configs = self._streams.configs()[:2]
        self._api = JetStream(link, configs, leader=jetstream.replicas > 1, clock=clock)
        self.store: HistoryStore = HistoryStore(self._api, self._streams, jetstream)
        self._api.on_repaired = self._changed
        self._events: BrokerEvents | None = None
        patience = link.options.request_timeout
        self._continuity = Continuity(self._unchanged, self._deliver, patience)
        self._sweeper: asyncio.Task[None] | None = None
        self._news: list[Subscription] = []

    # -- life

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self._link.problem or self._api.problem

    async def start(self, events: BrokerEvents) -> None:
        """See :meth:`Broker.start`."""
        await self.close()
        await self._api.start()
        self._events = events
        try:
            await self._delivery.start(events)
            await self._listen()
        except BaseException:
            await self.close()
            raise
        loop = asyncio.get_running_loop()
        self._sweeper = loop.create_task(self._sweep(), name="flyball jetstream sweeper")

    async def open_to_publish(self) -> None:
        """See :meth:`Broker.open_to_publish`."""
        self._delivery.refuse_if_open()
        await self.start(NoEvents())

    async def close(self) -> None:
        """See :meth:`Broker.close`."""
        if self._events is None:
            return
        self._events = None
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None and not sweeper.get_loop().is_closed():
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)
        await self._continuity.close()
        await self.store.close()
        for subscription in self._news:
            self._link.unsubscribe(subscription)
        self._news.clear()
        await self._delivery.close()
        await self._api.close()

    async def _listen(self) -> None:
        """A user who may not hear JetStream's news has positions checked in turn only."""
        for template in ADVISORIES:
            subject = template.format(self._streams.history).encode()
            try:
                self._news.append(await self._link.subscribe(subject, self._changed))
            except FlyballError as error:
                self._link.strange("no news of JetStream: %s", error)

    def _changed(self, *_: object) -> None:
        """The stream may be another one, or has another leader: is it still what was seen?"""
        self.store.forget()
        self._continuity.hold()
        self._look()

    def lost(self, reason: str) -> None:
        """The link is lost; what comes after it waits until the streams were looked at."""
        self.store.forget()
        self._continuity.hold()
        if self._events is not None:
            self._events.on_broker_lost(reason)

    def restored(self) -> None:
        """The link is back. What JetStream kept may not be: ``_changed`` is called when it is."""

    def _look(self) -> None:
        self._continuity.look(self._tell_restored)

    def _tell_restored(self) -> None:
        if self._events is not None:
            self._events.on_broker_restored()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            await self.store.sweep()

    async def _unchanged(self, channel: str, seen: Seen) -> bool:
        return await self.store.unchanged(channel, seen.offset, seen.epoch, seen.hash)

    # -- subscriptions

    async def subscribe(self, channel: str) -> None:
        """See :meth:`Broker.subscribe`."""
        await self._delivery.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        """See :meth:`Broker.unsubscribe`."""
        self._continuity.forget(channel)
        self._delivery.unsubscribe(channel)

    def take(self, channel: str, data: bytes) -> None:
        """An entry of the history was stored."""
        if not self._continuity.holds(channel, data):
            self._deliver(channel, data)

    def _deliver(self, channel: str, data: bytes) -> None:
        events = self._events
        if events is None:
            return
        try:
            entry = entries.read_entry(data)
            self._publications(events, channel, entry)
        except MalformedError as error:
            self._link.strange("a message of %r is not understood: %s", channel, error)

    def _publications(self, events: BrokerEvents, channel: str, entry: entries.Entry) -> None:
        previous = entry.previous
        for index, stored in enumerate(entry.publications):
            offset = entry.first + index
            if not self._continuity.saw(channel, offset, entry.epoch, hash(stored)):
                # The stream went back under an open link: its place says so.
                self._continuity.hold()
                self._look()
                return
            delta = bool(entry.deltas >> index & 1)
            before = None
            if delta and previous:
                before = entries.read_publication(previous, offset - 1, entry.epoch, timed=False)
            publication = entries.read_publication(stored, offset, entry.epoch)
            position = StreamPosition(offset, entry.epoch)
            lag = take_lag(publication, self._api.now())
            events.on_publication(
                channel, publication, position, delta=delta, previous=before, lag=lag
            )
            previous = stored

    # -- publishing

    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """See :meth:`Broker.publish`."""
        if options.keeps_history:
            self._delivery.sendable(channel)
            stored = entries.write_publication(data, options, self.store.now())
            self._link.check_size(
                stored, b" " * (2 * len(stored) + 4096 if options.delta else 4096)
            )
            return await self._link.ask(self.store.publish(channel, stored, options))
        if options.idempotency_key:
            return await self._link.ask(self._publish_once(channel, data, options))
        await self._delivery.publish(channel, data, options)
        return NO_RESULT

    async def _publish_once(
        self, channel: str, data: Raw, options: PublishOptions
    ) -> PublishResult:
        """What no history keeps is stored all the same for a while, so that it is known again."""
        self._delivery.sendable(channel)
        subject, repeat = self._streams.once_subject(channel), 0
        now = self._api.now()
        body = messages.write_publication(channel, data, options, now)
        while True:
            message_id = once_id(subject, options.idempotency_key, repeat)
            ack = await self._api.publish(subject, body, {"Nats-Msg-Id": message_id})
            if not ack.duplicate:
                return NO_RESULT
            first = await self._api.at(self._streams.once, ack.sequence)
            if first is None or _is_remembered(first.data, options.idempotency_ttl, now):
                return REPEATED
            repeat = ack.sequence

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`."""
        await self._delivery.publish_join_leave(channel, info, joined=joined)

    # -- history

    async def history(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """See :meth:`Broker.history`."""
        self._delivery.sendable(channel)
        return await self._link.ask(self.store.history(channel, query))

    async def remove_history(self, channel: str) -> None:
        """See :meth:`Broker.remove_history`."""
        self._delivery.sendable(channel)
        await self._link.ask(self.store.remove(channel))

    async def renew_epoch(self, channel: str, seen: StreamPosition) -> None:
        """See :meth:`Broker.renew_epoch`."""
        await self._link.ask(self.store.renew(channel, seen.epoch, seen.offset))


class _Delivery(NatsDelivery):
    """Delivery of what has no place in a stream; entries of the history go to the broker."""

    def __init__(self, link: NatsLink, options: NatsOptions, broker: JetStreamBroker) -> None:
        super().__init__(link, options)
        self._broker = broker

    def _lost(self, reason: str) -> None:
        self._broker.lost(reason)

    def _restored(self) -> None:
        self._broker.restored()

    def _take(self, sub: Subscription, subject: bytes, headers: bytes, data: bytes) -> None:
        if headers and data and data[0] in entries.FIRST_BYTES:
            channel, pattern = sub.context
            if not pattern:
                self._broker.take(channel, data)
            return
        super()._take(sub, subject, headers, data)


def _is_remembered(stored: bytes, ttl: float, now: float) -> bool:
    push = messages.read_push(stored)
    return push.pub is None or now * 1000 < push.pub.time + ttl * 1000
