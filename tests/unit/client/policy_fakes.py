"""Tokens whose text says what is in them, and connections without a session."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from msgspec import Raw

from flyball.core.types import SubscribeOptions
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.channels import ChannelRules, ChannelRulesOptions, Overrides
from flyball.server.channels.options import ChannelOptions
from flyball.server.client.connect import ConnectHandlers
from flyball.server.client.operations import OperationHandlers
from flyball.server.client.options import ClientPolicyOptions
from flyball.server.client.refresh import RefreshHandlers
from flyball.server.client.state import PolicyState
from flyball.server.client.subscribe import SubscribeHandlers


@dataclass(frozen=True, slots=True)
class Claims:
    info: Raw = field(default_factory=Raw)
    data: Raw = field(default_factory=Raw)
    overrides: Overrides = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConnectToken:
    user: str = ""
    expire_at: float = 0.0
    info: Raw = field(default_factory=Raw)
    meta: Any = None
    subs: dict[str, Claims] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubscribeToken:
    user: str = ""
    channel: str = ""
    client: str = ""
    expire_at: float = 0.0
    info: Raw = field(default_factory=Raw)
    data: Raw = field(default_factory=Raw)
    overrides: Overrides = field(default_factory=dict)


class FakeTokens:
    """Knows tokens by name; ``expired`` is expired, all others are invalid."""

    def __init__(self, **tokens: ConnectToken | SubscribeToken) -> None:
        self.tokens = tokens

    def _find(self, token: str, kind: type) -> Any:
        if token == "expired":
            raise TokenExpired
        found = self.tokens.get(token)
        if not isinstance(found, kind):
            raise InvalidToken(f"no such token: {token}")
        return found

    async def verify_connect_token(self, token: str) -> Any:
        return self._find(token, ConnectToken)

    async def verify_subscribe_token(self, token: str) -> Any:
        return self._find(token, SubscribeToken)


class FakeConnection:
    """What the policy looks at; ``subscribed`` gives the options of each subscription."""

    transport = "fake"
    client_id = "c1"

    def __init__(self, user: str = "", *channels: str) -> None:
        self.user = user
        self.storage: dict[str, Any] = {}
        self.subscribed = {channel: SubscribeOptions() for channel in channels}

    def is_subscribed(self, channel: str) -> bool:
        return channel in self.subscribed

    def subscription(self, channel: str) -> Any:
        options = self.subscribed.get(channel)
        return None if options is None else SimpleNamespace(options=options)


def make_rules(**namespaces: ChannelOptions) -> ChannelRules:
    without = namespaces.pop("without", ChannelOptions())
    return ChannelRules(ChannelRulesOptions(without_namespace=without, namespaces=namespaces))


class Handlers:
    """All handlers in one, for tests without a node."""

    def __init__(self, state: PolicyState) -> None:
        self.state = state
        operations, refreshes = OperationHandlers(state), RefreshHandlers(state)
        self.on_connecting = ConnectHandlers(state).on_connecting
        self.on_subscribe = SubscribeHandlers(state).on_subscribe
        self.on_publish = operations.on_publish
        self.on_presence = operations.on_presence
        self.on_history = operations.on_history
        self.on_rpc = operations.on_rpc
        self.on_refresh = refreshes.on_refresh
        self.on_sub_refresh = refreshes.on_sub_refresh


def make_handlers(
    rules: ChannelRules | None = None,
    tokens: FakeTokens | None = None,
    sub_tokens: FakeTokens | None = None,
    proxies: Any = None,
    **options: Any,
) -> Handlers:
    state = PolicyState(
        rules or make_rules(),
        tokens or FakeTokens(),
        sub_tokens,
        ClientPolicyOptions(**options),
        proxies,
    )
    return Handlers(state)
