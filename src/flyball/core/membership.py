"""Entering and leaving channels: hub, the broker's subscriptions, presence, and who is told."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from flyball.aio.tasks import do_all
from flyball.core.errors import Disconnect
from flyball.core.events import ChannelOccupied, ChannelVacated, Unsubscribed
from flyball.core.links import BrokerLinks
from flyball.core.reads import SharedReads
from flyball.core.subscription import SubscriptionState
from flyball.core.types import HistoryFilter, RecoveryMode, StreamPosition
from flyball.protocol import codes, messages
from flyball.protocol.messages import Push

if TYPE_CHECKING:
    from flyball.aio.tasks import Step
    from flyball.core.broker import Broker, PresenceManager
    from flyball.core.hub import Hub, Listener
    from flyball.core.runtime import Runtime
    from flyball.core.session import Session
    from flyball.core.subscription import Subscription
    from flyball.core.types import HistoryResult
    from flyball.protocol.codes import UnsubscribeCode


class Membership:
    """Who is in which channel on this node, and what the engine knows of it."""

    __slots__ = ("_broker", "_links", "_presence", "_reads", "_runtime", "hub")

    def __init__(
        self, runtime: Runtime, hub: Hub, broker: Broker, presence_manager: PresenceManager
    ) -> None:
        self.hub: Hub = hub
        self._runtime = runtime
        self._broker = broker
        self._presence = presence_manager
        self._reads = SharedReads(runtime, broker)
        self._links = BrokerLinks(
            broker, lambda channel: channel in hub.channels, runtime.metrics.actions
        )

    # -- entering

    async def enter(self, sub: Subscription) -> None:
        """Puts a subscription into the hub, and the node into the channel if it is the first."""
        metrics = self._runtime.metrics
        metrics.actions["add_subscription"] += 1
        metrics.subscriptions_inflight[sub.session.client_label] += 1
        sub.become(SubscriptionState.JOINING)
        first = self.hub.add_subscription(sub)
        await self._links.settle(sub.channel)
        if first:
            await self._runtime.handlers.channel_occupied(ChannelOccupied(sub.channel))

    async def announce(self, sub: Subscription) -> None:
        """Tells the channel of its new member."""
        await self._publish_join_leave(sub, joined=True)

    async def _publish_join_leave(self, sub: Subscription, *, joined: bool) -> None:
        self._runtime.metrics.messages_sent["join" if joined else "leave"] += 1
        await self._broker.publish_join_leave(sub.channel, sub.info, joined=joined)

    async def read(self, sub: Subscription, query: HistoryFilter) -> HistoryResult:
        """Reads the stream that a subscription follows."""
        self._count_read(query, sub.options.recovery_mode)
        return await self._reads.read(sub.channel, query)

    def _count_read(self, query: HistoryFilter, mode: RecoveryMode) -> None:
        """Counts a read by what it is for; others may share it."""
        actions = self._runtime.metrics.actions
        actions["history"] += 1
        if not query.limit:
            actions["history_stream_top"] += 1
        elif mode is RecoveryMode.CACHE:
            actions["history_recover_cache"] += 1
        else:
            actions["history_recover"] += 1

    async def read_top(self, sub: Subscription) -> StreamPosition:
        """Reads where the stream of a subscription stands; it must not be behind it.

        A stream that went back gets a fresh epoch, so that nobody takes what it says from now on
        for what it said before.
        """
        seen = StreamPosition(sub.offset, sub.epoch)
        query = HistoryFilter(0, meta_ttl=sub.options.history_meta_ttl)
        self._count_read(query, sub.options.recovery_mode)
        top = (await self._reads.read(sub.channel, query)).position
        if top.epoch == seen.epoch and top.offset < seen.offset:
            await self._broker.renew_epoch(sub.channel, seen)
            top = (await self._reads.read(sub.channel, query)).position
        return top

    async def add_presence(self, sub: Subscription) -> None:
        """Enters, or prolongs, a subscriber's presence."""
        self._runtime.metrics.actions["add_presence"] += 1
        sub.present = True
        await self._presence.add_presence(sub.channel, sub.session.client_id, sub.info)

    async def remove_presence(self, sub: Subscription) -> None:
        """Removes a subscriber's presence; silent if there is none."""
        sub.present = False
        session = sub.session
        self._runtime.metrics.actions["remove_presence"] += 1
        await self._presence.remove_presence(sub.channel, session.client_id, session.user)

    # -- leaving

    async def leave(self, sub: Subscription) -> None:
        """A subscription that never went live goes away."""
        if sub.state is SubscriptionState.ASKED:
            sub.become(SubscriptionState.ENDED)
            if sub.feed is not None:
                await sub.feed.close()
        else:
            await do_all(self._leave(sub))

    def _leave(self, sub: Subscription) -> list[Step]:
        """Takes ``sub`` out of the hub at once; returns what is to be done after that."""
        sub.become(SubscriptionState.ENDED)
        metrics = self._runtime.metrics
        metrics.actions["remove_subscription"] += 1
        metrics.subscriptions_inflight[sub.session.client_label] -= 1
        steps: list[Step] = []
        if sub.present:
            steps.append(partial(self.remove_presence, sub))
        if self.hub.remove_subscription(sub):
            vacated = ChannelVacated(sub.channel)
            steps.append(partial(self._links.settle, sub.channel))
            steps.append(partial(self._runtime.handlers.channel_vacated, vacated))
        if sub.feed is not None:
            steps.append(sub.feed.close)
        return steps

    async def end(self, session: Session, channel: str, code: UnsubscribeCode) -> None:
        """Ends a subscription, by the client or the server; silent if there is none.

        Raises whatever the engine raised, after everybody was told.
        """
        sub = session.subscriptions.get(channel)
        if sub is None:
            return
        if not sub.live:
            sub.ended_by = code  # carried out right after the subscribe reply
            return
        steps = self.end_live(sub, code)
        if code.code >= codes.UNSUBSCRIBE_SERVER.code:
            self.push_unsubscribe(session, channel, code)
        await do_all(steps)

    def push_unsubscribe(self, session: Session, channel: str, code: UnsubscribeCode) -> None:
        """Tells a client that it is not subscribed (any more), by the server's will."""
        self._runtime.metrics.server_unsubscribes[code.code] += 1
        push = messages.Unsubscribe(code=code.code, reason=code.reason)
        session.push(Push(channel=channel, unsubscribe=push), "push_unsubscribe")

    def end_live(self, sub: Subscription, code: UnsubscribeCode) -> list[Step]:
        """Ends a live subscription here and now; returns what is to be done and told after that.

        Each of these steps is taken whatever becomes of the others (see ``do_all``).
        """
        session, channel = sub.session, sub.channel
        del session.subscriptions[channel]
        steps = self._leave(sub)
        if sub.options.join_leave:
            steps.append(partial(self._publish_join_leave, sub, joined=False))
        ended = Unsubscribed(session.connection, channel, code.code, code.reason, sub.server_side)
        steps.append(partial(self._runtime.handlers.unsubscribed, ended))
        return steps

    async def lose_state(self, sub: Subscription) -> None:
        """The subscription missed something: the client must recover.

        A client cannot subscribe again to what the server subscribed it to, so it connects anew.
        """
        if sub.server_side:
            sub.session.disconnect(Disconnect(codes.DISCONNECT_INSUFFICIENT_STATE))
        else:
            await self.end(sub.session, sub.channel, codes.UNSUBSCRIBE_INSUFFICIENT)

    # -- parts of this program

    async def add_listener(self, channel: str, listener: Listener) -> None:
        """A part of this program subscribes."""
        self.hub.add_listener(channel, listener)
        await self._links.settle(channel)

    async def remove_listener(self, channel: str, listener: Listener) -> None:
        """A part of this program unsubscribes; harmless if it had not subscribed."""
        self.hub.remove_listener(channel, listener)
        await self._links.settle(channel)

    async def read_stream(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """Reads the stream that a part of this program follows."""
        return await self._reads.read(channel, query)

    async def drain(self) -> None:
        """Waits for the broker calls under way."""
        await self._links.drain()
