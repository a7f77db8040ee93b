"""A broker under the test's control: every call waits until the test lets it go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from flyball.core.broker import Broker
from flyball.engines.memory import MemoryBroker

if TYPE_CHECKING:
    from flyball.core.broker import BrokerEvents
    from flyball.core.clock import Clock
    from flyball.core.types import (
        ClientInfo,
        HistoryFilter,
        HistoryResult,
        Publication,
        PublishOptions,
        PublishResult,
        Raw,
        StreamPosition,
    )


class ControlledBroker(Broker):
    """A memory broker whose calls and deliveries happen when the test says so.

    Calls named in ``hold`` (``subscribe``, ``unsubscribe``, ``history``, ``publish``, ``delivery``)
    wait in :attr:`waiting`; :meth:`release` lets the oldest of a kind go on.
    """

    def __init__(self, clock: Clock | None = None, hold: set[str] | None = None) -> None:
        self.hold = hold if hold is not None else set()
        self.waiting: list[tuple[str, str, asyncio.Future[None]]] = []
        """Kind, channel, and what lets it go on."""
        self.deliveries: list[tuple[Any, ...]] = []
        self._inner = MemoryBroker(clock)
        self._events: BrokerEvents | None = None

    async def _pass(self, kind: str, channel: str) -> None:
        if kind in self.hold:
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append((kind, channel, gate))
            await gate

    def release(self, kind: str = "") -> bool:
        """Lets the oldest waiting call (of ``kind``) go on; False if there is none."""
        for entry in self.waiting:
            if not kind or entry[0] == kind:
                self.waiting.remove(entry)
                if not entry[2].done():
                    entry[2].set_result(None)
                return True
        return False

    def fail(self, kind: str, error: Exception) -> bool:
        """Makes the oldest waiting call of ``kind`` raise; False if there is none."""
        for entry in self.waiting:
            if entry[0] == kind:
                self.waiting.remove(entry)
                entry[2].set_exception(error)
                return True
        return False

    def deliver(self) -> bool:
        """Delivers the oldest publication held back; False if there is none."""
        if not self.deliveries or self._events is None:
            return False
        channel, publication, position, delta, previous = self.deliveries.pop(0)
        self._events.on_publication(channel, publication, position, delta=delta, previous=previous)
        return True

    def lose(self) -> bool:
        """Loses the oldest publication held back; False if there is none."""
        if not self.deliveries:
            return False
        self.deliveries.pop(0)
        return True

    # -- Broker

    async def start(self, events: BrokerEvents) -> None:
        """See :meth:`Broker.start`."""
        self._events = events
        await self._inner.start(self)

    async def close(self) -> None:
        """See :meth:`Broker.close`."""
        await self._inner.close()

    async def subscribe(self, channel: str) -> None:
        """See :meth:`Broker.subscribe`."""
        await self._pass("subscribe", channel)

    async def unsubscribe(self, channel: str) -> None:
        """See :meth:`Broker.unsubscribe`."""
        await self._pass("unsubscribe", channel)

    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """See :meth:`Broker.publish`."""
        await self._pass("publish", channel)
        return await self._inner.publish(channel, data, options)

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`."""
        await self._inner.publish_join_leave(channel, info, joined=joined)

    async def history(
        self, channel: str, query: HistoryFilter, meta_ttl: float = 0.0
    ) -> HistoryResult:
        """See :meth:`Broker.history`."""
        await self._pass("history", channel)
        return await self._inner.history(channel, query, meta_ttl)

    async def remove_history(self, channel: str) -> None:
        """See :meth:`Broker.remove_history`."""
        await self._inner.remove_history(channel)

    async def lose_epoch(self, channel: str) -> None:
        """The store forgets the stream: the next read finds another epoch."""
        self._inner.forget(channel)

    # -- BrokerEvents, from the memory broker inside

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        *,
        delta: bool = False,
        previous: Publication | None = None,
    ) -> None:
        """Holds a publication back, or passes it on."""
        if "delivery" in self.hold:
            self.deliveries.append((channel, publication, position, delta, previous))
        elif self._events is not None:
            self._events.on_publication(
                channel, publication, position, delta=delta, previous=previous
            )

    def on_join(self, channel: str, info: ClientInfo) -> None:
        """Passes it on."""
        if self._events is not None:
            self._events.on_join(channel, info)

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        """Passes it on."""
        if self._events is not None:
            self._events.on_leave(channel, info)

    def on_broker_restored(self) -> None:
        """Passes it on."""
        if self._events is not None:
            self._events.on_broker_restored()
