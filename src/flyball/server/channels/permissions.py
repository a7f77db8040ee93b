"""Who may do what in a channel: pure functions, one for each operation.

Each looks at its rules in a fixed order; the first that applies decides. The decisions of
operations that run often are made once, when this module is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.protocol import codes
from flyball.server.channels.decision import Decision
from flyball.server.channels.options import SHARED_POLL, SUBSCRIPTION_TYPES

if TYPE_CHECKING:
    from flyball.core.types import Raw
    from flyball.server.channels.options import ChannelOptions
    from flyball.server.channels.rules import ChannelRules, ResolvedChannel

__all__ = [
    "decide_history",
    "decide_map_write",
    "decide_presence",
    "decide_publish",
    "decide_subscribe",
    "decide_wish",
    "may_read_history",
    "may_read_presence",
]

_SHARED_POLL: Final = SUBSCRIPTION_TYPES[SHARED_POLL]

_UNKNOWN_NAMESPACE: Final = Decision(False, "unknown namespace", codes.UNKNOWN_CHANNEL)
_BAD_NAME: Final = Decision(
    False, "channel name not allowed", codes.BAD_REQUEST, ("namespace",), ("is known",)
)
_BAD_DATA: Final = Decision(False, "publication_data_format", codes.BAD_REQUEST)
_NO_PRESENCE: Final = Decision(False, "presence is off", codes.NOT_AVAILABLE)
_NO_HISTORY: Final = Decision(False, "history_size and history_ttl are off", codes.NOT_AVAILABLE)
_NOTHING: Final = "nothing allows it"


class _Access:
    """The three rules that publish, presence, history and map writes share."""

    __slots__ = ("by_client", "by_insecure", "by_subscriber", "looked_at", "names")

    def __init__(self, prefix: str, before: tuple[str, ...] = ()) -> None:
        client, subscriber = f"{prefix}_for_client", f"{prefix}_for_subscriber"
        self.names = (client, subscriber, f"{prefix}_for_anonymous")
        self.by_client = Decision(True, client, looked_at=before)
        self.by_subscriber = Decision(True, subscriber, looked_at=(*before, client))
        self.looked_at = (*before, client, subscriber)
        self.by_insecure = Decision(True, "insecure", looked_at=self.looked_at)

    def refusal(self, *, client: bool, subscriber: bool, anonymous: bool, user: str) -> Decision:
        """Nothing allows it; says what is missing for each rule."""
        not_anonymous = f"is not for anonymous users, {self.names[2]} is off"
        refused = not user and not anonymous
        why = ["is off"] * (len(self.looked_at) - 2)
        why.append("is off" if not client else not_anonymous)
        if not subscriber:
            why.append("is off")
        else:
            why.append(not_anonymous if refused else "is for subscribers only")
        return Decision(
            False,
            _NOTHING,
            codes.PERMISSION_DENIED,
            (*self.looked_at, "insecure"),
            (*why, "is off"),
        )


_PUBLISH: Final = _Access(
    "allow_publish", ("publish_proxy_enabled", "subscribe_stream_proxy_enabled")
)
_PRESENCE: Final = _Access("allow_presence")
_HISTORY: Final = _Access("allow_history")
_MAP_PUBLISH: Final = _Access("map.allow_publish", ("map.publish_proxy_enabled",))
_MAP_REMOVE: Final = _Access("map.allow_remove", ("map.remove_proxy_enabled",))

_ASK_PUBLISH_PROXY: Final = Decision(False, "publish_proxy_enabled", asks=True)
_ASK_STREAM_PUBLISH: Final = Decision(
    False, "subscribe_stream_proxy_bidirectional", looked_at=("publish_proxy_enabled",), asks=True
)
_STREAM_ONE_WAY: Final = Decision(
    False,
    "subscribe_stream_proxy_bidirectional is off",
    codes.NOT_AVAILABLE,
    ("publish_proxy_enabled",),
    ("is off",),
)
_ASK_MAP_PUBLISH_PROXY: Final = Decision(False, "map.publish_proxy_enabled", asks=True)
_ASK_MAP_REMOVE_PROXY: Final = Decision(False, "map.remove_proxy_enabled", asks=True)


def decide_publish(
    channel: ResolvedChannel, data: Raw | bytes, *, user: str, subscribed: bool, insecure: bool
) -> Decision:
    """Whether a client may publish ``data``. ``subscribed``: is a subscriber right now."""
    namespace = channel.namespace
    if namespace is None:
        return _UNKNOWN_NAMESPACE
    if not channel.valid:
        return _BAD_NAME
    if not namespace.data_ok(data):
        return _BAD_DATA
    options = namespace.options
    if options.publish_proxy_enabled:
        return _ASK_PUBLISH_PROXY
    if options.subscribe_stream_proxy_enabled:
        if options.subscribe_stream_proxy_bidirectional:
            return _ASK_STREAM_PUBLISH
        return _STREAM_ONE_WAY
    if user or options.allow_publish_for_anonymous:
        if options.allow_publish_for_client:
            return _PUBLISH.by_client
        if subscribed and options.allow_publish_for_subscriber:
            return _PUBLISH.by_subscriber
    if insecure:
        return _PUBLISH.by_insecure
    return _PUBLISH.refusal(
        client=options.allow_publish_for_client,
        subscriber=options.allow_publish_for_subscriber,
        anonymous=options.allow_publish_for_anonymous,
        user=user,
    )


def _read_presence(
    options: ChannelOptions, user: str, *, subscribed: bool, insecure: bool
) -> Decision:
    if user or options.allow_presence_for_anonymous:
        if options.allow_presence_for_client:
            return _PRESENCE.by_client
        if subscribed and options.allow_presence_for_subscriber:
            return _PRESENCE.by_subscriber
    if insecure:
        return _PRESENCE.by_insecure
    return _PRESENCE.refusal(
        client=options.allow_presence_for_client,
        subscriber=options.allow_presence_for_subscriber,
        anonymous=options.allow_presence_for_anonymous,
        user=user,
    )


def _read_history(
    options: ChannelOptions, user: str, *, subscribed: bool, insecure: bool
) -> Decision:
    if user or options.allow_history_for_anonymous:
        if options.allow_history_for_client:
            return _HISTORY.by_client
        if subscribed and options.allow_history_for_subscriber:
            return _HISTORY.by_subscriber
    if insecure:
        return _HISTORY.by_insecure
    return _HISTORY.refusal(
        client=options.allow_history_for_client,
        subscriber=options.allow_history_for_subscriber,
        anonymous=options.allow_history_for_anonymous,
        user=user,
    )


def decide_presence(
    channel: ResolvedChannel, *, user: str, subscribed: bool, insecure: bool
) -> Decision:
    """Whether a client may ask who, or how many, are in the channel."""
    namespace = channel.namespace
    if namespace is None:
        return _UNKNOWN_NAMESPACE
    if not channel.valid:
        return _BAD_NAME
    if not namespace.options.presence:
        return _NO_PRESENCE
    return _read_presence(namespace.options, user, subscribed=subscribed, insecure=insecure)


def decide_history(
    channel: ResolvedChannel, *, user: str, subscribed: bool, insecure: bool
) -> Decision:
    """Whether a client may read the channel's history."""
    namespace = channel.namespace
    if namespace is None:
        return _UNKNOWN_NAMESPACE
    if not channel.valid:
        return _BAD_NAME
    if not namespace.keeps_history:
        return _NO_HISTORY
    return _read_history(namespace.options, user, subscribed=subscribed, insecure=insecure)


