"""Fields of options as keywords: typed for checkers, spelled out in ``help()``.

``publish(channel, data, history_size=10)`` means ``PublishOptions(history_size=10)``. A dictionary
of keywords costs nothing where none are given, which a long list of parameters would.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable
from typing import Any, TypedDict, TypeVar

from msgspec import Raw

from flyball.core.types import ClientInfo, RecoveryMode, SubscriptionSource

__all__ = ["ConnectionsKeywords", "PublishKeywords", "SubscribeKeywords", "spell_out"]

F = TypeVar("F", bound="Callable[..., Any]")


class PublishKeywords(TypedDict, total=False):
    """The fields of :class:`~flyball.core.types.PublishOptions`."""

    history_size: int
    history_ttl: float
    history_meta_ttl: float
    skip_history: bool
    info: ClientInfo | None
    tags: dict[str, str] | None
    idempotency_key: str
    idempotency_ttl: float
    delta: bool
    version: int
    version_epoch: str


class SubscribeKeywords(TypedDict, total=False):
    """The fields of :class:`~flyball.core.types.SubscribeOptions`."""

    presence: bool
    join_leave: bool
    push_join_leave: bool
    allow_join_leave: bool
    positioned: bool
    allow_positioning: bool
    recoverable: bool
    allow_recovery: bool
    recovery_mode: RecoveryMode
    auto_cache_recover: bool
    history_meta_ttl: float
    allowed_deltas: frozenset[str]
    allow_tags_filter: bool
    expire_at: float
    client_side_refresh: bool
    info: Raw
    data: Raw
    source: SubscriptionSource | None
    feed: AsyncIterable[Any] | None


class ConnectionsKeywords(TypedDict, total=False):
    """The fields of :class:`~flyball.core.census.ConnectionsQuery`."""

    user: str | None
    client: str
    transport: str
    name: str
    channel: str
    min_age: float
    limit: int
    cursor: str


def spell_out(options: type) -> Callable[[F], F]:
    """Shows the fields of ``options`` as the keywords that a function takes by ``**``."""
    fields = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(options).parameters.values()
    ]

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        # What a function takes under a name of its own is no keyword of the options.
        taken = {p.name for p in own}
        every = [*own, *(field for field in fields if field.name not in taken)]
        function.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
        return function

    return decorate
