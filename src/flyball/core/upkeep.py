"""What the node does for its sessions from time to time, and at their end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flyball.aio.tasks import do_all
from flyball.core.errors import Disconnect, Error
from flyball.core.events import SubRefreshing
from flyball.core.refresh import apply_sub_refresh, cut_expiry, ttl_of
from flyball.core.types import ClientInfo, HistoryFilter, Raw, StreamPosition
from flyball.protocol import codes, messages
from flyball.protocol.messages import Push

if TYPE_CHECKING:
    from flyball.core.node import Node
    from flyball.core.session import Session
    from flyball.core.subscription import Subscription

logger = logging.getLogger("flyball.core")

TOP_AGE = 1.0
"""Seconds for which a stream's top, once read, serves all subscribers of the channel."""
SECOND_LOOK = 1.0
"""Seconds until a position that seems behind is looked at again before it counts as lost."""


class Upkeep:
    """Visits sessions at presence intervals."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._visiting: set[Session] = set()

    async def visit(self, session: Session) -> None:
        """Prolongs presence, ends expired subscriptions, checks positions."""
        if session in self._visiting:
            return  # the store is slow: one visit at a time
        self._visiting.add(session)
        try:
            for sub in list(session.subscriptions.values()):
                if session.closed:
                    return
                if sub.live and not await self._expired(sub):
                    await self._prolong(sub)
                    await self._check_position(sub)
        except Disconnect as disconnect:
            session.disconnect(disconnect)
        finally:
            self._visiting.discard(session)

    async def _expired(self, sub: Subscription) -> bool:
        node = self._node
        if not sub.expire_deadline or node.clock.monotonic() < sub.expire_deadline:
            return False
        if not sub.options.client_side_refresh and node.handlers.on_sub_refresh.registered:
            try:
                result = await node.handlers.sub_refresh(SubRefreshing(sub.session, sub.channel))
            except Error as error:
                logger.warning("refresh of a subscription to %r failed: %s", sub.channel, error)
            else:
                now = node.clock.time()
                if not result.expired and not (0 < result.expire_at <= now):
                    apply_sub_refresh(sub, result)
                    return False
        if sub.server_side:
            raise Disconnect(codes.DISCONNECT_SUB_EXPIRED)
        await node.end_subscription(sub.session, sub.channel, codes.UNSUBSCRIBE_EXPIRED)
        return True

    async def _prolong(self, sub: Subscription) -> None:
        if not sub.present:
            return
        try:
            await self._node.add_presence(sub)
        except (Error, OSError) as error:
            logger.warning("cannot prolong presence in %r: %s", sub.channel, error)
        if not sub.live:  # left meanwhile: do not leave an entry behind
            sub.present = False
            await self._node.remove_presence(sub)

    async def _check_position(self, sub: Subscription) -> None:
        node = self._node
        delay = node.options.channel_position_check_delay
        now = node.clock.monotonic()
        if not sub.positioned or not delay:
            return
        if now - sub.checked_at < delay and sub.suspect_offset < 0:
            return
        try:
            top = await self._top(sub, now)
        except (Error, OSError) as error:
            logger.warning("cannot check the position in %r: %s", sub.channel, error)
            return
        if not sub.live:
            return
        if top.epoch != sub.epoch or (sub.suspect_offset == sub.offset < top.offset):
            await self.lose_state(sub)
        elif top.offset > sub.offset:
            # Perhaps still on its way: lost only if the next look finds the same.
            sub.suspect_offset = sub.offset
            sub.session.look_again(SECOND_LOOK)
        else:
            sub.suspect_offset = -1
            sub.checked_at = now

    async def _top(self, sub: Subscription, now: float) -> StreamPosition:
        channel = self._node.hub.channels.get(sub.channel)
        if channel is not None and channel.top is not None and now - channel.top_at < TOP_AGE:
            return channel.top
        result = await self._node.broker.history(
            sub.channel, HistoryFilter(0), sub.options.history_meta_ttl
        )
        if channel is not None:
            channel.top, channel.top_at = result.position, now
        return result.position

    async def lose_state(self, sub: Subscription) -> None:
        """The subscription missed something: the client must recover."""
        session = sub.session
        if session.subscriptions.get(sub.channel) is not sub:
            return
        if sub.server_side:
            session.disconnect(Disconnect(codes.DISCONNECT_INSUFFICIENT_STATE))
        else:
            await self._node.end_subscription(session, sub.channel, codes.UNSUBSCRIBE_INSUFFICIENT)

    async def bury(self, session: Session, disconnect: Disconnect) -> None:
        """Ends the subscriptions of a closed session and tells the program."""
        node = self._node
        for sub in list(session.subscriptions.values()):
            if not sub.live:
                continue  # its subscribe is still running and cleans up by itself
            try:
                await do_all(node.end_live(sub, codes.UNSUBSCRIBE_DISCONNECT))
            except (Error, OSError) as error:
                logger.warning("leaving %r failed: %s", sub.channel, error)
        await node.tell_disconnected(session, disconnect)

    def change_expiry(self, session: Session, expire_at: float, info: Raw | None) -> None:
        """Sets the expiry of a live connection and tells the client."""
        now = self._node.clock.time()
        expire_at = cut_expiry(expire_at, now)
        session.set_expiry(expire_at)
        session.arm()
        if info:
            session.info = info
            for sub in session.subscriptions.values():
                old = sub.info
                sub.info = ClientInfo(old.user, old.client, info, old.chan_info)
        push = messages.Refresh()
        if expire_at:
            push.expires = True
            push.ttl = ttl_of(expire_at, now)
        session.push(Push(refresh=push), "push_refresh")
