"""From configuration to objects: the only place that knows both.

A component takes a small options object of its own; these functions fill them in.
"""

from flyball.server.build.admin import admin_page
from flyball.server.build.consumers import consumers
from flyball.server.build.endpoints import (
    api_document,
    api_routes,
    demo_page,
    operator_routes,
    sibling_routes,
    swagger_page,
)
from flyball.server.build.engine import node_engine
from flyball.server.build.errors import Refusals
from flyball.server.build.listeners import Served, autocert, ports, split_routes
from flyball.server.build.node import (
    VERSION,
    connection_limits,
    node_collector,
    node_options,
    server_metrics,
)
from flyball.server.build.policy import (
    channel_rules,
    explained_policy,
    policy_options,
    token_verifiers,
)
from flyball.server.build.proxies import client_proxies
from flyball.server.build.transports import client_routes, origin_policy

__all__ = [
    "VERSION",
    "Refusals",
    "Served",
    "admin_page",
    "api_document",
    "api_routes",
    "autocert",
    "channel_rules",
    "client_proxies",
    "client_routes",
    "connection_limits",
    "consumers",
    "demo_page",
    "explained_policy",
    "node_collector",
    "node_engine",
    "node_options",
    "operator_routes",
    "origin_policy",
    "policy_options",
    "ports",
    "server_metrics",
    "sibling_routes",
    "split_routes",
    "swagger_page",
    "token_verifiers",
]
