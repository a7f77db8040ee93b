"""The endpoints of operators and backends, as rows of the route table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.server.api.http import ApiHandler, HttpApiOptions
from flyball.server.build.transports import clean_path
from flyball.server.http import (
    DemoOptions,
    WorkerMetrics,
    demo_routes,
    health_route,
    metrics_route,
)
from flyball.server.metrics import process_registry

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from flyball.core.node import Node
    from flyball.http.routes import Route
    from flyball.server.api.service import ApiService
    from flyball.server.config import Config


def api_routes(config: Config, service: ApiService) -> list[Route]:
    """The server API over HTTP, if it is on."""
    options = config.http_api
    if options.disabled:
        return []
    handler = ApiHandler(
        service,
        HttpApiOptions(
            prefix=options.handler_prefix,
            key=options.key,
            insecure=options.insecure,
            transport_errors=options.error_mode == "transport",
        ),
    )
    return handler.routes(internal=not options.external)


def operator_routes(
    config: Config, node: Node, collector: Collector, *, group: str = ""
) -> list[Route]:
    """Health and metrics, if they are on; those of all workers of a ``group`` together."""
    found = []
    if config.health.enabled:
        found.append(health_route(clean_path(config.health.handler_prefix), node.problems))
    if config.prometheus.enabled:
        collectors = [collector, process_registry()]
        path = clean_path(config.prometheus.handler_prefix)
        workers = WorkerMetrics(node, collectors, group) if group else None
        found.append(metrics_route(collectors, path, workers))
    return found


def demo_page(config: Config) -> list[Route]:
    """The demo page, which is told of what is on."""
    token = config.client.token
    streams = [t for t in (config.http_stream, config.sse) if t.enabled]
    return demo_routes(
        DemoOptions(
            websocket_path="" if config.websocket.disabled else config.websocket.handler_prefix,
            http_stream_path=config.http_stream.handler_prefix
            if config.http_stream.enabled
            else "",
            sse_path=config.sse.handler_prefix if config.sse.enabled else "",
            emulation_path=config.emulation.handler_prefix if streams else "",
            api_path=config.http_api.handler_prefix,
            token_secret=token.hmac_secret_key,
            token_user_claim=token.user_id_claim or "sub",
        )
    )
