"""NATS as broker: at most once, and no history."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from flyball.core.broker import Broker, NoEvents, at_work, take_lag
from flyball.core.errors import EngineRefusal
from flyball.core.types import NO_DATA, NO_RESULT, Publication, PublishResult, payload
from flyball.engines.common.publications import MalformedError
from flyball.engines.nats import messages
from flyball.engines.nats.messages import NOWHERE
from flyball.engines.nats.subjects import Subjects, is_pattern
from flyball.protocol import codes

if TYPE_CHECKING:
    from flyball.core.broker import BrokerEvents
    from flyball.core.types import (
        ClientInfo,
        HistoryFilter,
        HistoryResult,
        PublishOptions,
        Raw,
        StreamPosition,
    )
    from flyball.engines.nats.link import NatsLink, Subscription
    from flyball.engines.nats.options import NatsOptions
    from flyball.protocol.messages import Push


class NatsDelivery:
    """What brokers that deliver by NATS share: subscriptions, messages, the state of the link.

    Args:
        link: to the servers, shared with the other parts of the engine.
        options: prefix, wildcards, raw mode.
    """

    def __init__(self, link: NatsLink, options: NatsOptions) -> None:
        self.link: NatsLink = link
        self.subjects: Subjects = Subjects(options)
        self._raw = options.raw_mode is not None
        self._events: BrokerEvents | None = None
        self._subscriptions: dict[str, Subscription] = {}

    async def start(self, events: BrokerEvents) -> None:
        """Connects; messages go to ``events``.

        Raises:
            ConfigError: no server can be used.
        """
        await self.link.acquire()
        self._events = events
        self.link.on_lost.append(self._lost)
        self.link.on_restored.append(self._restored)

    def refuse_if_open(self) -> None:
        """For who wants it for himself.

        Raises:
            ConfigError: it is open.
        """
        if self._events is not None:
            raise at_work()

    async def close(self) -> None:
        """Disconnects, if no other part of the engine is at work."""
        if self._events is None:
            return
        self._events = None
        self.link.on_lost.remove(self._lost)
        self.link.on_restored.remove(self._restored)
        for subscription in self._subscriptions.values():
            self.link.unsubscribe(subscription)
        self._subscriptions.clear()
        await self.link.release()

    def _lost(self, reason: str) -> None:
        if self._events is not None:
            self._events.on_broker_lost(reason)

    def _restored(self) -> None:
        if self._events is not None:
            self._events.on_broker_restored()

    # -- subscriptions

    async def subscribe(self, channel: str) -> None:
        """See :meth:`Broker.subscribe`."""
        if channel in self._subscriptions:
            return
        subject = self.subjects.channel(channel)
        take = self._take_raw if self._raw else self._take
        self._subscriptions[channel] = await self.link.ask(
            self.link.subscribe(subject, take, (channel, is_pattern(subject)))
        )

    def unsubscribe(self, channel: str) -> None:
        """See :meth:`Broker.unsubscribe`."""
        subscription = self._subscriptions.pop(channel, None)
        if subscription is not None:
            self.link.unsubscribe(subscription)

    # -- messages

    def _take(self, sub: Subscription, subject: bytes, _headers: bytes, data: bytes) -> None:
        events = self._events
        if events is None:
            return
        channel, pattern = sub.context
        try:
            push = messages.read_push(data)
        except MalformedError as error:
            self.link.strange("a message of %r is not understood: %s", subject, error)
            return
        if push.channel != channel and not pattern:
            self.link.strange("a message of %r is for channel %r", subject, push.channel)
        elif push.pub is not None:
            self._publication(events, channel, push, push.pub, pattern=pattern)
        elif push.join is not None and push.join.info is not None:
            events.on_join(channel, push.join.info)
        elif push.leave is not None and push.leave.info is not None:
            events.on_leave(channel, push.leave.info)
        else:
            self.link.strange("a message of %r has nothing for a channel", subject)

    def _publication(
        self,
        events: BrokerEvents,
        channel: str,
        push: Push,
        publication: Publication,
        *,
        pattern: bool,
    ) -> None:
        if pattern:
            publication.channel = push.channel
        position = messages.take_position(publication)
        events.on_publication(
            channel, publication, position, lag=take_lag(publication, time.time())
        )

    def _take_raw(self, sub: Subscription, subject: bytes, _headers: bytes, data: bytes) -> None:
        if self._events is None:
            return
        channel, pattern = sub.context
        publication = Publication(payload(data) if data else NO_DATA)
        if pattern:
            publication.channel = self.subjects.matched(subject)
        self._events.on_publication(channel, publication, NOWHERE)

    # -- publishing

    async def publish(
        self,
        channel: str,
        data: Raw,
        options: PublishOptions,
        position: StreamPosition = NOWHERE,
    ) -> None:
        """Sends a publication; ``position`` is its place in a stream that another store keeps."""
        subject = self.sendable(channel)
        if self._raw:
            body = bytes(data)
        else:
            body = messages.write_publication(channel, data, options, time.time(), position)
        await self.link.ask(self.link.publish(subject, body))

    def sendable(self, channel: str) -> bytes:
        """The subject of a channel that something may be sent to: not a pattern."""
        subject = self.subjects.channel(channel)
        if is_pattern(subject):
            detail = f"channel {channel!r} is a pattern: it has no publications of its own"
            raise EngineRefusal(codes.BAD_REQUEST, detail=detail)
        return subject

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`; there is no such thing in raw mode."""
        subject = self.subjects.channel(channel)
        if not self._raw and not is_pattern(subject):
            body = messages.write_join_leave(channel, info, joined=joined)
            await self.link.ask(self.link.publish(subject, body))


class NatsBroker(Broker):
    """Spreads publications by NATS, at most once, and keeps none.

    It has no history: publications have no offsets, nothing is recovered, idempotency keys,
    versions and deltas have no effect.
    """

    def __init__(self, link: NatsLink, options: NatsOptions) -> None:
        self._delivery = NatsDelivery(link, options)

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self._delivery.link.problem

    async def start(self, events: BrokerEvents) -> None:
        """See :meth:`Broker.start`."""
        await self._delivery.close()
        await self._delivery.start(events)

    async def open_to_publish(self) -> None:
        """See :meth:`Broker.open_to_publish`."""
        self._delivery.refuse_if_open()
        await self.start(NoEvents())

    async def close(self) -> None:
        """See :meth:`Broker.close`."""
        await self._delivery.close()

    async def subscribe(self, channel: str) -> None:
        """See :meth:`Broker.subscribe`."""
        await self._delivery.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        """See :meth:`Broker.unsubscribe`."""
        self._delivery.unsubscribe(channel)

    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """See :meth:`Broker.publish`."""
        await self._delivery.publish(channel, data, options)
        return NO_RESULT

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`."""
        await self._delivery.publish_join_leave(channel, info, joined=joined)

    async def history(self, channel: str, query: HistoryFilter) -> HistoryResult:  # noqa: ARG002
        """There is none.

        Raises:
            EngineRefusal: always, 108.
        """
        raise EngineRefusal(codes.NOT_AVAILABLE, detail=_NO_HISTORY)

    async def remove_history(self, channel: str) -> None:  # noqa: ARG002
        """There is none.

        Raises:
            EngineRefusal: always, 108.
        """
        raise EngineRefusal(codes.NOT_AVAILABLE, detail=_NO_HISTORY)


_NO_HISTORY: Final = "NATS keeps no history; switch broker.nats.jetstream on, or use another broker"
