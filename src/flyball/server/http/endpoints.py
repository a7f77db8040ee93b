"""Endpoints that are small enough to stand together: health and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from flyball.core.errors import Error
from flyball.http.messages import NO_SNIFF, Response
from flyball.http.routes import Route
from flyball.server.metrics import CONTENT_TYPE, exposition
from flyball.server.metrics.merge import merge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prometheus_client.registry import Collector

    from flyball.core.node import Node
    from flyball.http.messages import RequestHead

WORKER_METRICS: Final = "flyball_worker_metrics"
"""Name of the survey."""
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


class WorkerMetrics:
    """Metrics of all workers that share a port: whoever is asked asks the others, and adds up.

    Args:
        node: of this worker.
        collectors: its metrics.
        group: what the workers have in common; other nodes are not theirs.
    """

    def __init__(self, node: Node, collectors: Sequence[Collector], group: str) -> None:
        self._node = node
        self._collectors = collectors
        self._group = group.encode()
        node.on_survey(WORKER_METRICS, self._answer)

    def _answer(self, group: bytes) -> bytes:
        return exposition(self._collectors) if group == self._group else b""

    async def page(self) -> bytes:
        """The sum; this worker's alone if the others cannot be asked, with a line that says so."""
        try:
            answers = await self._node.survey(WORKER_METRICS, self._group)
        except (TimeoutError, Error) as error:
            reason = str(error).replace("\n", " ")
            return exposition(self._collectors) + f"# this worker only: {reason}\n".encode()
        return merge(answer.data for answer in answers.values() if answer.data)


def metrics_route(
    collectors: Sequence[Collector], path: str = "/metrics", workers: WorkerMetrics | None = None
) -> Route:
    """Metrics of all collectors, or of all workers, in Prometheus' text format."""

    async def summed() -> Response:
        assert workers is not None
        return Response(await workers.page(), content_type=CONTENT_TYPE, headers=_HEADERS)

    def metrics(_head: RequestHead, _body: bytes) -> Response | Awaitable[Response]:
        if workers is not None:
            return summed()
        return Response(exposition(collectors), content_type=CONTENT_TYPE, headers=_HEADERS)

    return Route(path, metrics, internal=True, option="prometheus.handler_prefix")
