"""Where backends may decide in place of the server's own rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

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
from flyball.server.channels import Namespace
from flyball.server.channels.options import RpcOptions

__all__ = ["ClientProxies"]

PublishAnswer = PublishOptions | PublishResult | None


@dataclass(frozen=True, slots=True)
class ClientProxies:
    """Calls to backends, each None where there is no backend.

    A call raises ``Error`` or ``Disconnect`` where the backend refuses or cannot be reached.
    A namespace that is switched to a call that is None answers 108.
    """

    connect: Callable[[Connecting], Awaitable[Credentials | None]] | None = None
    """Asked if the client has no token. None as answer: no credentials, go on without."""
    refresh: Callable[[Refreshing], Awaitable[RefreshResult]] | None = None
    """If given the server refreshes connections itself, clients do not."""
    subscribe: Callable[[Subscribing, Namespace], Awaitable[SubscribeOptions]] | None = None
    subscribe_stream: Callable[[Subscribing, Namespace], Awaitable[SubscribeOptions]] | None = None
    publish: Callable[[Publishing, Namespace], Awaitable[PublishAnswer]] | None = None
    publish_stream: Callable[[Publishing, Namespace], Awaitable[PublishAnswer]] | None = None
    sub_refresh: Callable[[SubRefreshing, Namespace], Awaitable[RefreshResult]] | None = None
    rpc: Callable[[Rpc, RpcOptions], Awaitable[Any]] | None = None
