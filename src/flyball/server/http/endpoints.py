"""Endpoints that are small enough to stand together: health, metrics, connection init."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from flyball.server.metrics import CONTENT_TYPE, exposition

from .asgi import JSON, NO_SNIFF, header, respond, respond_status
from .router import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.registry import Collector

    from flyball.transports.limits import ConnectionLimits
    from flyball.transports.origin import OriginPolicy

    from .asgi import Receive, Scope, Send

_NO_STORE: Final = (b"cache-control", b"no-store")


def health_route(path: str = "/health", *, external: bool = False) -> Route:
    """Answers 200 as long as the process serves requests; there are no checks behind it."""

    async def health(_scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, 200, b"{}", content_type=JSON, headers=(NO_SNIFF, _NO_STORE))

    return Route(path, health, external, option="health.handler_prefix")


def metrics_route(
    collectors: Sequence[Collector], path: str = "/metrics", *, external: bool = False
) -> Route:
    """Metrics of all collectors in Prometheus' text format."""

    async def metrics(_scope: Scope, _receive: Receive, send: Send) -> None:
        body = exposition(collectors)
        await respond(send, 200, body, content_type=CONTENT_TYPE, headers=(NO_SNIFF, _NO_STORE))

    return Route(path, metrics, external, option="prometheus.handler_prefix")


def init_route(
    origins: OriginPolicy,
    path: str = "/connection/init",
    *,
    limits: ConnectionLimits | None = None,
) -> Route:
    """``/connection/init``: opens an HTTP/2 connection or sets an affinity cookie for clients."""

    async def init(scope: Scope, _receive: Receive, send: Send) -> None:
        if limits is not None and not limits.admits():
            await respond(send, 503)
        elif scope["method"] != "GET":
            await respond_status(send, HTTPStatus.METHOD_NOT_ALLOWED, headers=[(b"allow", b"GET")])
        else:
            headers = [NO_SNIFF, _NO_STORE, *cors_headers(origins, scope)]
            await respond(send, 200, b"{}", content_type=JSON, headers=headers)

    return Route(path, init, external=True, option="init.handler_prefix")


def cors_headers(origins: OriginPolicy, scope: Scope) -> list[tuple[bytes, bytes]]:
    """Headers that let an allowed page read the answer; none for other pages.

    The request is served either way: it is the browser that keeps the answer from the page.
    """
    origin = header(scope, b"origin")
    if not origins.allows(origin):
        return []
    found = [
        (b"access-control-allow-origin", (origin or "").encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"Origin"),
    ]
    asked = header(scope, b"access-control-request-headers")
    if asked:
        found.append((b"access-control-allow-headers", asked.encode("latin-1")))
    return found
