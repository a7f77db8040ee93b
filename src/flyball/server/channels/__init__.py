"""Channel names, namespaces, and who may do what in a channel."""

from flyball.server.channels.decision import Decision
from flyball.server.channels.permissions import (
    decide_history,
    decide_map_write,
    decide_presence,
    decide_publish,
    decide_subscribe,
    decide_token,
    decide_wish,
)
from flyball.server.channels.rpc import RpcRules, RpcRulesOptions, decide_rpc
from flyball.server.channels.rules import (
    ChannelRules,
    ChannelRulesOptions,
    Namespace,
    Overrides,
    ResolvedChannel,
)

__all__ = [
    "ChannelRules",
    "ChannelRulesOptions",
    "Decision",
    "Namespace",
    "Overrides",
    "ResolvedChannel",
    "RpcRules",
    "RpcRulesOptions",
    "decide_history",
    "decide_map_write",
    "decide_presence",
    "decide_publish",
    "decide_rpc",
    "decide_subscribe",
    "decide_token",
    "decide_wish",
]
