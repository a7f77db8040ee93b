"""Channel names, namespaces, and who may do what in a channel."""

from flyball.server.channels.access import HISTORY, MAP_PUBLISH, MAP_REMOVE, PRESENCE, PUBLISH
from flyball.server.channels.decision import Decision, Verdict
from flyball.server.channels.namespace import Namespace
from flyball.server.channels.overrides import OVERRIDES, Overrides, overrides_of
from flyball.server.channels.permissions import (
    BY_TOKEN,
    decide,
    decide_subscribe,
    decide_token,
    decide_wish,
)
from flyball.server.channels.proxies import CHANNEL_PROXIES, ProxyKind
from flyball.server.channels.rpc import RpcRules, RpcRulesOptions, decide_rpc
from flyball.server.channels.rules import ChannelRules, ChannelRulesOptions, ResolvedChannel

__all__ = [
    "BY_TOKEN",
    "CHANNEL_PROXIES",
    "HISTORY",
    "MAP_PUBLISH",
    "MAP_REMOVE",
    "OVERRIDES",
    "PRESENCE",
    "PUBLISH",
    "ChannelRules",
    "ChannelRulesOptions",
    "Decision",
    "Namespace",
    "Overrides",
    "ProxyKind",
    "ResolvedChannel",
    "RpcRules",
    "RpcRulesOptions",
    "Verdict",
    "decide",
    "decide_rpc",
    "decide_subscribe",
    "decide_token",
    "decide_wish",
    "overrides_of",
]
