"""What is served on a port, whatever the version of HTTP that asks for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.http.http1 import HttpRoute
    from flyball.transports.common.websocket.endpoint import SocketEndpoint


class Site:
    """Endpoints by their paths: WebSocket, functions of the HTTP fast path, an ASGI app.

    Paths match exactly, as sent. ``*`` in a path stands for one segment, or the rest of one,
    without dots: ``/sockjs/*/*/xhr``. A route with ``subtree`` has all paths below its own too.
    What no path matches goes to ``app``.
    """

    __slots__ = ("_patterns", "_routes", "_socket_patterns", "_subtrees", "_websockets", "app")

    def __init__(
        self,
        *,
        websockets: Mapping[str, SocketEndpoint] | None = None,
        routes: Mapping[str, HttpRoute] | None = None,
        app: Any = None,
    ) -> None:
        sockets, found = websockets or {}, routes or {}
        self._websockets = {path: e for path, e in sockets.items() if "*" not in path}
        self._socket_patterns = [(_pattern(p), e) for p, e in sockets.items() if "*" in p]
        self._routes = {path: route for path, route in found.items() if "*" not in path}
        self._patterns = [(_pattern(p), route) for p, route in found.items() if "*" in p]
        below = [(f"{p.rstrip('/')}/", route) for p, route in found.items() if route.subtree]
        self._subtrees = sorted(below, key=lambda item: -len(item[0]))
        self.app = app
        """The ASGI application for everything else; None: 404."""

    def websocket(self, path: str) -> SocketEndpoint | None:
        """The WebSocket endpoint at a path."""
        found = self._websockets.get(path)
        if found is None:
            for pattern, endpoint in self._socket_patterns:
                if pattern.fullmatch(path):
                    return endpoint
        return found

    def route(self, path: str) -> HttpRoute | None:
        """The route of a path on the HTTP fast path."""
        found = self._routes.get(path)
        if found is None:
            for start, route in self._subtrees:
                if path.startswith(start):
                    return route
            for pattern, route in self._patterns:
                if pattern.fullmatch(path):
                    return route
        return found


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("[^/.]+".join(map(re.escape, path.split("*"))))
