"""History in Redis, delivery by NATS."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flyball.core.broker import Broker, NoEvents
from flyball.core.errors import ConfigError
from flyball.core.types import StreamPosition
from flyball.engines.nats import messages
from flyball.engines.nats.broker import NatsDelivery

if TYPE_CHECKING:
    from flyball.core.broker import BrokerEvents
    from flyball.core.types import (
        ClientInfo,
        HistoryFilter,
        HistoryResult,
        PublishOptions,
        PublishResult,
        Raw,
    )
    from flyball.engines.nats import NatsOptions
    from flyball.engines.nats.link import NatsLink


class RedisNatsBroker(Broker):
    """Keeps publications in Redis and spreads them by NATS.

    A publication is stored first and sent then. Publications of several nodes in one channel may
    arrive in another order than they are stored: their subscribers are told, and recover. There
    are no deltas.

    Args:
        store: a Redis broker that spreads nothing.
        link: to the NATS servers.
        options: of NATS; raw mode has no place for positions and is refused.

    Raises:
        ConfigError: the options have a raw mode.
    """

    def __init__(self, store: Broker, link: NatsLink, options: NatsOptions) -> None:
        if options.raw_mode is not None:
            raise ConfigError("raw mode of NATS has no place for positions; switch it off")
        self._store = store
        self._delivery = NatsDelivery(link, options)

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return "; ".join(filter(None, (self._store.problem, self._delivery.link.problem)))

    async def start(self, events: BrokerEvents) -> None:
        """See :meth:`Broker.start`."""
        await self.close()
        await self._store.start(events)
        try:
            await self._delivery.start(events)
        except BaseException:
            await self._store.close()
            raise

    async def open_to_publish(self) -> None:
        """See :meth:`Broker.open_to_publish`."""
        self._delivery.refuse_if_open()
        await self._store.open_to_publish()
        try:
            await self._delivery.start(NoEvents())
        except BaseException:
            await self._store.close()
            raise

    async def close(self) -> None:
        """See :meth:`Broker.close`."""
        await self._delivery.close()
        await self._store.close()

    async def subscribe(self, channel: str) -> None:
        """See :meth:`Broker.subscribe`."""
        await self._delivery.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        """See :meth:`Broker.unsubscribe`."""
        self._delivery.unsubscribe(channel)

    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """See :meth:`Broker.publish`. What NATS would not take is not stored either."""
        self._delivery.sendable(channel)
        widest = StreamPosition(2**63, "x" * 32)
        body = messages.write_publication(channel, data, options, time.time(), widest)
        self._delivery.link.check_size(body)
        result = await self._store.publish(channel, data, options)
        if not result.suppressed:
            position = StreamPosition(result.offset, result.epoch)
            await self._delivery.publish(channel, data, options, position)
        return result

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`."""
        await self._delivery.publish_join_leave(channel, info, joined=joined)

    async def history(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """See :meth:`Broker.history`."""
        return await self._store.history(channel, query)

    async def remove_history(self, channel: str) -> None:
        """See :meth:`Broker.remove_history`."""
        await self._store.remove_history(channel)

    async def renew_epoch(self, channel: str, seen: StreamPosition) -> None:
        """See :meth:`Broker.renew_epoch`."""
        await self._store.renew_epoch(channel, seen)
