"""A broker under the test's control: every call waits until the test lets it go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Unpack

from flyball.aio.eager import start_eagerly
from flyball.core.broker import Broker
from flyball.core.errors import ConfigError
from flyball.core.keywords import PublishKeywords, spell_out
from flyball.core.memory import MemoryBroker
from flyball.core.types import HistoryFilter, Payload, PublishOptions, to_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from flyball.aio.clock import Clock
    from flyball.core.broker import BrokerEvents
    from flyball.core.types import (
        ClientInfo,
        HistoryResult,
        Publication,
        PublishResult,
        Raw,
        StreamPosition,
    )

METHODS = (
    "subscribe",
    "unsubscribe",
    "publish",
    "publish_join_leave",
    "history",
    "remove_history",
)
"""The calls that :class:`ControlledBroker` can hold."""


class HeldCall:
    """One call that waits. First :meth:`perform`, then :meth:`release`; or :meth:`fail`."""

    def __init__(self, method: str, channel: str, work: Coroutine[Any, Any, Any]) -> None:
        self.method = method
        self.channel = channel
        self.performed: bool = False
        """The store did it; the caller does not know yet."""
        self.done: bool = False
        """The caller has its answer."""
        self._work = work
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._result: Any = None

    def __repr__(self) -> str:
        return f"<HeldCall {self.method} {self.channel!r}>"

    def perform(self) -> None:
        """The call reaches the store and takes effect; its caller still waits."""
        if self.performed or self.done:
            return
        self.performed = True
        self._result = start_eagerly(self._work)

    def release(self) -> None:
        """The caller gets its answer (after the call took effect)."""
        if self.done:
            return
        self.perform()
        self.done = True
        if not self._answer.done():
            self._answer.set_result(self._result)

    def fail(self, error: Exception) -> None:
        """The caller gets ``error``; the call had its effect only if it was performed."""
        if self.done:
            return
        if not self.performed:
            self._work.close()
        self.done = True
        if not self._answer.done():
            self._answer.set_exception(error)

    async def wait(self) -> Any:
        """The answer, once the test gives it."""
        try:
            return await self._answer
        finally:
            if not self.performed:
                self._work.close()


class ControlledBroker(Broker):
    """A memory broker whose calls and deliveries a test can hold, reorder, fail and lose.

    By default it behaves like the memory broker. After :meth:`hold` calls wait in
    :attr:`held`; after :meth:`hold_deliveries` publications wait in :attr:`deliveries`.
    """

    def __init__(self, clock: Clock | None = None, inner: MemoryBroker | None = None) -> None:
        self.inner: MemoryBroker = inner or MemoryBroker(clock)
        self.held: list[HeldCall] = []
        """Calls that wait, oldest first."""
        self.deliveries: list[Callable[[], None]] = []
        """Publications, joins and leaves on their way to the node, oldest first."""
        self.subscribed: set[str] = set()
        """Channels that the node is subscribed to."""
        self._methods: frozenset[str] = frozenset()
        self._hold_deliveries = False
        self._failure: Exception | None = None
        self._deaf = False
        self._problem = ""
        self._events: BrokerEvents | None = None

    # -- what the test does

    def hold(self, *methods: str) -> None:
        """Calls of ``methods`` (all of them if none is named) wait from now on.

        Raises:
            ConfigError: there is no such method.
        """
        unknown = [m for m in methods if m not in METHODS]
        if unknown:
            message = f"hold() got {unknown[0]!r}, but knows only {', '.join(METHODS)}"
            raise ConfigError(message)
        self._methods = frozenset(methods or METHODS)

    def release(self, calls: Iterable[HeldCall] | None = None) -> None:
        """Holds no more, and lets ``calls`` (or all that wait) go on."""
        self._methods = frozenset()
        for call in list(self.held if calls is None else calls):
            call.release()
        self._forget_done()

    def release_next(self) -> HeldCall:
        """Lets the oldest waiting call go on; later calls are still held."""
        self._forget_done()
        call = self.held.pop(0)
        call.release()
        return call

    def fail_with(self, error: Exception | None) -> None:
        """All calls fail with ``error`` from now on; None ends that."""
        self._failure = error

    def hold_deliveries(self) -> None:
        """What is published waits for :meth:`deliver`."""
        self._hold_deliveries = True

    def deliver(self, count: int | None = None) -> int:
        """Hands over the oldest ``count`` deliveries (all of them, and no more held, if None)."""
        if count is None:
            self._hold_deliveries = False
        ready = self.deliveries[:count]
        del self.deliveries[: len(ready)]
        for delivery in ready:
            delivery()
        return len(ready)

    def lose_deliveries(self) -> int:
        """What was on its way never arrives; returns how many."""
        lost = len(self.deliveries)
        self.deliveries.clear()
        return lost

    def forget(self, channel: str) -> None:
        """The stream is lost with its position: the next one has another epoch."""
        self.inner.forget(channel)

    def lose_link(self) -> None:
        """The link to the store is down: calls fail, and what is published never arrives here."""
        self.fail_with(ConnectionError("the link to the store is down"))
        self._deaf = True

    def restore_link(self) -> None:
        """The link is back; the node is told, and looks for what it has missed."""
        self.fail_with(None)
        self._deaf = False
        self.restore()

    @spell_out(PublishOptions)
    async def publish_elsewhere(
        self, channel: str, data: Payload, **fields: Unpack[PublishKeywords]
    ) -> PublishResult:
        """Another node publishes: the store has it, whatever becomes of the link to this one."""
        return await self.inner.publish(channel, to_payload(data), PublishOptions(**fields))

    def lose(self, reason: str = "the test says so") -> None:
        """Tells the node that the link is lost; :attr:`problem` says so until :meth:`restore`."""
        self._problem = reason
        if self._events is not None:
            self._events.on_broker_lost(reason)

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self._problem

    def restore(self) -> None:
        """Tells the node that the link was lost and is back."""
        self._problem = ""
        if self._events is not None:
            self._events.on_broker_restored()

    def _forget_done(self) -> None:
        self.held = [call for call in self.held if not call.done]

    # -- Broker

    async def start(self, events: BrokerEvents) -> None:
        """See :meth:`Broker.start`."""
        self._events = events
        await self.inner.start(self)

    async def close(self) -> None:
        """See :meth:`Broker.close`. Whatever is held fails."""
        for call in self.held:
            call.fail(ConnectionError("the broker is closed"))
        self.held.clear()
        self.deliveries.clear()
        self._events = None
        await self.inner.close()

    async def subscribe(self, channel: str) -> None:
        """See :meth:`Broker.subscribe`."""
        await self._call("subscribe", channel, self._subscribe(channel))

    async def unsubscribe(self, channel: str) -> None:
        """See :meth:`Broker.unsubscribe`."""
        await self._call("unsubscribe", channel, self._unsubscribe(channel))

    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """See :meth:`Broker.publish`."""
        work = self.inner.publish(channel, data, options)
        result: PublishResult = await self._call("publish", channel, work)
        return result

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`."""
        work = self.inner.publish_join_leave(channel, info, joined=joined)
        await self._call("publish_join_leave", channel, work)

    async def history(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """See :meth:`Broker.history`."""
        work = self.inner.history(channel, query)
        result: HistoryResult = await self._call("history", channel, work)
        return result

    async def remove_history(self, channel: str) -> None:
        """See :meth:`Broker.remove_history`."""
        await self._call("remove_history", channel, self.inner.remove_history(channel))

    async def renew_epoch(self, channel: str, seen: StreamPosition) -> None:
        """See :meth:`Broker.renew_epoch`."""
        if (await self.inner.history(channel, HistoryFilter(0))).position.epoch == seen.epoch:
            self.inner.forget(channel)

    async def _subscribe(self, channel: str) -> None:
        self.subscribed.add(channel)
        await self.inner.subscribe(channel)

    async def _unsubscribe(self, channel: str) -> None:
        self.subscribed.discard(channel)
        await self.inner.unsubscribe(channel)

    async def _call(self, method: str, channel: str, work: Coroutine[Any, Any, Any]) -> Any:
        if self._failure is not None:
            work.close()
            raise self._failure
        if method not in self._methods:
            return await work
        call = HeldCall(method, channel, work)
        self.held.append(call)
        return await call.wait()

    # -- BrokerEvents: between the memory broker and the node

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        *,
        delta: bool = False,
        previous: Publication | None = None,
        lag: float | None = None,
    ) -> None:
        """A node gets publications only of channels that it is subscribed to, as with a store."""

        def deliver() -> None:
            if self._events is not None and channel in self.subscribed:
                self._events.on_publication(
                    channel, publication, position, delta=delta, previous=previous, lag=lag
                )

        self._pass_on(deliver)

    def on_join(self, channel: str, info: ClientInfo) -> None:
        """See :class:`~flyball.core.broker.BrokerEvents`."""

        def deliver() -> None:
            if self._events is not None and channel in self.subscribed:
                self._events.on_join(channel, info)

        self._pass_on(deliver)

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        """See :class:`~flyball.core.broker.BrokerEvents`."""

        def deliver() -> None:
            if self._events is not None and channel in self.subscribed:
                self._events.on_leave(channel, info)

        self._pass_on(deliver)

    def on_broker_lost(self, reason: str) -> None:
        """See :class:`~flyball.core.broker.BrokerEvents`."""
        self.lose(reason)

    def on_broker_restored(self) -> None:
        """See :class:`~flyball.core.broker.BrokerEvents`."""
        self.restore()

    def _pass_on(self, deliver: Callable[[], None]) -> None:
        if self._deaf:
            return
        if self._hold_deliveries:
            self.deliveries.append(deliver)
        else:
            deliver()
