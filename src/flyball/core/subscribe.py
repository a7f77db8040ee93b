"""Making a subscription: permission, position, recovery, presence, reply, live.

From the entry in the hub to the reply is a critical section for (session, channel): what
arrives meanwhile is buffered and delivered after the reply, checked by offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.errors import Disconnect, Error
from flyball.core.events import Subscribed, Subscribing
from flyball.core.expiry import MAX_SUB_EXPIRY, cut_expiry, is_past, ttl_of
from flyball.core.feed import Feed
from flyball.core.recovery import Recovery, chain_deltas, recover_cache, recover_stream
from flyball.core.refresh import set_sub_expiry
from flyball.core.subscription import Subscription, SubscriptionState
from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    RecoveryMode,
    StreamPosition,
    SubscribeOptions,
    SubscriptionSource,
)
from flyball.protocol import codes, messages
from flyball.protocol.codec import EncodeError
from flyball.protocol.filter import FilterError, compile_filter
from flyball.protocol.messages import Push, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.core.membership import Membership
    from flyball.core.runtime import Runtime
    from flyball.core.session import Session
    from flyball.protocol.filter import TagsFilter

DELTA_TYPES = ("", "fossil")
REJECT_UNRECOVERED = 2
"""Bit of ``SubscribeRequest.flag``."""
SHARED_POLL = 4
LAST_KNOWN_TYPE = SHARED_POLL


class SubscribeRun:
    """One subscription in the making: :meth:`make`, the reply, :func:`go_live`, :meth:`announce`."""

    __slots__ = (
        "_membership",
        "_runtime",
        "channel",
        "options",
        "recovered",
        "request",
        "result",
        "session",
        "sub",
    )

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        session: Session,
        request: messages.SubscribeRequest,
        *,
        source: SubscriptionSource,
        server_side: bool,
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self.session: Session = session
        self.request: messages.SubscribeRequest = request
        self.channel: str = request.channel
        self.options: SubscribeOptions = SubscribeOptions()
        self.result: messages.SubscribeResult = messages.SubscribeResult()
        self.recovered: bool = False
        self.sub: Subscription = Subscription(
            session, request.channel, server_side=server_side, source=source
        )

    def allow(self, options: SubscribeOptions) -> None:
        """Takes how the subscription is to behave; :meth:`make` follows, or :meth:`abandon`."""
        self.options = options
        if options.feed is not None:
            self.sub.feed = Feed(self._runtime, self._membership, self.sub, options.feed)

    async def make(self) -> None:
        """Enters the channel, reads the stream, recovers, enters presence. Fills ``result``.

        Raises:
            Error: the subscription is refused.
            Disconnect: the connection must end.
        """
        sub, options, membership = self.sub, self.options, self._membership
        self._configure()
        self.session.subscriptions[self.channel] = sub
        sub.buffer = [] if sub.positioned else None
        await membership.enter(sub)
        if sub.positioned:
            await self._position()
        elif self._recovering:
            self.result.was_recovering = True
        if options.presence:
            await membership.add_presence(sub)
        self._fill()

    @property
    def _recovering(self) -> bool:
        return self.request.recover or (
            self.sub.recoverable
            and self.options.auto_cache_recover
            and self.options.recovery_mode is RecoveryMode.CACHE
        )

    def _configure(self) -> None:
        sub, options, request = self.sub, self.options, self.request
        session = self.session
        now = self._runtime.clock.time()
        if is_past(options.expire_at, now):
            raise Error(codes.EXPIRED)
        if request.tf is not None:
            sub.tags_filter = self._tags_filter(request.tf)
        sub.options = options
        sub.source = options.source or sub.source
        sub.info = ClientInfo(session.user, session.client_id, session.info, options.info)
        self._check_info()
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
        set_sub_expiry(self._runtime, sub, cut_expiry(options.expire_at, now, MAX_SUB_EXPIRY))

    def _check_info(self) -> None:
        """Raises Error 100 if others who speak as this client could not be told of it."""
        sub, options = self.sub, self.options
        if not (options.presence or options.join_leave):
            return
        if sub.info.conn_info or sub.info.chan_info:
            try:
                check_info(self.session, sub.info)
            except EncodeError as error:
                raise Error(codes.INTERNAL, detail=f"info: {error}") from None

    def check_filter(self) -> None:
        """Raises Error 107 if a tags filter is wished and not allowed."""
        if self.request.tf is not None and not self.options.allow_tags_filter:
            raise Error(codes.BAD_REQUEST, detail="a tags filter is not allowed here")

    def _tags_filter(self, wanted: messages.FilterNode) -> TagsFilter:
        self.check_filter()
        try:
            return compile_filter(wanted)
        except FilterError as error:
            raise Error(codes.BAD_REQUEST, detail=f"tags filter: {error}") from None

    async def _position(self) -> None:
        """Finds the position in the stream, and what was missed."""
        sub, request, result = self.sub, self.request, self.result
        wanted = StreamPosition(request.offset, request.epoch)
        recovers = self._recovering and sub.recoverable
        query = self._missed(wanted) if recovers else HistoryFilter(0, meta_ttl=self._meta_ttl)
        history = await self._membership.read(sub, query)
        sub.offset, sub.epoch = history.position.offset, history.position.epoch
        sub.checked_at = self._runtime.clock.monotonic()
        result.epoch = sub.epoch
        result.offset = sub.offset
        result.was_recovering = self._recovering
        if not recovers:
            return
        if self.options.recovery_mode is RecoveryMode.CACHE:
            self._recover(recover_cache(wanted, history, sub.tags_filter), wanted)
        else:
            self._recover(recover_stream(wanted, history), wanted)

    def _missed(self, wanted: StreamPosition) -> HistoryFilter:
        """What has to be read of the stream to recover."""
        limit = self._runtime.options.recovery_max_publication_limit or -1
        if self.options.recovery_mode is RecoveryMode.CACHE:
            count = 1 if self.sub.tags_filter is None else limit
            return HistoryFilter(count, reverse=True, meta_ttl=self._meta_ttl)
        return HistoryFilter(limit, wanted, meta_ttl=self._meta_ttl)

    @property
    def _meta_ttl(self) -> float:
        return self.options.history_meta_ttl

    def _recover(self, recovery: Recovery, wanted: StreamPosition) -> None:
        sub, result, metrics = self.sub, self.result, self._runtime.metrics
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
        elif (
            self.request.flag & REJECT_UNRECOVERED
            and self.request.recover
            and self.options.recovery_mode is RecoveryMode.STREAM
        ):
            raise Error(codes.UNRECOVERABLE_POSITION)
        metrics.recovers[recovery.recovered, bool(publications)] += 1
        if recovery.recovered:
            metrics.recovered_publications.observe(len(publications))

    def _fill(self) -> None:
        sub, options, result = self.sub, self.options, self.result
        if sub.expire_at and options.client_side_refresh:
            result.expires = True
            result.ttl = ttl_of(sub.expire_at, self._runtime.clock.time())
        result.recoverable = sub.recoverable
        result.positioned = sub.positioned
        result.data = options.data
        result.delta = sub.delta

    def deliver_buffered(self) -> bool:
        """Right after the reply: goes live and gets what was buffered; False if that has a hole."""
        sub, hub = self.sub, self._membership.hub
        buffer, sub.buffer = sub.buffer, None
        sub.become(SubscriptionState.LIVE)
        if buffer is None:
            return True
        complete = all(hub.deliver_buffered(sub, b) for b in buffer)
        # Only a subscriber that needs more than its neighbours stays among the individual ones.
        hub.regroup(sub)
        return complete

    async def announce(self) -> None:
        """Tells others of the new subscriber, unless it has ended meanwhile."""
        sub, session, runtime = self.sub, self.session, self._runtime
        if not sub.live:
            return
        runtime.metrics.subscriptions_accepted[session.client_label] += 1
        session.want_presence_tick()
        if sub.ended_by is not None:
            await self._membership.end(session, sub.channel, sub.ended_by)
            return
        if sub.feed is not None:
            sub.feed.start()
        if self.options.join_leave:
            await self._membership.announce(sub)
        await runtime.handlers.subscribed(
            Subscribed(session.connection, sub.channel, self.options, recovered=self.recovered)
        )

    async def abandon(self) -> None:
        """Undoes a subscription that failed before its reply."""
        sub = self.sub
        if self.session.subscriptions.get(sub.channel) is sub:
            del self.session.subscriptions[sub.channel]
        await self._membership.leave(sub)


class SubscribeCommand:
    """The command ``subscribe``."""

    __slots__ = ("_membership", "_runtime")

    def __init__(self, runtime: Runtime, membership: Membership) -> None:
        self._runtime = runtime
        self._membership = membership

    async def subscribe(
        self, session: Session, request: messages.SubscribeRequest, id_: int
    ) -> Reply | None:
        """Sends its reply itself: publications come after it."""
        self._check(session, request)
        run = SubscribeRun(
            self._runtime,
            self._membership,
            session,
            request,
            source=SubscriptionSource.CLIENT,
            server_side=False,
        )
        # Taken from here on: a second subscribe meanwhile is refused, and it counts for the limit.
        session.subscriptions[request.channel] = run.sub
        try:
            await self._ask_and_make(run)
        except BaseException:
            await run.abandon()
            raise
        if not session.closed:
            session.reply(Reply(id=id_, subscribe=run.result), "subscribe")
        if session.closed:  # by somebody, or by an answer that has no form in its encoding
            await run.abandon()
            return None
        go_live((run,))
        await run.announce()
        return None

    async def _ask_and_make(self, run: SubscribeRun) -> None:
        request = run.request
        event = Subscribing(
            run.session.connection,
            request.channel,
            request.token,
            request.data,
            request.type,
            request.positioned,
            request.recoverable,
            request.join_leave,
        )
        run.allow(await self._runtime.handlers.subscribe(event))
        if request.type > LAST_KNOWN_TYPE:
            run.check_filter()
            raise Disconnect(codes.DISCONNECT_SERVER_ERROR, detail="unknown subscription type")
        if request.type > 0:
            raise Error(codes.NOT_AVAILABLE, detail=f"subscription type {request.type}")
        await run.make()

    def _check(self, session: Session, request: messages.SubscribeRequest) -> None:
        channel, options = request.channel, self._runtime.options
        if not channel:
            raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail="empty channel")
        # Other kinds of subscription have no deltas, and nobody looks at what they wish.
        if request.delta not in DELTA_TYPES and not 0 < request.type <= LAST_KNOWN_TYPE:
            detail = f"unknown delta {request.delta!r}"
            raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail=detail)
        max_length = options.channel_max_length
        if max_length and len(channel) * 4 > max_length and len(channel.encode()) > max_length:
            raise Error(codes.BAD_REQUEST, detail=f"channel name longer than {max_length} bytes")
        if channel in session.subscriptions:
            if request.type == SHARED_POLL:
                raise Error(codes.NOT_AVAILABLE, detail="a shared poll of a subscribed channel")
            raise Error(codes.ALREADY_SUBSCRIBED)
        if options.channel_limit and len(session.subscriptions) >= options.channel_limit:
            raise Error(codes.LIMIT_EXCEEDED, detail=f"channel_limit {options.channel_limit}")


def go_live(runs: Sequence[SubscribeRun]) -> None:
    """Right after the reply. All of them go live, whatever one finds: a session ends live ones.

    Raises:
        Disconnect: 3010, there is a hole in what one of them buffered.
    """
    holes = [run.channel for run in runs if not run.deliver_buffered()]
    if holes:
        detail = f"a hole in {', '.join(map(repr, holes))}"
        raise Disconnect(codes.DISCONNECT_INSUFFICIENT_STATE, detail=detail)


def check_info(session: Session, info: ClientInfo) -> None:
    """Raises EncodeError if ``info`` cannot be said in what the session's client speaks."""
    session.transport.framing.push_message(Push(join=messages.Join(info=info)))


def push_of(result: messages.SubscribeResult) -> messages.Subscribe:
    """The subscribe push for a live connection that the server subscribed."""
    return messages.Subscribe(
        recoverable=result.recoverable,
        epoch=result.epoch,
        offset=result.offset,
        positioned=result.positioned,
        data=result.data,
    )
