"""Which path belongs to which endpoint, on the external and on the internal listener."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flyball.core.errors import ConfigError
from flyball.http.asgi_tools import NO_SNIFF, TEXT, AsgiApp, local_path, respond

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.http.asgi_tools import Message, Receive, Scope, Send

NOT_FOUND: Final = b"404 page not found\n"

RequestCounts = MutableMapping[tuple[str, str, int], int]
"""(path, method, status) to number of requests."""


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint and where it is found."""

    path: str
    """Matches exactly; a slash at the end is cut, as the original does with its prefixes."""
    app: AsgiApp
    external: bool = False
    """Served where clients connect, when internal endpoints have a port of their own."""
    subtree: bool = False
    """Everything below ``path`` belongs to it too."""
    websocket: bool = False
    """It serves WebSocket connections; else they get 404."""
    option: str = ""
    """The config key that sets the path, for error messages."""


class Router:
    """An ASGI app that hands requests to routes; whatever matches none gets 404.

    ``counts`` is filled with the requests of each route when given.
    """

    def __init__(self, routes: Iterable[Route], *, counts: RequestCounts | None = None) -> None:
        """Raises ConfigError when two routes have the same path, naming both options."""
        self._exact: dict[str, Route] = {}
        for route in routes:
            path = _cut(route.path)
            other = self._exact.setdefault(path, route)
            if other is not route:
                message = (
                    f"two endpoints share the path {path!r}: "
                    f"{other.option or 'one'} and {route.option or 'another'}; change one of them"
                )
                raise ConfigError(message)
        below = [(p, route) for p, route in self._exact.items() if route.subtree]
        self._subtrees = sorted(below, key=lambda item: -len(item[0]))
        self._counts = counts

    @property
    def paths(self) -> frozenset[str]:
        """All paths with an endpoint."""
        return frozenset(self._exact)

    def find(self, path: str) -> Route | None:
        """The route of a path."""
        found = self._exact.get(path)
        if found is None:
            for start, route in self._subtrees:
                if path.startswith(start if start == "/" else f"{start}/"):
                    return route
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection of an ASGI server."""
        kind = scope["type"]
        if kind == "lifespan":
            await _lifespan(receive, send)
            return
        route = self.find(local_path(scope))
        if kind == "websocket":
            if route is None or not route.websocket:
                await _refuse_websocket(scope, send)
            else:
                await route.app(scope, receive, send)
        elif kind == "http":
            if route is None:
                await respond(send, 404, NOT_FOUND, content_type=TEXT, headers=(NO_SNIFF,))
                return
            if self._counts is not None:
                send = self._counting(route, scope, send)
            await route.app(scope, receive, send)

    def _counting(self, route: Route, scope: Scope, send: Send) -> Send:
        counts = self._counts
        assert counts is not None

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                key = (_cut(route.path), scope["method"], message["status"])
                counts[key] = counts.get(key, 0) + 1
            await send(message)

        return counting


@dataclass(frozen=True, slots=True)
class Apps:
    """What the listeners serve; both are the same object when there is one listener."""

    external: Router
    internal: Router


def build_apps(
    routes: Iterable[Route], *, split: bool = False, counts: RequestCounts | None = None
) -> Apps:
    """Routers for the listeners.

    ``split`` says that internal endpoints have a listener of their own: then each route is found
    on its own side only.

    Raises:
        ConfigError: two endpoints of a listener have the same path.
    """
    routes = list(routes)
    if not split:
        app = Router(routes, counts=counts)
        return Apps(external=app, internal=app)
    return Apps(
        external=Router([r for r in routes if r.external], counts=counts),
        internal=Router([r for r in routes if not r.external], counts=counts),
    )


def _cut(path: str) -> str:
    return path.rstrip("/") or "/"


async def _refuse_websocket(scope: Scope, send: Send) -> None:
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [(b"content-type", TEXT.encode()), NO_SNIFF]
        await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": NOT_FOUND})
    else:
        # Closed before it was accepted: the server answers 403.
        await send({"type": "websocket.close", "code": 1000})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
