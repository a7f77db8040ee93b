"""A node's connection endpoints as an ASGI app, for Starlette, FastAPI, Django and any server.

::

    node = flyball.Node()
    app = FastAPI(lifespan=flyball.asgi.lifespan(node))
    app.mount("/connection", flyball.asgi.app(node, origins=["https://example.com"]))

Clients connect to ``/connection/websocket``; ``/connection/http_stream`` and
``/connection/sse`` (with ``/connection/emulation``) are there for networks that break
WebSocket. Run directly, the app starts and stops the node itself (``uvicorn module:app``).

Streams do not end by themselves, and ASGI has no way to tell an app that its server wants to
stop: give the server a limit (``uvicorn --timeout-graceful-shutdown 3``,
``granian --workers-kill-timeout 3``).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from flyball.http.asgi_bridge import serve
from flyball.http.asgi_tools import local_path
from flyball.http.routes import PathTable, Routes
from flyball.transports.asgi.sockjs import AsgiSockJsEndpoint
from flyball.transports.asgi.websocket import (
    AsgiWebSocketEndpoint,
    UniAsgiWebSocketEndpoint,
    refuse,
)
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.endpoints import EndpointOptions, refuse_text
from flyball.transports.sockjs.sessions import SockJsOptions
from flyball.transports.websocket.uni import UniWebSocketOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from flyball.core.node import Node
    from flyball.http.asgi_tools import AsgiApp, Receive, Scope, Send

__all__ = [
    "App",
    "ConnectionLimits",
    "SockJsOptions",
    "UniWebSocketOptions",
    "WebSocketOptions",
    "app",
    "lifespan",
]


def app(
    node: Node,
    *,
    origins: Iterable[str] = (),
    transports: Iterable[str] = ("websocket", "http_stream", "sse"),
    websocket: WebSocketOptions | None = None,
    uni_websocket: UniWebSocketOptions | None = None,
    sockjs: SockJsOptions | None = None,
    max_request_body_size: int = 65536,
    limits: ConnectionLimits | None = None,
    api_key: str = "",
    asyncapi: bool = False,
) -> App:
    """The connection endpoints of ``node``.

    Args:
        node: where sessions live. It runs in one event loop at a time.
        origins: web pages that may connect, such as ``https://*.example.com``; ``*`` for all.
            Programs other than browsers send no origin and may always.
        transports: some of ``websocket``, ``http_stream``, ``sse``, ``uni_websocket``,
            ``uni_http_stream``, ``uni_sse`` and ``sockjs``; each is found at its name.
            ``/emulation`` comes with ``http_stream`` and ``sse``.
        websocket: limits of WebSocket messages. Compression and write timeouts are the
            business of the ASGI server.
        uni_websocket: the same for ``uni_websocket``, and how its pushes are sent.
        sockjs: limits of SockJS, and where its script is. All requests of a session have to
            come to the same process.
        max_request_body_size: bytes of a request to a streaming endpoint or ``/emulation``.
        limits: how many connections are taken, and how fast:
            ``ConnectionLimits(lambda: node.hub.num_clients, limit=1000)``.
        api_key: lets programs of yours publish over HTTP, at ``/api/publish`` and
            ``/api/broadcast``: ``flyball.Publisher("https://.../connection/api", key=...)``.

        asyncapi: serves :func:`flyball.asyncapi` of the node at ``/asyncapi.json``.

    Raises:
        TypeError: ``origins`` or ``transports`` is a text in place of several.
        ValueError: a transport is not known.
        ConfigError: an origin is malformed.
    """
    refuse_text("origins", origins)
    refuse_text("transports", transports)
    options = EndpointOptions(
        origins=tuple(origins),
        transports=tuple(transports),
        websocket=websocket or WebSocketOptions(),
        uni_websocket=uni_websocket or UniWebSocketOptions(),
        sockjs=sockjs or SockJsOptions(),
        max_request_body_size=max_request_body_size,
        limits=limits,
        api_key=api_key,
        asyncapi=asyncapi,
    )
    return App(node, options)


class App:
    """See :func:`app`."""

    def __init__(self, node: Node, options: EndpointOptions) -> None:
        self.node = node
        policy, limits = options.origin_policy(), options.limits
        sockets: dict[str, AsgiApp] = {
            "websocket": AsgiWebSocketEndpoint(node, policy, options.websocket, limits),
            "uni_websocket": UniAsgiWebSocketEndpoint(node, policy, options.uni_websocket, limits),
            "sockjs": AsgiSockJsEndpoint(node, policy, options.sockjs_socket, limits),
        }
        # The server does the framing of WebSocket: other endpoints, at the same paths.
        self._sockets = PathTable(
            (path, sockets[name], False) for name, path in options.websocket_paths()
        )
        self._routes = Routes(options.requests(node))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection, request or lifespan."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(receive, send)
            return
        await self.node.ensure_started()
        if kind == "websocket":
            socket = self._sockets.find(local_path(scope))
            if socket is None:
                await receive()
                await refuse(scope, send, 404)
            else:
                await socket(scope, receive, send)
        elif kind == "http":
            await serve(self._routes, scope, receive, send, held=self.node.held)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.node.start()
                except Exception as error:  # noqa: BLE001 - the server is told, and stops
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                try:
                    await self.node.shutdown()
                except Exception as error:  # noqa: BLE001 - the server is told
                    await send({"type": "lifespan.shutdown.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.shutdown.complete"})
                return


def lifespan(node: Node) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """A lifespan for Starlette and FastAPI: the node runs as long as the app.

    Inside a lifespan of your own, ``async with node:`` does the same.
    """

    @asynccontextmanager
    async def live(_app: Any) -> AsyncIterator[None]:
        async with node:
            yield

    return live
