"""Who may do what in a channel. Rules are looked at in a fixed order; the first that applies decides.

Decisions are made once, when this module or a namespace is loaded: asking builds none, except
for a few refusals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.protocol import codes
from flyball.server.channels.access import NOTHING_ALLOWS, proxy_rule
from flyball.server.channels.decision import Decision, Verdict
from flyball.server.channels.options import SHARED_POLL, SUBSCRIPTION_TYPES
from flyball.server.channels.proxies import ProxyKind

if TYPE_CHECKING:
    from flyball.core.types import Raw
    from flyball.server.channels.access import Operation
    from flyball.server.channels.options import ChannelOptions
    from flyball.server.channels.rules import ResolvedChannel

__all__ = ["BY_TOKEN", "decide", "decide_subscribe", "decide_token", "decide_wish"]

_UNKNOWN_NAMESPACE: Final = Decision(Verdict.REFUSE, "unknown namespace", codes.UNKNOWN_CHANNEL)
_BAD_NAME: Final = Decision(
    Verdict.REFUSE, "channel name not allowed", codes.BAD_REQUEST, ("namespace",), ("is known",)
)
_BAD_DATA: Final = Decision(Verdict.REFUSE, "publication_data_format", codes.BAD_REQUEST)


def decide(
    operation: Operation,
    channel: ResolvedChannel,
    *,
    user: str,
    subscribed: bool,
    insecure: bool,
    data: Raw | bytes | None = None,
) -> Decision:
    """Whether a client may do something in a channel.

    Args:
        operation: what it wants to do.
        channel: where.
        user: who it is, empty if anonymous.
        subscribed: whether it is a subscriber right now.
        insecure: whether ``client.insecure`` is on.
        data: what it wants to publish; None if that is not looked at.
    """
    namespace = channel.namespace
    if namespace is None:
        return _UNKNOWN_NAMESPACE
    if not channel.valid:
        return _BAD_NAME
    if data is not None and not namespace.data_ok(data):
        return _BAD_DATA
    if data is not None and (misfit := namespace.misfit(data)):
        return Decision(Verdict.REFUSE, f"publication_schema ({misfit})", codes.BAD_REQUEST)
    return namespace.access[operation].decide(user, subscribed=subscribed, insecure=insecure)


# -- subscribe

_SHARED_POLL: Final = SUBSCRIPTION_TYPES[SHARED_POLL]
_TYPE_OFF: Final = Decision(
    Verdict.REFUSE, "subscription_type is not shared_poll", codes.NOT_AVAILABLE
)
_TYPE_POLL: Final = Decision(Verdict.REFUSE, "subscription_type is shared_poll", codes.BAD_REQUEST)
_TYPE_DIFFERS: Final = Decision(
    Verdict.REFUSE,
    "subscription_type differs",
    codes.PERMISSION_DENIED,
    ("channel name",),
    ("is fine",),
)
_PRIVATE: Final = Decision(
    Verdict.REFUSE,
    "a private channel needs a token",
    codes.PERMISSION_DENIED,
    ("channel name", "subscription_type"),
    ("is fine", "matches"),
)
_SUBSCRIBE_RULES: Final = (
    "token",
    "user_limited",
    proxy_rule(ProxyKind.SUBSCRIBE),
    proxy_rule(ProxyKind.SUBSCRIBE_STREAM),
    "allow_subscribe_for_client",
    "insecure",
)


def _subscribe_rule(verdict: Verdict, position: int, proxy: ProxyKind | None = None) -> Decision:
    """A decision by one of the rules, after those before it."""
    before = _SUBSCRIBE_RULES[:position]
    return Decision(verdict, _SUBSCRIBE_RULES[position], looked_at=before, proxy=proxy)


_ASK_TOKEN: Final = _subscribe_rule(Verdict.ASK, 0)
BY_TOKEN: Final = _subscribe_rule(Verdict.ALLOW, 0)
"""The token was verified and names channel and user."""
_BY_USER_LIMIT: Final = _subscribe_rule(Verdict.ALLOW, 1)
_ASK_PROXY: Final = _subscribe_rule(Verdict.ASK, 2, ProxyKind.SUBSCRIBE)
_ASK_STREAM_PROXY: Final = _subscribe_rule(Verdict.ASK, 3, ProxyKind.SUBSCRIBE_STREAM)
_SUBSCRIBE_BY_CLIENT: Final = _subscribe_rule(Verdict.ALLOW, 4)
_SUBSCRIBE_BY_INSECURE: Final = _subscribe_rule(Verdict.ALLOW, 5)


def decide_subscribe(
    channel: ResolvedChannel,
    *,
    user: str,
    has_token: bool = False,
    kind: int = 0,
    insecure: bool,
) -> Decision:
    """Whether a client may subscribe. ``kind`` is the ``type`` of its request.

    With a token the answer is that the token decides: verify it, then see
    :func:`decide_token`. Proxies are asked in the same way.
    """
    wrong = _check_request(channel, kind)
    if wrong is not None:
        return wrong
    if has_token:
        return _ASK_TOKEN
    if channel.private:
        return _PRIVATE
    assert channel.namespace is not None
    options, limited = channel.namespace.options, channel.user_limited
    if limited and user in channel.users:
        return _BY_USER_LIMIT
    if not limited:
        if options.subscribe_proxy_enabled:
            return _ASK_PROXY
        if options.subscribe_stream_proxy_enabled:
            return _ASK_STREAM_PROXY
        if options.allow_subscribe_for_client and (user or options.allow_subscribe_for_anonymous):
            return _SUBSCRIBE_BY_CLIENT
    if insecure:
        return _SUBSCRIBE_BY_INSECURE
    return _subscribe_refusal(options, limited=limited)


def _check_request(channel: ResolvedChannel, kind: int) -> Decision | None:
    """What is wrong with a subscribe before anybody's permission counts."""
    namespace = channel.namespace
    poll = namespace is not None and namespace.options.subscription_type == SHARED_POLL
    if (kind == _SHARED_POLL) is not poll:
        return _TYPE_POLL if poll else _TYPE_OFF
    if namespace is None:
        return _UNKNOWN_NAMESPACE
    if not channel.valid:
        return _BAD_NAME
    # A type that does not exist ends the connection later on, whatever is decided here.
    known = 0 <= kind <= _SHARED_POLL
    if known and SUBSCRIPTION_TYPES[namespace.options.subscription_type] != kind:
        return _TYPE_DIFFERS
    return None


