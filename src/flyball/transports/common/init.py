"""``/connection/init``: a request without consequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.http.messages import NO_SNIFF, Response, empty
from flyball.http.routes import Route
from flyball.transports.common.origin import cors_headers

if TYPE_CHECKING:
    from flyball.http.messages import RequestHead
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.common.origin import OriginPolicy

_JSON: Final = "application/json; charset=utf-8"
_HEADERS: Final = (NO_SNIFF, ("Cache-Control", "no-store"), ("Vary", "Origin"))


def init_route(
    origins: OriginPolicy,
    path: str,
    *,
    limits: ConnectionLimits | None = None,
    option: str = "",
) -> Route:
    """Opens an HTTP/2 connection, or sets an affinity cookie, for clients that connect next.

    Args:
        origins: pages that may read the answer.
        path: where it is.
        limits: connections that are not admitted get 503 here already.
        option: what sets the path.
    """

    def init(head: RequestHead, _body: bytes) -> Response:
        if limits is not None and not limits.admits():
            return empty(503)
        cors = cors_headers(origins, head.headers)
        return Response(b"{}", content_type=_JSON, headers=(*_HEADERS, *cors))

    return Route(path, init, methods=("GET",), option=option)
