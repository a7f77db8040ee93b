"""Who may subscribe, and how the subscription behaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.aio.eager import eager
from flyball.core.errors import Error
from flyball.protocol import codes
from flyball.server.auth.verifier import InvalidToken, TokenExpired
from flyball.server.channels import decide_subscribe, decide_token
from flyball.server.channels.options import SUBSCRIPTION_TYPES
from flyball.server.channels.permissions import (
    BY_TOKEN,
    may_read_history,
    may_read_presence,
)
from flyball.server.client.state import allowed, debugging, refusal, refused

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from flyball.core.events import Subscribing
    from flyball.core.session import Session
    from flyball.core.types import SubscribeOptions
    from flyball.server.auth.verifier import SubscribeToken, TokenVerifier
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
        state, session = self._state, event.session
        channel = state.rules.resolve(event.channel)
        decision = decide_subscribe(
            state.rules,
            channel,
            user=session.user,
            has_token=bool(event.token),
            kind=event.type,
            insecure=state.options.insecure,
        )
        if not decision.allowed and not decision.asks:
            raise refusal(session, decision, f"subscribe to {event.channel!r}")
        namespace = channel.namespace
        assert namespace is not None
        if event.type in _LATER:
            detail = (
                f"subscribe to {event.channel!r} is refused: subscription_type "
                f"{namespace.options.subscription_type!r} comes later"
            )
            raise refused(session, Error(codes.NOT_AVAILABLE, detail=detail))
        if decision.asks:
            if decision.rule == BY_TOKEN.rule:
                return self._by_token(event, namespace)
            return self._by_proxy(event, namespace, decision)
        if debugging():
            allowed(session, decision, f"subscribe to {event.channel!r}")
        history_access, presence_access = self._access(session, namespace)
        return namespace.subscribe_options(
            history_access=history_access, presence_access=presence_access
        )

    def _access(self, session: Session, namespace: Namespace) -> tuple[bool, bool]:
        """Whether the client, once subscribed, may read history and presence."""
        options, user, insecure = namespace.options, session.user, self._state.options.insecure
        return (
            may_read_history(options, user, insecure=insecure),
            may_read_presence(options, user, insecure=insecure),
        )

    async def _by_token(self, event: Subscribing, namespace: Namespace) -> SubscribeOptions:
        session, channel = event.session, event.channel
        action = f"subscribe to {channel!r}"
        try:
            token = await check_subscription_token(
                self._state.subscription_tokens, session, channel, event.token, action
            )
        except TokenExpired:
            detail = f"{action} is refused: the token expired"
            raise refused(session, Error(codes.TOKEN_EXPIRED, detail=detail)) from None
        except InvalidToken as error:
            detail = f"{action} is refused: invalid token: {error}"
            raise refused(session, Error(codes.PERMISSION_DENIED, detail=detail)) from None
        if debugging():
            allowed(session, BY_TOKEN, action)
        history_access, presence_access = self._access(session, namespace)
        return namespace.make_subscribe_options(
            token.override,
            history_access=history_access,
            presence_access=presence_access,
            info=token.info,
            data=token.data,
            expire_at=token.expire_at,
        )

    def _by_proxy(
        self, event: Subscribing, namespace: Namespace, decision: Decision
    ) -> Awaitable[SubscribeOptions]:
        proxies = self._state.proxies
        stream = decision.rule == "subscribe_stream_proxy_enabled"
        ask = proxies.subscribe_stream if stream else proxies.subscribe
        if ask is None:
            detail = (
                f"subscribe to {event.channel!r} is refused: {decision.rule} is on, but there "
                "is no such proxy"
            )
            raise refused(event.session, Error(codes.NOT_AVAILABLE, detail=detail))
        return ask(event, namespace)


async def check_subscription_token(
    verifier: TokenVerifier, session: Session, channel: str, token: str, action: str
) -> SubscribeToken:
    """The verified token, if it is for this channel, user and client.

    Raises:
        TokenExpired, InvalidToken: see the verifier.
        Disconnect: 3500, the token is somebody else's.
    """
    verified = await verifier.verify_subscribe_token(token)
    decision = decide_token(
        channel=channel,
        user=session.user,
        client=session.client_id,
        token_channel=verified.channel,
        token_user=verified.user,
        token_client=verified.client,
    )
    if not decision.allowed:
        raise refusal(session, decision, action)
    return verified
