"""Endpoints that are small enough to stand together: health and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from flyball.http.messages import NO_SNIFF, Response
from flyball.http.routes import Route
from flyball.server.metrics import CONTENT_TYPE, exposition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client.registry import Collector

    from flyball.http.messages import RequestHead

JSON: Final = "application/json; charset=utf-8"
_HEADERS: Final = (NO_SNIFF, ("Cache-Control", "no-store"))


def health_route(path: str = "/health", problems: Callable[[], list[str]] = list) -> Route:
    """Answers 200 as long as the process serves requests and its engine works.

    Otherwise 503, with what ``problems()`` says.
    """
    healthy = Response(b"{}", content_type=JSON, headers=_HEADERS)

    def health(_head: RequestHead, _body: bytes) -> Response:
        found = problems()
        if not found:
            return healthy
        body = msgspec.json.encode({"problems": found})
        return Response(body, 503, content_type=JSON, headers=_HEADERS)

    return Route(path, health, internal=True, option="health.handler_prefix")


def metrics_route(collectors: Sequence[Collector], path: str = "/metrics") -> Route:
    """Metrics of all collectors in Prometheus' text format."""

    def metrics(_head: RequestHead, _body: bytes) -> Response:
        return Response(exposition(collectors), content_type=CONTENT_TYPE, headers=_HEADERS)

    return Route(path, metrics, internal=True, option="prometheus.handler_prefix")
