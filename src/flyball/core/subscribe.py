"""Making a subscription: permission, position, recovery, presence, reply, live.

From the entry in the hub to the reply is a critical section for (session, channel): what
arrives meanwhile is held and delivered after the reply, checked by offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.errors import Disconnect, Error
from flyball.core.events import Subscribed, Subscribing
from flyball.core.recovery import Recovery, chain_deltas, recover_cache, recover_stream
from flyball.core.refresh import cut_expiry, set_sub_expiry, ttl_of
from flyball.core.subscription import Subscription
from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    RecoveryMode,
    StreamPosition,
    SubscribeOptions,
)
from flyball.protocol import codes, messages
from flyball.protocol.filter import FilterError, compile_filter
from flyball.protocol.messages import Reply

if TYPE_CHECKING:
    from flyball.core.session import Session

DELTA_TYPES = ("", "fossil")
REJECT_UNRECOVERED = 2
"""Bit of ``SubscribeRequest.flag``."""
LAST_KNOWN_TYPE = 4


class SubscribeRun:
    """One subscription in the making."""

    __slots__ = ("channel", "options", "recovered", "request", "result", "session", "sub")

    def __init__(
        self, session: Session, request: messages.SubscribeRequest, *, server_side: bool
    ) -> None:
        self.session = session
        self.request = request
        self.channel = request.channel
        self.options = SubscribeOptions()
        self.result = messages.SubscribeResult()
        self.recovered = False
        self.sub = Subscription(session, request.channel, server_side=server_side)

    async def make(self) -> None:
        """Enters the channel, reads the stream, recovers, enters presence. Fills ``result``.

        Raises:
            Error: the subscription is refused.
            Disconnect: the connection must end.
        """
        session, sub, options, node = self.session, self.sub, self.options, self.session.node
        self._configure()
        session.subscriptions[self.channel] = sub
        sub.held = [] if sub.positioned else None
        await node.enter_channel(sub)
        if sub.positioned:
            await self._position()
        elif self._recovering:
            self.result.was_recovering = True
        if options.presence:
            await node.add_presence(sub)
        self._fill()

    @property
    def _recovering(self) -> bool:
        return self.request.recover or (
            self.options.auto_cache_recover and self.options.recovery_mode is RecoveryMode.CACHE
        )

    def _configure(self) -> None:
        sub, options, request = self.sub, self.options, self.request
        session = self.session
        now = session.node.clock.time()
        if options.expire_at and options.expire_at <= now:
            raise Error(codes.EXPIRED)
        if request.tf is not None:
            if not options.allow_tags_filter:
                raise Error(codes.BAD_REQUEST, detail="a tags filter is not allowed here")
            try:
                sub.tags_filter = compile_filter(request.tf)
            except FilterError as error:
                raise Error(codes.BAD_REQUEST, detail=f"tags filter: {error}") from None
        sub.options = options
        sub.info = ClientInfo(session.user, session.client_id, session.info, options.info)
        sub.recoverable = options.recoverable or (options.allow_recovery and request.recoverable)
        sub.positioned = (
            sub.recoverable
            or options.positioned
            or (options.allow_positioning and request.positioned)
        )
        sub.push_join_leave = options.push_join_leave or (
            options.allow_join_leave and request.join_leave
        )
        sub.delta = bool(request.delta) and request.delta in options.allowed_deltas
        set_sub_expiry(sub, cut_expiry(options.expire_at, now))

    async def _position(self) -> None:
        """Finds the position in the stream, and what was missed."""
        sub, options, request, result = self.sub, self.options, self.request, self.result
        node = self.session.node
        wanted = StreamPosition(request.offset, request.epoch)
        recovery: Recovery | None = None
        if self._recovering and sub.recoverable:
            limit = node.options.recovery_max_publication_limit or -1
            if options.recovery_mode is RecoveryMode.CACHE:
                count = 1 if sub.tags_filter is None else limit
                query = HistoryFilter(count, reverse=True)
            else:
                query = HistoryFilter(limit, wanted)
            history = await node.broker.history(self.channel, query, options.history_meta_ttl)
            top = history.position
            if options.recovery_mode is RecoveryMode.CACHE:
                recovery = recover_cache(wanted, history, sub.tags_filter)
            else:
                recovery = recover_stream(wanted, history)
        else:
            history = await node.broker.history(
                self.channel, HistoryFilter(0), options.history_meta_ttl
            )
            top = history.position
        sub.offset, sub.epoch = top.offset, top.epoch
        sub.checked_at = node.clock.monotonic()
        result.epoch = top.epoch
        result.offset = top.offset
        result.was_recovering = self._recovering
        if recovery is not None:
            self._recover(recovery, wanted)

    def _recover(self, recovery: Recovery, wanted: StreamPosition) -> None:
        sub, result, node = self.sub, self.result, self.session.node
        publications = recovery.publications
        if recovery.recovered:
            self.recovered = result.recovered = True
            result.offset = wanted.offset
            if sub.tags_filter is not None:
                publications = [p for p in publications if sub.tags_filter.matches(p.tags)]
            if sub.delta and publications:
                sub.base_offset = publications[-1].offset
                publications = chain_deltas(publications, self.session.transport.framing.codec)
            result.publications = publications
        elif self.request.flag & REJECT_UNRECOVERED and self.request.recover:
            raise Error(codes.UNRECOVERABLE_POSITION)
        node.metrics.recovers[recovery.recovered, bool(publications)] += 1
        node.metrics.recovered_publications.observe(len(publications))

    def _fill(self) -> None:
        sub, options, result = self.sub, self.options, self.result
        if sub.expire_at and options.client_side_refresh:
            result.expires = True
            result.ttl = ttl_of(sub.expire_at, self.session.node.clock.time())
        result.recoverable = sub.recoverable
        result.positioned = sub.positioned
        result.data = options.data
        result.delta = sub.delta


async def subscribe(session: Session, request: messages.SubscribeRequest, id_: int) -> Reply | None:
    """The client subscribes. Sends its reply itself: publications come after it."""
    _check(session, request)
    run = SubscribeRun(session, request, server_side=False)
    # Taken from here on: a second subscribe meanwhile is refused, and it counts for the limit.
    session.subscriptions[request.channel] = run.sub
    try:
        event = Subscribing(
            session,
            request.channel,
            request.token,
            request.data,
            request.type,
            request.positioned,
            request.recoverable,
            request.join_leave,
        )
        run.options = await session.node.handlers.subscribe(event)
        if request.type > LAST_KNOWN_TYPE or request.type < 0:
            raise Disconnect(codes.DISCONNECT_SERVER_ERROR, detail="unknown subscription type")
        if request.type:
            raise Error(codes.NOT_AVAILABLE, detail=f"subscription type {request.type}")
        await run.make()
    except BaseException:
        await abandon(run)
        raise
    if session.closed:
        await abandon(run)
        return None
    session.reply(Reply(id=id_, subscribe=run.result), "subscribe")
    await announce(run)
    return None


def _check(session: Session, request: messages.SubscribeRequest) -> None:
    channel, options = request.channel, session.node.options
    if not channel:
        raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail="empty channel")
    if request.delta not in DELTA_TYPES:
        raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail=f"unknown delta {request.delta!r}")
    max_length = options.channel_max_length
    if max_length and len(channel) * 4 > max_length and len(channel.encode()) > max_length:
        raise Error(codes.BAD_REQUEST, detail=f"channel name longer than {max_length} bytes")
    if channel in session.subscriptions:
        raise Error(codes.ALREADY_SUBSCRIBED)
    if options.channel_limit and len(session.subscriptions) >= options.channel_limit:
        raise Error(codes.LIMIT_EXCEEDED, detail=f"channel_limit {options.channel_limit}")


async def announce(run: SubscribeRun) -> None:
    """After the reply: delivers what was held, goes live, tells others."""
    sub, session, node = run.sub, run.session, run.session.node
    held, sub.held = sub.held, None
    sub.live = True
    if held is not None:
        complete = all(node.hub.deliver_held(sub, h) for h in held)
        # Only a subscriber that needs more than its neighbours stays among the special ones.
        node.hub.regroup(sub)
        if not complete:
            raise Disconnect(
                codes.DISCONNECT_INSUFFICIENT_STATE, detail=f"a hole in {sub.channel!r}"
            )
    node.metrics.subscriptions_accepted += 1
    session.want_presence_tick()
    if sub.ended_by is not None:
        await node.end_subscription(session, sub.channel, sub.ended_by)
        return
    if run.options.join_leave:
        await node.broker.publish_join_leave(sub.channel, sub.info, joined=True)
    await node.handlers.subscribed(
        Subscribed(session, sub.channel, run.options, recovered=run.recovered)
    )


async def abandon(run: SubscribeRun) -> None:
    """Undoes a subscription that failed before its reply."""
    session, sub = run.session, run.sub
    if session.subscriptions.get(sub.channel) is sub:
        del session.subscriptions[sub.channel]
    await session.node.leave_channel(sub)


def push_of(result: messages.SubscribeResult) -> messages.Subscribe:
    """The subscribe push for a live connection that the server subscribed."""
    return messages.Subscribe(
        recoverable=result.recoverable,
        epoch=result.epoch,
        offset=result.offset,
        positioned=result.positioned,
        data=result.data,
    )


__all__ = ["SubscribeRun", "abandon", "announce", "push_of", "subscribe"]
