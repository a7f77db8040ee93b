"""Who may connect, as whom, and with which server-side subscriptions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flyball.aio.eager import eager
from flyball.core.errors import Disconnect, Error
from flyball.core.types import Credentials, SubscriptionSource
from flyball.protocol import codes
from flyball.protocol.codes import DisconnectCode
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.channels import Verdict, decide_wish
from flyball.server.client.refusals import debugging, log_decision, log_refusal, refusal

if TYPE_CHECKING:
    from flyball.core.connection import Connection
    from flyball.core.events import Connecting
    from flyball.core.types import SubscribeOptions
    from flyball.server.auth.claims import ConnectToken
    from flyball.server.channels import ChannelRules
    from flyball.server.client.state import PolicyState

__all__ = ["ConnectHandlers"]

Subs = dict[str, "SubscribeOptions"]


class ConnectHandlers:
    """The handler of connects."""

    def __init__(self, state: PolicyState) -> None:
        self._state = state

    @eager
    async def on_connecting(self, event: Connecting) -> Credentials:
        """Token, connect proxy, anonymous, header: the first that applies says who it is.

        Raises:
            Error: 109 the token expired, 102 it names a channel of an unknown namespace.
            Disconnect: 3500 bad token, 3507 anonymous token, 3501 no credentials or a wish
                for a channel of an unknown namespace.
        """
        state = self._state
        options, proxies = state.options, state.proxies
        server_refreshes = proxies.refresh is not None
        if event.token:
            return await self._by_token(event, client_side_refresh=not server_refreshes)
        if proxies.connect is not None:
            given = await proxies.connect(event, state.rules)
            if given is not None:
                return self._by_proxy(event, given, client_side_refresh=not server_refreshes)
        if options.allow_anonymous_connect_without_token or options.insecure:
            subs: Subs = {}
            self._add_wishes(event, "", subs)
            return Credentials(subs=subs)
        header = options.user_id_http_header
        user = event.headers.get(header.lower(), "") if header else ""
        if user:
            return Credentials(user=user, client_side_refresh=not server_refreshes)
        detail = (
            "connect is refused: no token, and client.allow_anonymous_connect_without_token is off"
        )
        if header:
            detail += f", and there is no header {header}"
        raise log_refusal(event.connection, Disconnect(codes.DISCONNECT_BAD_REQUEST, detail=detail))

    async def _by_token(self, event: Connecting, *, client_side_refresh: bool) -> Credentials:
        state, connection = self._state, event.connection
        options, rules = state.options, state.rules
        try:
            token = await state.tokens.verify_connect_token(event.token)
        except TokenExpired:
            detail = "connect is refused: the token expired"
            raise log_refusal(connection, Error(codes.TOKEN_EXPIRED, detail=detail)) from None
        except InvalidToken as error:
            detail = f"connect is refused: invalid token: {error}"
            raise log_refusal(
                connection, Disconnect(codes.DISCONNECT_INVALID_TOKEN, detail=detail)
            ) from None
        if not token.user and options.disallow_anonymous_connection_tokens:
            detail = (
                "connect is refused: the token names no user, and "
                "client.disallow_anonymous_connection_tokens is on"
            )
            raise log_refusal(
                connection, Disconnect(codes.DISCONNECT_PERMISSION_DENIED, detail=detail)
            )
        subs = self._token_subs(connection, rules, token)
        self._add_personal(connection, token.user, subs)
        self._add_wishes(event, token.user, subs)
        return Credentials(
            user=token.user,
            info=token.info,
            meta=token.meta,
            subs=subs,
            expire_at=0.0 if options.insecure else token.expire_at,
            client_side_refresh=client_side_refresh,
            single_connection=self._single(token.user),
        )

    def _by_proxy(
        self, event: Connecting, given: Credentials, *, client_side_refresh: bool
    ) -> Credentials:
        rules, connection = self._state.rules, event.connection
        if isinstance(given.subs, dict):
            by_rule = SubscriptionSource.RULE
            subs = {name: replace(sub, source=by_rule) for name, sub in given.subs.items()}
        else:
            subs = {name: _plain_options(connection, rules, name) for name in given.subs}
        self._add_personal(connection, given.user, subs)
        return replace(
            given,
            subs=subs,
            expire_at=0.0 if self._state.options.insecure else given.expire_at,
            client_side_refresh=client_side_refresh,
            single_connection=given.single_connection or self._single(given.user),
        )

    def _token_subs(self, connection: Connection, rules: ChannelRules, token: ConnectToken) -> Subs:
        subs: Subs = {}
        for channel, claims in token.subs.items():
            if not channel:  # nothing is subscribed by it, but a refresh will miss it
                continue
            namespace = rules.namespace(channel)
            if namespace is None:
                raise _unknown(connection, channel)
            subs[channel] = namespace.shaped_options(
                claims.overrides, info=claims.info, data=claims.data
            )
        return subs

    def _single(self, user: str) -> bool:
        personal = self._state.options.personal_channel
        return bool(user) and personal.enabled and personal.single_connection

    def _add_personal(self, connection: Connection, user: str, subs: Subs) -> None:
        personal = self._state.options.personal_channel
        if not personal.enabled or not user:
            return
        rules = self._state.rules
        channel = rules.personal_channel(user, personal.namespace)
        subs[channel] = _plain_options(connection, rules, channel)

    def _add_wishes(self, event: Connecting, user: str, subs: Subs) -> None:
        """Server-side subscriptions that the client wished and may have."""
        rules, connection = self._state.rules, event.connection
        for name in event.subs:
            if name in subs or not name:
                continue
            channel = rules.resolve(name)
            decision = decide_wish(channel, user=user, insecure=self._state.options.insecure)
            if decision.verdict is Verdict.ALLOW:
                assert channel.namespace is not None
                subs[name] = channel.namespace.subscribe_options(source=SubscriptionSource.CLIENT)
            elif isinstance(decision.code, DisconnectCode):
                raise refusal(connection, decision, f"wished subscription to {name!r}")
            elif debugging():
                log_decision(
                    connection, decision, f"wished subscription to {name!r}, skipped, as it"
                )


def _plain_options(connection: Connection, rules: ChannelRules, channel: str) -> SubscribeOptions:
    namespace = rules.namespace(channel)
    if namespace is None:
        raise _unknown(connection, channel)
    # No refresh asks for it: only a token's channels are compared.
    return namespace.subscribe_options(source=SubscriptionSource.RULE)


def _unknown(connection: Connection, channel: str) -> Error | Disconnect:
    detail = f"connect is refused: server-side subscription to {channel!r}: unknown namespace"
    return log_refusal(connection, Error(codes.UNKNOWN_CHANNEL, detail=detail))