def _subscribe_refusal(options: ChannelOptions, *, limited: bool) -> Decision:
    not_limited = "is not for user-limited channels"
    client = "is off"
    if limited:
        client = not_limited
    elif options.allow_subscribe_for_client:
        client = "is not for anonymous users, allow_subscribe_for_anonymous is off"
    why = (
        "is missing",
        "does not list the user" if limited else "does not apply",
        not_limited if limited else "is off",
        not_limited if limited else "is off",
        client,
        "is off",
    )
    return Decision(Verdict.REFUSE, NOTHING_ALLOWS, codes.PERMISSION_DENIED, _SUBSCRIBE_RULES, why)


def decide_token(
    *,
    channel: str,
    user: str,
    client: str,
    token_channel: str,
    token_user: str,
    token_client: str = "",
) -> Decision:
    """Whether a verified subscription token is one for this subscription."""
    for name, expected, found in (
        ("channel", channel, token_channel),
        ("user", user, token_user),
        ("client", client, token_client or client),
    ):
        if expected != found:
            return Decision(
                Verdict.REFUSE,
                f"the token is for another {name}, {found!r}",
                codes.DISCONNECT_INVALID_TOKEN,
                ("token",),
                ("is valid",),
            )
    return BY_TOKEN


# -- server-side subscriptions wished in the connect command

_WISH_UNKNOWN: Final = Decision(Verdict.REFUSE, "unknown namespace", codes.DISCONNECT_BAD_REQUEST)
_WISH_PROXIED: Final = Decision(
    Verdict.REFUSE, "a proxy decides subscribes", codes.PERMISSION_DENIED
)


def decide_wish(channel: ResolvedChannel, *, user: str, insecure: bool) -> Decision:
    """Whether a server-side subscription is made because the client wished it at connect.

    As in a subscribe without a token, except that proxies are not asked, and an unknown namespace ends the connection. Other refusals mean: skip it.
    """
    if channel.namespace is None:
        return _WISH_UNKNOWN
    decision = decide_subscribe(channel, user=user, insecure=insecure)
    return _WISH_PROXIED if decision.asks else decision
