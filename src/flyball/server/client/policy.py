"""The server's policy: handlers on a node that follow the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.server.channels import RpcRules
from flyball.server.client.connect import ConnectHandlers
from flyball.server.client.operations import OperationHandlers
from flyball.server.client.options import ClientPolicyOptions
from flyball.server.client.refresh import RefreshHandlers
from flyball.server.client.state import PolicyState
from flyball.server.client.subscribe import SubscribeHandlers

if TYPE_CHECKING:
    from flyball.core.node import Node
    from flyball.server.auth.verifier import TokenVerifier
    from flyball.server.channels import ChannelRules
    from flyball.server.client.proxies import ClientProxies

__all__ = ["ClientPolicy"]


class ClientPolicy:
    """Decides about connects, subscribes and all that clients do.

    It registers its handlers on ``node``, so the node may have no others of these kinds
    (handlers for channel patterns are asked before it). Messages of clients have no handler:
    they end the connection with 3508.

    Args:
        node: where clients connect.
        rules: namespaces and channel names.
        tokens: verifies connection tokens, and subscription tokens if ``sub_tokens`` is None.
        sub_tokens: verifies subscription tokens.
        options: connection rules.
        proxies: backends that decide; none if not given.

    Raises:
        ConfigError: the node has handlers of these kinds already.
    """

    def __init__(
        self,
        node: Node,
        rules: ChannelRules,
        tokens: TokenVerifier,
        sub_tokens: TokenVerifier | None = None,
        options: ClientPolicyOptions | None = None,
        *,
        proxies: ClientProxies | None = None,
    ) -> None:
        self._state = PolicyState(
            rules, tokens, sub_tokens, options or ClientPolicyOptions(), proxies
        )
        operations, refreshes = OperationHandlers(self._state), RefreshHandlers(self._state)
        node.on_connecting(ConnectHandlers(self._state).on_connecting)
        node.on_subscribe(SubscribeHandlers(self._state).on_subscribe)
        node.on_publish(operations.on_publish)
        node.on_presence(operations.on_presence)
        node.on_history(operations.on_history)
        node.on_rpc(operations.on_rpc)
        node.on_refresh(refreshes.on_refresh)
        node.on_sub_refresh(refreshes.on_sub_refresh)

    @property
    def rules(self) -> ChannelRules:
        """The channel rules in force."""
        return self._state.rules

    @property
    def options(self) -> ClientPolicyOptions:
        """The connection rules in force."""
        return self._state.options

    def reload(
        self,
        *,
        rules: ChannelRules,
        tokens: TokenVerifier,
        sub_tokens: TokenVerifier | None = None,
        options: ClientPolicyOptions | None = None,
    ) -> None:
        """Puts other rules in force, for all decisions from now on.

        Subscriptions that exist keep the options they were made with. ``options`` None keeps
        the connection rules; proxies stay as they are.
        """
        state = self._state
        state.rules = rules
        state.tokens = tokens
        state.sub_tokens = sub_tokens
        if options is not None:
            state.options = options
            state.rpc = RpcRules(options.rpc)
