"""Endpoints that are small enough to stand together: health, metrics, connection init."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.http.asgi_tools import JSON, NO_SNIFF, header, respond
from flyball.server.metrics import CONTENT_TYPE, exposition
from flyball.transports.common.origin import cors_headers

from .router import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.registry import Collector

    from flyball.http.asgi_tools import Receive, Scope, Send
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.common.origin import OriginPolicy

_NO_STORE: Final = (b"cache-control", b"no-store")
_CORS_REQUEST: Final = ("origin", "access-control-request-headers")


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
            await respond(send, 405, headers=[(b"allow", b"GET")])
        else:
            asked = {name: header(scope, name.encode()) or "" for name in _CORS_REQUEST}
            cors = [
                (n.lower().encode(), v.encode("latin-1")) for n, v in cors_headers(origins, asked)
            ]
            headers = [NO_SNIFF, _NO_STORE, (b"vary", b"Origin"), *cors]
            await respond(send, 200, b"{}", content_type=JSON, headers=headers)

    return Route(path, init, external=True, option="init.handler_prefix")
