"""Refreshing a connection or a subscription, by the client or by the server itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from flyball.core.errors import Disconnect, Error
from flyball.core.events import Refreshing, RefreshResult, SubRefreshing
from flyball.core.expiry import cut_expiry, is_past, ttl_of
from flyball.core.types import ClientInfo, Raw, SubscriptionSource
from flyball.protocol import codes, messages
from flyball.protocol.messages import Push, Reply

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from flyball.core.runtime import Runtime
    from flyball.core.session import Session
    from flyball.core.subscription import Subscription

logger: Final = logging.getLogger("flyball.core")


class RefreshCommands:
    """The commands ``refresh`` and ``sub_refresh``."""

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def refresh(
        self, session: Session, request: messages.RefreshRequest, id_: int
    ) -> Reply | None:
        """The client brings a fresh token."""
        if not request.token:
            detail = "refresh without a token"
            raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail=detail)
        if not session.client_side_refresh:
            detail = "the server refreshes itself"
            raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail=detail)
        runtime = self._runtime
        result = await runtime.handlers.refresh(Refreshing(session.connection, request.token))
        answer = messages.RefreshResult()
        expire_at = apply_refresh(runtime, session, result)
        if expire_at:
            answer.expires = True
            answer.ttl = ttl_of(expire_at, runtime.clock.time())
        return Reply(id=id_, refresh=answer)

    async def sub_refresh(
        self, session: Session, request: messages.SubRefreshRequest, id_: int
    ) -> Reply | None:
        """The client prolongs a subscription."""
        sub = _refreshable(session, request)
        runtime = self._runtime
        event = SubRefreshing(session.connection, request.channel, request.token)
        result = await runtime.handlers.sub_refresh(event)
        now = runtime.clock.time()
        if result.over(now):
            # The old deadline stays: the subscription ends with it.
            raise Error(codes.TOKEN_EXPIRED if result.expired else codes.EXPIRED)
        answer = messages.SubRefreshResult()
        expire_at = apply_sub_refresh(runtime, sub, result)
        if expire_at:
            answer.expires = True
            answer.ttl = ttl_of(expire_at, now)
        return Reply(id=id_, sub_refresh=answer)


def _refreshable(session: Session, request: messages.SubRefreshRequest) -> Subscription:
    """The subscription that the client may refresh.

    Raises:
        Error: 103 not subscribed, 107 there is no token.
        Disconnect: 3501, no channel, or the server refreshes.
    """
    if not request.channel:
        raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail="empty channel")
    sub = session.subscriptions.get(request.channel)
    if sub is None or not sub.live:
        raise Error(codes.PERMISSION_DENIED, detail="not subscribed")
    if sub.server_side or not sub.options.client_side_refresh:
        raise Disconnect(
            codes.DISCONNECT_BAD_REQUEST, detail="the server refreshes this subscription itself"
        )
    if not request.token:
        raise Error(codes.BAD_REQUEST, detail="sub_refresh without a token")
    return sub


def apply_refresh(runtime: Runtime, session: Session, result: RefreshResult) -> float:
    """Gives the session its new expiry and returns it.

    Raises:
        Disconnect: it expired, or its server-side subscriptions would change.
        Error: 110, the new expiry is over already.
    """
    now = runtime.clock.time()
    if result.expired:
        raise Disconnect(codes.DISCONNECT_EXPIRED)
    if result.subs is not None:
        _compare_channels(session, result.subs)
    if is_past(result.expire_at, now):
        raise Error(codes.EXPIRED)
    if result.info is not None:
        _set_info(session, result.info)
    if result.meta is not None:
        session.meta = result.meta
    expire_at = cut_expiry(result.expire_at, now)
    session.set_expiry(expire_at)
    session.arm()
    return expire_at


def _compare_channels(session: Session, named: AbstractSet[str]) -> None:
    """Only what credentials gave counts: personal, wished and API ones come and go freely.

    Raises:
        Disconnect: 3010, the credentials name others than the connection has.
    """
    live = {name: sub for name, sub in session.subscriptions.items() if sub.live}
    missing = named - live.keys()
    surplus = {n for n, sub in live.items() if sub.source is SubscriptionSource.CONNECT} - named
    if missing or surplus:
        detail = (
            "refresh is refused: the server-side subscriptions changed; "
            f"new in the token: {sorted(missing)}, no longer in it: {sorted(surplus)}"
        )
        logger.info("client %s: %s", session.client_id, detail)
        raise Disconnect(codes.DISCONNECT_INSUFFICIENT_STATE, detail=detail)
    for name in named:
        live[name].source = SubscriptionSource.CONNECT


def _set_info(session: Session, info: Raw) -> None:
    session.info = info
    for sub in session.subscriptions.values():
        old = sub.info
        sub.info = ClientInfo(old.user, old.client, info, old.chan_info)


def change_expiry(runtime: Runtime, session: Session, expire_at: float, info: Raw | None) -> None:
    """The program changes the expiry of a live connection; the client is told."""
    now = runtime.clock.time()
    expire_at = cut_expiry(expire_at, now)
    session.set_expiry(expire_at)
    session.arm()
    if info:
        _set_info(session, info)
    push = messages.Refresh()
    if expire_at:
        push.expires = True
        push.ttl = ttl_of(expire_at, now)
    session.push(Push(refresh=push), "push_refresh")


async def refresh_by_server(runtime: Runtime, session: Session) -> None:
    """The connection expired: asks the program, or ends it."""
    if session.client_side_refresh or not runtime.handlers.on_refresh.registered:
        raise Disconnect(codes.DISCONNECT_EXPIRED)
    result = await runtime.handlers.refresh(Refreshing(session.connection))
    if result.over(runtime.clock.time()):
        raise Disconnect(codes.DISCONNECT_EXPIRED)
    apply_refresh(runtime, session, result)


def apply_sub_refresh(runtime: Runtime, sub: Subscription, result: RefreshResult) -> float:
    """Gives the subscription its new expiry and returns it: a year ahead at most, unlike the first."""
    expire_at = cut_expiry(result.expire_at, runtime.clock.time())
    set_sub_expiry(runtime, sub, expire_at)
    if result.info is not None:
        old = sub.info
        sub.info = ClientInfo(old.user, old.client, old.conn_info, result.info)
    return expire_at


def set_sub_expiry(runtime: Runtime, sub: Subscription, expire_at: float) -> None:
    """The subscription ends at ``expire_at`` (Unix seconds, 0 never) unless refreshed."""
    clock = runtime.clock
    sub.expire_at = expire_at
    sub.expire_deadline = 0.0
    if expire_at:
        delay = runtime.options.expired_sub_close_delay
        sub.expire_deadline = clock.monotonic() + (expire_at - clock.time()) + delay
