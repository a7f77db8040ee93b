"""Whether connections and subscriptions live on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.aio.eager import eager
from flyball.core.errors import Disconnect, Error
from flyball.core.events import RefreshResult
from flyball.protocol import codes
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.client.refusals import log_refusal
from flyball.server.client.subscribe import check_subscription_token

if TYPE_CHECKING:
    from flyball.core.connection import Connection
    from flyball.core.events import Refreshing, SubRefreshing
    from flyball.server.client.state import PolicyState

__all__ = ["RefreshHandlers"]


class RefreshHandlers:
    """The handlers of refresh and sub_refresh."""

    def __init__(self, state: PolicyState) -> None:
        self._state = state

    @eager
    async def on_refresh(self, event: Refreshing) -> RefreshResult:
        """The connection's new expiry.

        Raises:
            Error: 102 the token names a channel in an unknown namespace.
            Disconnect: 3500 bad token or another user's.
        """
        state, connection = self._state, event.connection
        if state.proxies.refresh is not None:
            return await state.proxies.refresh(event)
        if not event.token:
            return RefreshResult(expired=True)
        try:
            token = await state.tokens.verify_connect_token(event.token)
        except TokenExpired:
            return RefreshResult(expired=True)
        except InvalidToken as error:
            raise _invalid(connection, f"refresh is refused: invalid token: {error}") from None
        for channel in token.subs:
            if state.rules.namespace(channel) is None:
                detail = f"refresh is refused: the token names {channel!r}: unknown namespace"
                raise log_refusal(connection, Error(codes.UNKNOWN_CHANNEL, detail=detail))
        if token.user != connection.user:
            raise _invalid(connection, f"refresh is refused: the token is for user {token.user!r}")
        return RefreshResult(
            expire_at=token.expire_at,
            info=token.info or None,
            subs=frozenset(token.subs),
            meta=token.meta,
        )

    @eager
    async def on_sub_refresh(self, event: SubRefreshing) -> RefreshResult:
        """The subscription's new expiry.

        An expired token changes nothing: the subscription keeps its deadline.

        Raises:
            Error: 102 unknown namespace, of the token too; 107 no token, 109 the token expired.
            Disconnect: 3500 bad token, or one for another channel, user or client.
        """
        state, connection, channel = self._state, event.connection, event.channel
        action = f"refresh of the subscription to {channel!r}"
        if not event.token:
            return await self._without_token(event, action)
        try:
            token = await check_subscription_token(state, connection, channel, event.token, action)
        except TokenExpired:
            detail = f"{action} is refused: the token expired"
            raise log_refusal(connection, Error(codes.TOKEN_EXPIRED, detail=detail)) from None
        except InvalidToken as error:
            raise _invalid(connection, f"{action} is refused: invalid token: {error}") from None
        return RefreshResult(expire_at=token.expire_at, info=token.info or None)

    async def _without_token(self, event: SubRefreshing, action: str) -> RefreshResult:
        """A proxy decides; where there is none the subscription is over."""
        state, connection = self._state, event.connection
        namespace = state.rules.namespace(event.channel)
        if namespace is None:
            detail = f"{action} is refused: unknown namespace"
            raise log_refusal(connection, Error(codes.UNKNOWN_CHANNEL, detail=detail))
        ask = state.proxies.sub_refresh
        if namespace.options.sub_refresh_proxy_enabled and ask is not None:
            return await ask(event, namespace)
        sub = connection.subscription(event.channel)
        if sub is not None and not sub.options.client_side_refresh:
            return RefreshResult(expired=True)
        detail = f"{action} is refused: no token"
        raise log_refusal(connection, Error(codes.BAD_REQUEST, detail=detail))


def _invalid(connection: Connection, detail: str) -> Error | Disconnect:
    return log_refusal(connection, Disconnect(codes.DISCONNECT_INVALID_TOKEN, detail=detail))
