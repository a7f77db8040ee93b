"""The endpoints of operators and backends, as rows of the route table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyball.server.api.http import ApiHandler, HttpApiOptions
from flyball.server.api.openapi import openapi
from flyball.server.build.transports import clean_path
from flyball.server.http import (
    HEALTH,
    METRICS,
    DemoOptions,
    Siblings,
    demo_routes,
    health_route,
    metrics_route,
)
from flyball.server.metrics import process_registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client.registry import Collector

    from flyball.http.routes import Route
    from flyball.server.api.service import ApiService
    from flyball.server.common.health import Health
    from flyball.server.common.worker_place import WorkerPlace
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


def swagger_page(config: Config, version: str) -> list[Route]:
    """The documentation of the server API, if it is on."""
    if not config.swagger.enabled:
        return []
    from flyball.server.api.swagger import swagger_routes

    document = api_document(config, version)
    return swagger_routes(config.swagger.handler_prefix.rstrip("/"), document)


def api_document(config: Config, version: str) -> dict[str, Any]:
    """The server API over HTTP as an OpenAPI document."""
    api = config.http_api
    return openapi(prefix=api.handler_prefix, version=version, insecure=api.insecure)


def operator_routes(
    config: Config,
    health: Callable[[], Health],
    collector: Collector,
    worker: WorkerPlace | None = None,
) -> list[Route]:
    """Health and metrics, if they are on; each worker answers for all of them."""
    found = []
    siblings = None if worker is None else Siblings(worker)
    if config.health.enabled:
        path = clean_path(config.health.handler_prefix)
        found.append(health_route(path, health, siblings))
    if config.prometheus.enabled:
        path = clean_path(config.prometheus.handler_prefix)
        found.append(metrics_route([collector, process_registry()], path, siblings))
    return found


def sibling_routes(
    health: Callable[[], Health], collector: Collector, worker: WorkerPlace | None
) -> list[Route]:
    """What the other workers ask this one; nothing if it is alone."""
    if worker is None:
        return []
    return [
        health_route(HEALTH, health),
        metrics_route([collector, process_registry()], METRICS),
    ]


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
