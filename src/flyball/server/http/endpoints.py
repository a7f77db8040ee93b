"""Endpoints that are small enough to stand together: health and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.http.messages import NO_SNIFF, Response
from flyball.http.routes import Route
from flyball.server.metrics import CONTENT_TYPE, exposition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.registry import Collector

    from flyball.http.messages import RequestHead

JSON: Final = "application/json; charset=utf-8"
_HEADERS: Final = (NO_SNIFF, ("Cache-Control", "no-store"))


def health_route(path: str = "/health") -> Route:
    """Answers 200 as long as the process serves requests; there are no checks behind it."""
    healthy = Response(b"{}", content_type=JSON, headers=_HEADERS)
    return Route(path, lambda *_: healthy, internal=True, option="health.handler_prefix")


def metrics_route(collectors: Sequence[Collector], path: str = "/metrics") -> Route:
    """Metrics of all collectors in Prometheus' text format."""

    def metrics(_head: RequestHead, _body: bytes) -> Response:
        return Response(exposition(collectors), content_type=CONTENT_TYPE, headers=_HEADERS)

    return Route(path, metrics, internal=True, option="prometheus.handler_prefix")
