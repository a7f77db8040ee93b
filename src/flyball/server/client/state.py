"""What all handlers of the policy look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.server.channels import RpcRules
from flyball.server.client.proxies import ClientProxies

if TYPE_CHECKING:
    from flyball.server.auth.verifier import TokenVerifier
    from flyball.server.channels import ChannelRules
    from flyball.server.client.options import ClientPolicyOptions

__all__ = ["PolicyState"]


class PolicyState:
    """Rules in force. A reload replaces them while handlers run; each handler reads them once."""

    __slots__ = ("options", "proxies", "rpc", "rules", "sub_tokens", "tokens")

    def __init__(
        self,
        rules: ChannelRules,
        tokens: TokenVerifier,
        sub_tokens: TokenVerifier | None,
        options: ClientPolicyOptions,
        proxies: ClientProxies | None,
    ) -> None:
        self.rules: ChannelRules = rules
        self.tokens: TokenVerifier = tokens
        self.sub_tokens: TokenVerifier | None = sub_tokens
        """Of subscription tokens, if they have settings of their own."""
        self.options: ClientPolicyOptions = options
        self.proxies: ClientProxies = proxies or ClientProxies()
        self.rpc: RpcRules = RpcRules(options.rpc)

    @property
    def subscription_tokens(self) -> TokenVerifier:
        """The verifier of subscription tokens."""
        return self.sub_tokens if self.sub_tokens is not None else self.tokens
