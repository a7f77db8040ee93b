"""The connection endpoints of a node, chosen by name: what a program of one's own serves."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flyball.core.asyncapi import asyncapi
from flyball.http.messages import Response
from flyball.http.routes import Route
from flyball.transports.api import PublishApi
from flyball.transports.common.init import init_route
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.sockjs.endpoint import SockJsEndpoint
from flyball.transports.sockjs.sessions import SockJsOptions
from flyball.transports.sockjs.websocket import SockJsWebSocketEndpoint
from flyball.transports.streaming import endpoint as streaming
from flyball.transports.streaming.emulation import EmulationEndpoint
from flyball.transports.streaming.endpoint import StreamEndpoint, StreamOptions
from flyball.transports.websocket.endpoint import WebSocketEndpoint
from flyball.transports.websocket.uni import UniWebSocketEndpoint, UniWebSocketOptions

if TYPE_CHECKING:
    from flyball.core.node import Node
    from flyball.http.messages import RequestHead
    from flyball.http.routes import Handler, UpgradeEndpoint

_STREAMS: Final = {
    "http_stream": streaming.HTTP_STREAM,
    "sse": streaming.SSE,
    "uni_http_stream": streaming.UNI_HTTP_STREAM,
    "uni_sse": streaming.UNI_SSE,
}
_SOCKETS: Final = {
    "websocket": "/websocket",
    "uni_websocket": "/uni_websocket",
    "sockjs": "/sockjs/*/*/websocket",
}
"""Paths of the transports over WebSocket."""
TRANSPORTS: Final = ("websocket", "uni_websocket", *_STREAMS, "sockjs")
"""Names of transports, and of their paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """Which transports there are, for whom, and within which limits.

    Raises:
        TypeError: ``origins`` or ``transports`` is a text in place of several.
        ValueError: a transport is not known.
    """

    origins: tuple[str, ...] = ()
    """Web pages that may connect, such as ``https://*.example.com``; ``*`` for all. Programs
    other than browsers send no origin and may always."""
    transports: tuple[str, ...] = ("websocket", "http_stream", "sse")
    """Some of ``websocket``, ``http_stream``, ``sse``, ``uni_websocket``, ``uni_http_stream``,
    ``uni_sse`` and ``sockjs``; each is found at its name. ``/emulation`` comes with
    ``http_stream`` and ``sse``."""
    websocket: WebSocketOptions = field(default_factory=WebSocketOptions)
    """Limits and compression of WebSocket."""
    uni_websocket: UniWebSocketOptions = field(default_factory=UniWebSocketOptions)
    """The same for ``uni_websocket``, and how its pushes are sent."""
    sockjs: SockJsOptions = field(default_factory=SockJsOptions)
    """All requests of a SockJS session have to come to the same process."""
    max_request_body_size: int = 65536
    """Bytes of a request to a streaming endpoint or ``/emulation``."""
    limits: ConnectionLimits | None = None
    """How many connections are taken, and how fast:
    ``ConnectionLimits(lambda: node.hub.num_clients, limit=1000)``."""

    api_key: str = ""
    """Lets programs of yours publish over HTTP, at ``api/publish`` and ``api/broadcast`` below the
    prefix: ``flyball.Publisher("http://localhost:8000/connection/api", key=...)``. Empty: nobody."""

    asyncapi: bool = False
    """Serves :func:`flyball.asyncapi` of the node at ``asyncapi.json`` below the prefix."""

    def __post_init__(self) -> None:
        # A text is a sequence of letters: "https://*.example.com" would hold "*", for everybody.
        refuse_text("origins", self.origins)
        refuse_text("transports", self.transports)
        for name in self.transports:
            if name not in TRANSPORTS:
                expected = ", ".join(TRANSPORTS)
                raise ValueError(f"transport {name!r} is not known; expected some of {expected}")

    @property
    def sockjs_socket(self) -> WebSocketOptions:
        """What SockJS over WebSocket keeps to."""
        sockjs = self.sockjs
        return WebSocketOptions(
            message_size_limit=sockjs.message_size_limit,
            write_timeout=sockjs.write_timeout,
            keep_headers=sockjs.keep_headers,
        )

    def origin_policy(self) -> OriginPolicy:
        """Which pages may connect; pages that may not are warned of.

        Raises:
            ConfigError: an origin is malformed.
        """
        allowed = ", ".join(map(repr, self.origins)) or "no page at all"
        why = f"origins=... allows {allowed} (programs other than browsers may always)"
        return OriginPolicy(self.origins, why=why, level=logging.WARNING)

    def routes(self, node: Node, prefix: str = "") -> list[Route]:
        """All endpoints, at their paths below ``prefix``.

        Raises:
            ConfigError: an origin is malformed.
        """
        return [*self.requests(node, prefix), *self._sockets(node, prefix)]

    def requests(self, node: Node, prefix: str = "") -> list[Route]:
        """The endpoints for plain HTTP.

        Raises:
            ConfigError: an origin is malformed.
        """
        policy = self.origin_policy()
        found = [init_route(policy, f"{prefix}/init")]
        options = StreamOptions(max_request_body_size=self.max_request_body_size)
        for name, kind in _STREAMS.items():
            if name in self.transports:
                endpoint = StreamEndpoint(node, kind, policy, options, self.limits)
                found.append(endpoint.route(f"{prefix}/{name}"))
        if {"http_stream", "sse"} & set(self.transports):
            emulation = EmulationEndpoint(node, policy, self.max_request_body_size)
            found.append(emulation.route(f"{prefix}/emulation"))
        if "sockjs" in self.transports:
            sockjs = SockJsEndpoint(node, self.origins, self.sockjs, self.limits, policy)
            found += sockjs.routes(f"{prefix}/sockjs")
        if self.api_key:
            found += PublishApi(node, self.api_key).routes(f"{prefix}/api")
        if self.asyncapi:
            found.append(Route(f"{prefix}/asyncapi.json", document(node), methods=("GET",)))
        return found

    def websocket_paths(self, prefix: str = "") -> list[tuple[str, str]]:
        """The transports over WebSocket that are wanted, with their paths."""
        return [(n, f"{prefix}{path}") for n, path in _SOCKETS.items() if n in self.transports]

    def _sockets(self, node: Node, prefix: str) -> list[Route]:
        policy, limits = self.origin_policy(), self.limits
        endpoints: dict[str, UpgradeEndpoint[Any]] = {
            "websocket": WebSocketEndpoint(node, policy, self.websocket, limits),
            "uni_websocket": UniWebSocketEndpoint(node, policy, self.uni_websocket, limits),
            "sockjs": SockJsWebSocketEndpoint(node, policy, self.sockjs_socket, limits),
        }
        return [Route(path, upgrade=endpoints[n]) for n, path in self.websocket_paths(prefix)]


def document(node: Node) -> Handler:
    """Answers with the node's AsyncAPI document, made when it is asked for."""

    def answer(_head: RequestHead, _body: bytes) -> Response:
        return Response(msgspec.json.encode(asyncapi(node)))

    return answer


def refuse_text(name: str, value: object) -> None:
    """Raises ``TypeError`` for a lone text where several are wanted."""
    if isinstance(value, str):
        raise TypeError(f"{name} must be several texts, not one: write {name}=({value!r},)")
