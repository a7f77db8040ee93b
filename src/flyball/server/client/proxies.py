"""Where backends may decide in place of the server's own rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flyball.core.events import (
    Connecting,
    Publishing,
    Refreshing,
    RefreshResult,
    Rpc,
    SubRefreshing,
    Subscribing,
)
from flyball.core.types import Credentials, PublishOptions, PublishResult, SubscribeOptions
from flyball.server.channels import ChannelRules, Namespace, ProxyKind
from flyball.server.channels.options import RpcOptions

__all__ = ["ClientProxies"]

ConnectCall: TypeAlias = Callable[[Connecting, ChannelRules], Awaitable[Credentials | None]]
RefreshCall: TypeAlias = Callable[[Refreshing], Awaitable[RefreshResult]]
SubscribeCall: TypeAlias = Callable[[Subscribing, Namespace], Awaitable[SubscribeOptions]]
SubRefreshCall: TypeAlias = Callable[[SubRefreshing, Namespace], Awaitable[RefreshResult]]
PublishAnswer: TypeAlias = PublishOptions | PublishResult
PublishCall: TypeAlias = Callable[[Publishing, Namespace], Awaitable[PublishAnswer]]
RpcCall: TypeAlias = Callable[[Rpc, RpcOptions], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class ClientProxies:
    """Calls to backends; one that is not given has no backend.

    A call raises ``Error`` or ``Disconnect`` where the backend refuses or cannot be reached.
    Where a decision asks a kind that has no call here, the client gets 108.
    """

    connect: ConnectCall | None = None
    """Asked if the client has no token. None as answer: no credentials, go on without."""
    refresh: RefreshCall | None = None
    """If given the server refreshes connections itself, clients do not."""
    subscribe: Mapping[ProxyKind, SubscribeCall] = field(default_factory=dict)
    """For :attr:`ProxyKind.SUBSCRIBE` and :attr:`ProxyKind.SUBSCRIBE_STREAM`."""
    sub_refresh: SubRefreshCall | None = None
    """Asked when a subscription expires whose namespace says so."""
    publish: Mapping[ProxyKind, PublishCall] = field(default_factory=dict)
    """For :attr:`ProxyKind.PUBLISH`, and :attr:`ProxyKind.SUBSCRIBE_STREAM`: into the stream."""
    rpc: RpcCall | None = None
    """Asked for the answer to an RPC call."""
