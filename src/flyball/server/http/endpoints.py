"""Endpoints that are small enough to stand together: health and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from flyball.http.messages import NO_SNIFF, Response
from flyball.http.routes import Route
from flyball.server.common.health import Health
from flyball.server.metrics import CONTENT_TYPE, exposition
from flyball.server.metrics.merge import merge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prometheus_client.registry import Collector

    from flyball.http.messages import RequestHead
    from flyball.server.http.siblings import Siblings

JSON: Final = "application/json"
_HEADERS: Final = (NO_SNIFF, ("Cache-Control", "no-store"))


def health_route(
    path: str = "/health",
    health: Callable[[], Health] = Health,
    siblings: Siblings | None = None,
) -> Route:
    """Answers 200 as long as the process serves requests and its engine works.

    Otherwise 503, with what ``health()`` says. Of several workers each answers for all.
    """

    async def of_all(workers: Siblings) -> Response:
        return health_answer(await workers.health(health()))

    def answer(_head: RequestHead, _body: bytes) -> Response | Awaitable[Response]:
        return health_answer(health()) if siblings is None else of_all(siblings)

    return Route(path, answer, internal=True, option="health.handler_prefix")


def health_answer(health: Health) -> Response:
    """Says what is wrong, if anything is."""
    status = 503 if health.problems else 200
    body = msgspec.json.encode(health)
    return Response(body, status, content_type=JSON, headers=_HEADERS)


def metrics_route(
    collectors: Sequence[Collector], path: str = "/metrics", siblings: Siblings | None = None
) -> Route:
    """Metrics of all collectors, or of all workers, in Prometheus' text format."""

    async def summed(workers: Siblings) -> Response:
        pages, silent = await workers.metrics()
        missing = [f"# {reason}\n".encode() for reason in silent]
        page = merge([exposition(collectors), *pages]) + b"".join(missing)
        return Response(page, content_type=CONTENT_TYPE, headers=_HEADERS)

    def metrics(_head: RequestHead, _body: bytes) -> Response | Awaitable[Response]:
        if siblings is not None:
            return summed(siblings)
        return Response(exposition(collectors), content_type=CONTENT_TYPE, headers=_HEADERS)

    return Route(path, metrics, internal=True, option="prometheus.handler_prefix")
