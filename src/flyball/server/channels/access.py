"""What clients do in channels, and who may: the table of operations, bound to a namespace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from flyball.protocol import codes
from flyball.server.channels.decision import Decision, Verdict
from flyball.server.channels.options import ChannelOptions
from flyball.server.channels.proxies import CHANNEL_PROXIES, ProxyKind

__all__ = [
    "HISTORY",
    "MAP_PUBLISH",
    "MAP_REMOVE",
    "NOTHING_ALLOWS",
    "OPERATIONS",
    "PRESENCE",
    "PUBLISH",
    "Access",
    "Operation",
    "proxy_rule",
]

NOTHING_ALLOWS: Final = "nothing allows it"


def proxy_rule(kind: ProxyKind) -> str:
    """The option of a namespace that gives the word to a proxy."""
    return f"{CHANNEL_PROXIES[kind]}_enabled"


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """Something that clients do in channels: one row of the table."""

    options: str
    """How the names of the three options begin that allow it: ``_for_client``,
    ``_for_subscriber`` and, for both, ``_for_anonymous``. A section may lead to them."""
    settle: Callable[[ChannelOptions], Decision | None]
    """What the options of a namespace decide whoever asks; None: the three options decide."""
    before: tuple[str, ...] = ()
    """Options that ``settle`` looks at, to be named in decisions."""


_ASK_PUBLISH: Final = Decision(Verdict.ASK, proxy_rule(ProxyKind.PUBLISH), proxy=ProxyKind.PUBLISH)
_ASK_STREAM: Final = Decision(
    Verdict.ASK,
    "subscribe_stream_proxy_bidirectional",
    looked_at=(_ASK_PUBLISH.rule,),
    proxy=ProxyKind.SUBSCRIBE_STREAM,
)
_STREAM_ONE_WAY: Final = Decision(
    Verdict.REFUSE,
    f"{_ASK_STREAM.rule} is off",
    codes.NOT_AVAILABLE,
    (_ASK_PUBLISH.rule,),
    ("is off",),
)
_NO_PRESENCE: Final = Decision(Verdict.REFUSE, "presence is off", codes.NOT_AVAILABLE)
_NO_HISTORY: Final = Decision(
    Verdict.REFUSE, "history_size and history_ttl are off", codes.NOT_AVAILABLE
)


def _settle_publish(options: ChannelOptions) -> Decision | None:
    if options.publish_proxy_enabled:
        return _ASK_PUBLISH
    if options.subscribe_stream_proxy_enabled:
        return _ASK_STREAM if options.subscribe_stream_proxy_bidirectional else _STREAM_ONE_WAY
    return None


def _settle_presence(options: ChannelOptions) -> Decision | None:
    return None if options.presence else _NO_PRESENCE


def _settle_history(options: ChannelOptions) -> Decision | None:
    return None if options.keeps_history else _NO_HISTORY


def _map_write(options: str, proxy: ProxyKind) -> Operation:
    """A row for writes of keys, which ``proxy`` decides if it is switched on."""
    ask = Decision(Verdict.ASK, proxy_rule(proxy), proxy=proxy)
    asks = attrgetter(ask.rule)
    return Operation(options, lambda namespace: ask if asks(namespace) else None, (ask.rule,))


PUBLISH: Final = Operation(
    "allow_publish",
    _settle_publish,
    (_ASK_PUBLISH.rule, proxy_rule(ProxyKind.SUBSCRIBE_STREAM)),
)
PRESENCE: Final = Operation("allow_presence", _settle_presence)
"""Asking who, or how many, are in a channel."""
HISTORY: Final = Operation("allow_history", _settle_history)
MAP_PUBLISH: Final = _map_write("map.allow_publish", ProxyKind.MAP_PUBLISH)
"""Writing a key of a map channel."""
MAP_REMOVE: Final = _map_write("map.allow_remove", ProxyKind.MAP_REMOVE)
"""Removing a key of a map channel."""

OPERATIONS: Final = (PUBLISH, PRESENCE, HISTORY, MAP_PUBLISH, MAP_REMOVE)


class Access:
    """Who may do one thing in the channels of one namespace.

    All decisions it can come to are made beforehand: asking builds nothing.

    Args:
        operation: the thing.
        options: of the namespace.
    """

    __slots__ = (
        "_by_client",
        "_by_insecure",
        "_by_subscriber",
        "_for_anonymous",
        "_for_client",
        "_for_subscriber",
        "_refused_anonymous",
        "_refused_user",
        "_settled",
    )

    def __init__(self, operation: Operation, options: ChannelOptions) -> None:
        section, _, start = operation.options.rpartition(".")
        holder = getattr(options, section) if section else options
        self._for_client: bool = getattr(holder, f"{start}_for_client")
        self._for_subscriber: bool = getattr(holder, f"{start}_for_subscriber")
        self._for_anonymous: bool = getattr(holder, f"{start}_for_anonymous")
        self._settled = operation.settle(options)
        client, subscriber = (
            f"{operation.options}_for_client",
            f"{operation.options}_for_subscriber",
        )
        before = operation.before
        allow = Verdict.ALLOW
        self._by_client = Decision(allow, client, looked_at=before)
        self._by_subscriber = Decision(allow, subscriber, looked_at=(*before, client))
        self._by_insecure = Decision(allow, "insecure", looked_at=(*before, client, subscriber))
        self._refused_user = self._refusal(operation, anonymous=False)
        self._refused_anonymous = self._refusal(operation, anonymous=True)

    def _refusal(self, operation: Operation, *, anonymous: bool) -> Decision:
        """Nothing allows it; says what is missing for each rule."""
        name = operation.options
        not_anonymous = f"is not for anonymous users, {name}_for_anonymous is off"
        subscriber = "is off"
        if self._for_subscriber:
            excluded = anonymous and not self._for_anonymous
            subscriber = not_anonymous if excluded else "is for subscribers only"
        return Decision(
            Verdict.REFUSE,
            NOTHING_ALLOWS,
            codes.PERMISSION_DENIED,
            (*operation.before, f"{name}_for_client", f"{name}_for_subscriber", "insecure"),
            (
                *("is off" for _ in operation.before),
                not_anonymous if self._for_client else "is off",
                subscriber,
                "is off",
            ),
        )

    def decide(self, user: str, *, subscribed: bool, insecure: bool) -> Decision:
        """Whether ``user`` (empty: anonymous) may. ``subscribed``: is a subscriber right now."""
        if self._settled is not None:
            return self._settled
        if user or self._for_anonymous:
            if self._for_client:
                return self._by_client
            if subscribed and self._for_subscriber:
                return self._by_subscriber
        if insecure:
            return self._by_insecure
        return self._refused_user if user else self._refused_anonymous

    def of_subscriber(self, user: str, *, insecure: bool) -> bool:
        """Whether ``user``, once subscribed, may by the three options, were nothing settled."""
        open_ = self._for_client or self._for_subscriber
        return insecure or (open_ and bool(user or self._for_anonymous))