def may_read_history(options: ChannelOptions, user: str, *, insecure: bool) -> bool:
    """Whether a subscriber may read history; then it may ask for positions and recovery."""
    open_ = options.allow_history_for_client or options.allow_history_for_subscriber
    return insecure or (open_ and bool(user or options.allow_history_for_anonymous))


def may_read_presence(options: ChannelOptions, user: str, *, insecure: bool) -> bool:
    """Whether a subscriber may read presence; then it may ask for join and leave."""
    open_ = options.allow_presence_for_client or options.allow_presence_for_subscriber
    return insecure or (open_ and bool(user or options.allow_presence_for_anonymous))


def decide_map_write(
    channel: ResolvedChannel,
    *,
    removed: bool,
    user: str,
    subscribed: bool,
    insecure: bool,
) -> Decision:
    """Whether a client may write (or remove, if ``removed``) a key of a map channel."""
    namespace = channel.namespace
    if namespace is None:
        return _UNKNOWN_NAMESPACE
    if not channel.valid:
        return _BAD_NAME
    options = namespace.options.map
    if removed:
        access, asks, ask = _MAP_REMOVE, options.remove_proxy_enabled, _ASK_MAP_REMOVE_PROXY
        client, subscriber = options.allow_remove_for_client, options.allow_remove_for_subscriber
        anonymous = options.allow_remove_for_anonymous
    else:
        access, asks, ask = _MAP_PUBLISH, options.publish_proxy_enabled, _ASK_MAP_PUBLISH_PROXY
        client, subscriber = options.allow_publish_for_client, options.allow_publish_for_subscriber
        anonymous = options.allow_publish_for_anonymous
    if asks:
        return ask
    if user or anonymous:
        if client:
            return access.by_client
        if subscribed and subscriber:
            return access.by_subscriber
    if insecure:
        return access.by_insecure
    return access.refusal(client=client, subscriber=subscriber, anonymous=anonymous, user=user)


