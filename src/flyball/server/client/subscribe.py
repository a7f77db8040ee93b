"""Who may subscribe, and how the subscription behaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.aio.eager import eager
from flyball.core.errors import Error
from flyball.protocol import codes
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.channels import BY_TOKEN, Verdict, decide_subscribe, decide_token
from flyball.server.channels.options import SUBSCRIPTION_TYPES
from flyball.server.client.refusals import debugging, log_decision, log_refusal, proxy_call, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from flyball.core.connection import Connection
    from flyball.core.events import Subscribing
    from flyball.core.types import SubscribeOptions
    from flyball.server.auth.claims import SubscribeToken
    from flyball.server.channels import Decision, Namespace
    from flyball.server.client.state import PolicyState

__all__ = ["SubscribeHandlers", "check_subscription_token"]

_LATER = frozenset(SUBSCRIPTION_TYPES.values()) - {0}


class SubscribeHandlers:
    """The handler of subscribes."""

    def __init__(self, state: PolicyState) -> None:
        self._state = state

    @eager
    def on_subscribe(self, event: Subscribing) -> SubscribeOptions | Awaitable[SubscribeOptions]:
        """Options of the subscription; an awaitable only where a token or a proxy decides.

        Raises:
            Error: 102, 103, 107, 108, 109 (see ``decide_subscribe``).
            Disconnect: 3500, the token is for another channel, user or client.
        """
        state, connection = self._state, event.connection
        channel = state.rules.resolve(event.channel)
        decision = decide_subscribe(
            channel,
            user=connection.user,
            has_token=bool(event.token),
            kind=event.type,
            insecure=state.options.insecure,
        )
        if decision.verdict is Verdict.REFUSE:
            raise refusal(connection, decision, f"subscribe to {event.channel!r}")
        namespace = channel.namespace
        assert namespace is not None
        if event.type in _LATER:
            detail = (
                f"subscribe to {event.channel!r} is refused: subscription_type "
                f"{namespace.options.subscription_type!r} comes later"
            )
            raise log_refusal(connection, Error(codes.NOT_AVAILABLE, detail=detail))
        if decision.verdict is Verdict.ASK:
            if decision.proxy is None:
                return self._by_token(event, namespace)
            return self._by_proxy(event, namespace, decision)
        if debugging():
            log_decision(connection, decision, f"subscribe to {event.channel!r}")
        rights = namespace.rights(connection.user, insecure=state.options.insecure)
        return namespace.subscribe_options(rights)

    async def _by_token(self, event: Subscribing, namespace: Namespace) -> SubscribeOptions:
        connection, channel = event.connection, event.channel
        action = f"subscribe to {channel!r}"
        try:
            token = await check_subscription_token(
                self._state, connection, channel, event.token, action
            )
        except TokenExpired:
            detail = f"{action} is refused: the token expired"
            raise log_refusal(connection, Error(codes.TOKEN_EXPIRED, detail=detail)) from None
        except InvalidToken as error:
            detail = f"{action} is refused: invalid token: {error}"
            raise log_refusal(connection, Error(codes.PERMISSION_DENIED, detail=detail)) from None
        if debugging():
            log_decision(connection, BY_TOKEN, action)
        return namespace.shaped_options(
            token.overrides,
            namespace.rights(connection.user, insecure=self._state.options.insecure),
            info=token.info,
            data=token.data,
            expire_at=token.expire_at,
        )

    def _by_proxy(
        self, event: Subscribing, namespace: Namespace, decision: Decision
    ) -> Awaitable[SubscribeOptions]:
        calls, action = self._state.proxies.subscribe, f"subscribe to {event.channel!r}"
        return proxy_call(calls, event.connection, decision, action)(event, namespace)


async def check_subscription_token(
    state: PolicyState, connection: Connection, channel: str, token: str, action: str
) -> SubscribeToken:
    """The verified token, if it is for this channel, user and client.

    Raises:
        TokenExpired, InvalidToken: see the verifier.
        Error: 102, the token is for a channel in an unknown namespace.
        Disconnect: 3500, the token is somebody else's.
    """
    verified = await state.subscription_tokens.verify_subscribe_token(token)
    if state.rules.namespace(verified.channel) is None:
        detail = f"{action} is refused: the token is for {verified.channel!r}: unknown namespace"
        raise log_refusal(connection, Error(codes.UNKNOWN_CHANNEL, detail=detail))
    decision = decide_token(
        channel=channel,
        user=connection.user,
        client=connection.client_id,
        token_channel=verified.channel,
        token_user=verified.user,
        token_client=verified.client,
    )
    if not decision.allowed:
        raise refusal(connection, decision, action)
    return verified
