"""Which RPC methods there are, and who answers them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flyball.protocol import codes
from flyball.server.channels.decision import Decision, Verdict
from flyball.server.channels.names import cut_namespace
from flyball.server.channels.options import RpcOptions
from flyball.server.channels.proxies import ProxyKind

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RpcRules", "RpcRulesOptions", "decide_rpc"]

PING_RULE: Final = "rpc.ping.enabled"
PROXY_RULE: Final = "proxy_enabled"


@dataclass(frozen=True, slots=True)
class RpcRulesOptions:
    """RPC namespaces, and the method that the server answers itself."""

    without_namespace: RpcOptions = field(default_factory=RpcOptions)
    """Of methods without a namespace."""
    namespaces: Mapping[str, RpcOptions] = field(default_factory=dict)
    """By name."""
    boundary: str = ":"
    """Ends the namespace in a method's name; empty: there are no namespaces."""
    ping_enabled: bool = False
    """Answer the ping method, with nothing."""
    ping_method: str = "ping"
    """Its name."""


class RpcRules:
    """Answers what holds for an RPC method."""

    __slots__ = ("options", "proxied")

    def __init__(self, options: RpcRulesOptions) -> None:
        self.options: RpcRulesOptions = options
        every = (options.without_namespace, *options.namespaces.values())
        self.proxied: bool = any(namespace.proxy_enabled for namespace in every)
        """Some methods go to a proxy."""

    def namespace_options(self, method: str) -> RpcOptions | None:
        """The options of the method's namespace, or None if there is no such namespace."""
        options = self.options
        name, _ = cut_namespace(method, options.boundary)
        return options.namespaces.get(name) if name else options.without_namespace


_PING: Final = Decision(Verdict.ALLOW, PING_RULE)
_NO_METHODS: Final = Decision(
    Verdict.REFUSE,
    "no proxy and no built-in method is on",
    codes.NOT_AVAILABLE,
    (PING_RULE,),
    ("is off",),
)
_UNKNOWN_METHOD: Final = Decision(
    Verdict.REFUSE,
    "unknown method, and no proxy is on",
    codes.METHOD_NOT_FOUND,
    (PING_RULE,),
    ("is for another method",),
)
_UNKNOWN_NAMESPACE: Final = Decision(
    Verdict.REFUSE,
    "unknown RPC namespace",
    codes.METHOD_NOT_FOUND,
    (PING_RULE,),
    ("does not apply",),
)
_PROXY_OFF: Final = Decision(
    Verdict.REFUSE, f"{PROXY_RULE} is off", codes.NOT_AVAILABLE, (PING_RULE,), ("does not apply",)
)
_ASK_PROXY: Final = Decision(Verdict.ASK, PROXY_RULE, looked_at=(PING_RULE,), proxy=ProxyKind.RPC)


def decide_rpc(rules: RpcRules, method: str) -> Decision:
    """Who answers an RPC call: the server itself (allowed), a proxy (asks), or nobody."""
    options = rules.options
    if options.ping_enabled and method == options.ping_method:
        return _PING
    if not rules.proxied:
        return _UNKNOWN_METHOD if options.ping_enabled else _NO_METHODS
    namespace = rules.namespace_options(method)
    if namespace is None:
        return _UNKNOWN_NAMESPACE
    return _ASK_PROXY if namespace.proxy_enabled else _PROXY_OFF