# -- subscribe

_TYPE_OFF: Final = Decision(False, "subscription_type is not shared_poll", codes.NOT_AVAILABLE)
_TYPE_POLL: Final = Decision(False, "subscription_type is shared_poll", codes.BAD_REQUEST)
_NAME_RULES: Final = ("channel name",)
_TYPE_DIFFERS: Final = Decision(
    False, "subscription_type differs", codes.PERMISSION_DENIED, _NAME_RULES, ("is fine",)
)
_PRIVATE: Final = Decision(
    False,
    "a private channel needs a token",
    codes.PERMISSION_DENIED,
    ("channel name", "subscription_type"),
    ("is fine", "matches"),
)
_ASK_TOKEN: Final = Decision(False, "token", asks=True)
BY_TOKEN: Final = Decision(True, "token")
"""The token was verified and names channel and user."""
_BY_USER_LIMIT: Final = Decision(True, "user_limited", looked_at=("token",))
_SUBSCRIBE_RULES: Final = (
    "token",
    "user_limited",
    "subscribe_proxy_enabled",
    "subscribe_stream_proxy_enabled",
    "allow_subscribe_for_client",
    "insecure",
)
_ASK_PROXY: Final = Decision(
    False, "subscribe_proxy_enabled", looked_at=_SUBSCRIBE_RULES[:2], asks=True
)
_ASK_STREAM_PROXY: Final = Decision(
    False, "subscribe_stream_proxy_enabled", looked_at=_SUBSCRIBE_RULES[:3], asks=True
)
_SUBSCRIBE_BY_CLIENT: Final = Decision(
    True, "allow_subscribe_for_client", looked_at=_SUBSCRIBE_RULES[:4]
)
_SUBSCRIBE_BY_INSECURE: Final = Decision(True, "insecure", looked_at=_SUBSCRIBE_RULES[:5])


def decide_subscribe(
    rules: ChannelRules,
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
    if limited and rules.user_listed(channel.name, user):
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
    return Decision(False, _NOTHING, codes.PERMISSION_DENIED, _SUBSCRIBE_RULES, why)


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
                False,
                f"the token is for another {name}, {found!r}",
                codes.DISCONNECT_INVALID_TOKEN,
                ("token",),
                ("is valid",),
            )
    return BY_TOKEN


# -- server-side subscriptions wished in the connect command

_WISH_UNKNOWN: Final = Decision(False, "unknown namespace", codes.DISCONNECT_BAD_REQUEST)
_WISH_PROXIED: Final = Decision(False, "a proxy decides subscribes", codes.PERMISSION_DENIED)


def decide_wish(rules: ChannelRules, channel: ResolvedChannel, *, user: str) -> Decision:
    """Whether a server-side subscription is made because the client wished it at connect.

    As in a subscribe without a token, except that proxies are not asked, ``insecure`` does
    not count, and an unknown namespace ends the connection. Other refusals mean: skip it.
    """
    if channel.namespace is None:
        return _WISH_UNKNOWN
    decision = decide_subscribe(rules, channel, user=user, insecure=False)
    return _WISH_PROXIED if decision.asks else decision
