"""Refreshing a connection or a subscription, by the client or by the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.errors import Disconnect, Error
from flyball.core.events import Refreshing, RefreshResult, SubRefreshing
from flyball.core.types import ClientInfo
from flyball.protocol import codes, messages
from flyball.protocol.messages import Reply

if TYPE_CHECKING:
    from flyball.core.session import Session
    from flyball.core.subscription import Subscription

MAX_EXPIRY = 365 * 24 * 3600.0
"""Seconds: expiries further away are cut to this."""


def cut_expiry(expire_at: float, now: float) -> float:
    """``expire_at`` (Unix seconds, 0 never), at most a year ahead."""
    return min(expire_at, now + MAX_EXPIRY) if expire_at else 0.0


def ttl_of(expire_at: float, now: float) -> int:
    """Whole seconds until ``expire_at``, at least 0; both ends are cut to seconds first."""
    return max(int(expire_at) - int(now), 0)


async def refresh(session: Session, request: messages.RefreshRequest, id_: int) -> Reply | None:
    """The client brings a fresh token."""
    if not request.token or not session.client_side_refresh:
        raise Disconnect(
            codes.DISCONNECT_BAD_REQUEST,
            detail="refresh without a token"
            if not request.token
            else "the server refreshes itself",
        )
    result = await session.node.handlers.refresh(Refreshing(session, request.token))
    answer = messages.RefreshResult()
    expire_at = apply_refresh(session, result)
    if expire_at:
        answer.expires = True
        answer.ttl = ttl_of(expire_at, session.node.clock.time())
    return Reply(id=id_, refresh=answer)


def apply_refresh(session: Session, result: RefreshResult) -> float:
    """Gives the session its new expiry and returns it.

    Raises:
        Disconnect: it expired, or its server-side subscriptions would change.
    """
    now = session.node.clock.time()
    if result.expired or (result.expire_at and result.expire_at <= now):
        raise Disconnect(codes.DISCONNECT_EXPIRED)
    if result.subs is not None:
        live = {s.channel for s in session.subscriptions.values() if s.server_side and s.live}
        if live != result.subs:
            raise Disconnect(
                codes.DISCONNECT_INSUFFICIENT_STATE,
                detail="the new token names other server-side subscriptions",
            )
    if result.info is not None:
        session.info = result.info
        for sub in session.subscriptions.values():
            old = sub.info
            sub.info = ClientInfo(old.user, old.client, result.info, old.chan_info)
    expire_at = cut_expiry(result.expire_at, now)
    session.set_expiry(expire_at)
    session.arm()
    return expire_at


async def refresh_by_server(session: Session) -> None:
    """The connection expired: asks the program, or ends it."""
    node = session.node
    if session.client_side_refresh or not node.handlers.on_refresh.registered:
        raise Disconnect(codes.DISCONNECT_EXPIRED)
    apply_refresh(session, await node.handlers.refresh(Refreshing(session)))


async def sub_refresh(
    session: Session, request: messages.SubRefreshRequest, id_: int
) -> Reply | None:
    """The client prolongs a subscription."""
    if not request.channel:
        raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail="empty channel")
    sub = session.subscriptions.get(request.channel)
    if sub is None or not sub.live:
        raise Error(codes.PERMISSION_DENIED, detail="not subscribed")
    if request.type != 0:
        raise Error(codes.BAD_REQUEST, detail="tracking keys needs a shared poll channel")
    if not sub.options.client_side_refresh:
        raise Disconnect(
            codes.DISCONNECT_BAD_REQUEST, detail="the server refreshes this subscription itself"
        )
    if not request.token:
        raise Error(codes.BAD_REQUEST, detail="sub_refresh without a token")
    result = await session.node.handlers.sub_refresh(
        SubRefreshing(session, request.channel, request.token)
    )
    now = session.node.clock.time()
    if result.expired or (result.expire_at and result.expire_at <= now):
        # The old deadline stays: the subscription ends with it.
        raise Error(codes.TOKEN_EXPIRED)
    answer = messages.SubRefreshResult()
    expire_at = apply_sub_refresh(sub, result)
    if expire_at:
        answer.expires = True
        answer.ttl = ttl_of(expire_at, now)
    return Reply(id=id_, sub_refresh=answer)


def apply_sub_refresh(sub: Subscription, result: RefreshResult) -> float:
    """Gives the subscription its new expiry and returns it."""
    clock = sub.session.node.clock
    expire_at = cut_expiry(result.expire_at, clock.time())
    set_sub_expiry(sub, expire_at)
    if result.info is not None:
        old = sub.info
        sub.info = ClientInfo(old.user, old.client, old.conn_info, result.info)
    return expire_at


def set_sub_expiry(sub: Subscription, expire_at: float) -> None:
    """The subscription ends at ``expire_at`` (Unix seconds, 0 never) unless refreshed."""
    node = sub.session.node
    sub.expire_at = expire_at
    sub.expire_deadline = 0.0
    if expire_at:
        delay = node.options.expired_sub_close_delay
        sub.expire_deadline = node.clock.monotonic() + (expire_at - node.clock.time()) + delay
