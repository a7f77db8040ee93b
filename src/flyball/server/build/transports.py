"""The endpoints where clients connect, as rows of the route table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from flyball.http.relay import OtherProcess
from flyball.http.routes import Route
from flyball.server.build.proxies import forwarded_headers
from flyball.server.config.schema_server import (
    SSE,
    HTTPStream,
    UniHTTPStream,
    UniSSE,
    WebSocketCommon,
)
from flyball.transports.common.init import init_route
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.sockjs.endpoint import SockJsEndpoint
from flyball.transports.sockjs.sessions import SockJsOptions
from flyball.transports.sockjs.websocket import SockJsWebSocketEndpoint
from flyball.transports.streaming import endpoint as streaming
from flyball.transports.streaming.emulation import EmulationEndpoint
from flyball.transports.streaming.endpoint import StreamEndpoint, StreamKind, StreamOptions
from flyball.transports.websocket.endpoint import WebSocketEndpoint
from flyball.transports.websocket.uni import UniWebSocketEndpoint, UniWebSocketOptions

if TYPE_CHECKING:
    from flyball.core.node import Node
    from flyball.server.common.worker_place import WorkerPlace
    from flyball.server.config import Config
    from flyball.transports.common.limits import ConnectionLimits


@dataclass(frozen=True, slots=True)
class ClientRoutes:
    """What clients connect to."""

    public: tuple[Route, ...]
    relayed: tuple[Route, ...]
    """What other workers relay of it, for sessions that this one keeps."""


def client_routes(
    config: Config,
    node: Node,
    limits: ConnectionLimits,
    origins: OriginPolicy,
    worker: WorkerPlace | None = None,
) -> ClientRoutes:
    """The endpoints of all transports that are on, and ``/connection/init``.

    ``origins`` is one for all of them: a page that tries one after the other is told of once.
    """
    sockjs, relayed = _sockjs_routes(config, node, limits, origins, worker)
    rows = (
        *_websocket_routes(config, node, limits, origins),
        *_stream_routes(config, node, limits, origins),
        *sockjs,
        *_init_routes(config, limits, origins),
    )
    return ClientRoutes(rows, tuple(relayed))


def origin_policy(config: Config) -> OriginPolicy:
    """Which pages may connect."""
    return OriginPolicy(config.client.allowed_origins)


def kept_headers(config: Config) -> frozenset[str]:
    """Request headers (lower case) that sessions keep."""
    header = config.client.user_id_http_header
    return forwarded_headers(config) | ({header.lower()} if header else frozenset())


def clean_path(prefix: str) -> str:
    """An endpoint's path: as the original does, without a slash at its end."""
    return prefix.rstrip("/") or "/"


def _websocket_routes(
    config: Config, node: Node, limits: ConnectionLimits, origins: OriginPolicy
) -> list[Route]:
    """The WebSocket endpoints that are on."""
    found = []
    if not config.websocket.disabled:
        options = WebSocketOptions(**_websocket_options(config, config.websocket))
        endpoint = WebSocketEndpoint(node, origins, options, limits)
        path = clean_path(config.websocket.handler_prefix)
        found.append(Route(path, upgrade=endpoint, option="websocket.handler_prefix"))
    uni = config.uni_websocket
    if uni.enabled:
        uni_options = UniWebSocketOptions(
            **_websocket_options(config, uni),
            join_push_messages=uni.join_push_messages,
            disable_closing_handshake=uni.disable_closing_handshake,
            disable_disconnect_push=uni.disable_disconnect_push,
        )
        uni_endpoint = UniWebSocketEndpoint(node, origins, uni_options, limits)
        path = clean_path(uni.handler_prefix)
        found.append(Route(path, upgrade=uni_endpoint, option="uni_websocket.handler_prefix"))
    return found


def _websocket_options(config: Config, options: WebSocketCommon) -> dict[str, Any]:
    return {
        "message_size_limit": options.message_size_limit,
        "decompressed_message_size_limit": options.decompressed_message_size_limit,
        "compression": options.compression,
        "compression_level": options.compression_level,
        "compression_min_size": options.compression_min_size,
        "write_timeout": options.write_timeout,
        "keep_headers": kept_headers(config),
    }


def _stream_routes(
    config: Config, node: Node, limits: ConnectionLimits, origins: OriginPolicy
) -> list[Route]:
    """The streaming endpoints that are on, and ``/emulation`` if they need it."""
    kinds: tuple[tuple[str, StreamKind, SSE | HTTPStream | UniSSE | UniHTTPStream], ...] = (
        ("sse", streaming.SSE, config.sse),
        ("http_stream", streaming.HTTP_STREAM, config.http_stream),
        ("uni_sse", streaming.UNI_SSE, config.uni_sse),
        ("uni_http_stream", streaming.UNI_HTTP_STREAM, config.uni_http_stream),
    )
    found = []
    for name, kind, options in kinds:
        if options.enabled:
            endpoint = StreamEndpoint(node, kind, origins, _stream_options(config, options), limits)
            path = clean_path(options.handler_prefix)
            found.append(endpoint.route(path, f"{name}.handler_prefix"))
    if config.sse.enabled or config.http_stream.enabled:
        section = config.emulation
        emulation = EmulationEndpoint(node, origins, section.max_request_body_size)
        path = clean_path(section.handler_prefix)
        found.append(emulation.route(path, "emulation.handler_prefix"))
    return found


def _stream_options(
    config: Config, options: SSE | HTTPStream | UniSSE | UniHTTPStream
) -> StreamOptions:
    statuses = None
    if (
        isinstance(options, UniSSE | UniHTTPStream)
        and options.connect_code_to_http_response.enabled
    ):
        transforms = options.connect_code_to_http_response.transforms
        statuses = {t.code: (t.to.status_code, t.to.body) for t in transforms}
    return StreamOptions(
        max_request_body_size=options.max_request_body_size,
        keep_headers=kept_headers(config),
        connect_statuses=statuses,
    )


def _sockjs_routes(
    config: Config,
    node: Node,
    limits: ConnectionLimits,
    origins: OriginPolicy,
    worker: WorkerPlace | None,
) -> tuple[list[Route], list[Route]]:
    """What SockJS serves, if it is on; and what of it other workers relay."""
    section = config.sockjs
    if not section.enabled:
        return [], []
    socket_options = WebSocketOptions(
        message_size_limit=section.message_size_limit,
        write_timeout=section.write_timeout,
        keep_headers=kept_headers(config),
    )
    socket = SockJsWebSocketEndpoint(node, origins, socket_options, limits)
    options = SockJsOptions(
        url=section.url,
        message_size_limit=section.message_size_limit,
        write_timeout=section.write_timeout,
        keep_headers=kept_headers(config),
    )
    if worker is not None:
        options = replace(
            options,
            elsewhere=partial(_keeper_elsewhere, worker),
            relay_socket=str(worker.socket),
        )
    endpoint = SockJsEndpoint(node, config.client.allowed_origins, options, limits)
    prefix, option = section.handler_prefix.rstrip("/"), "sockjs.handler_prefix"
    public = [
        Route(f"{prefix}/*/*/websocket", upgrade=socket, option=option),
        *endpoint.routes(prefix, option),
    ]
    return public, endpoint.relayed_routes(prefix)


def _keeper_elsewhere(worker: WorkerPlace, session_id: str) -> OtherProcess | None:
    keeper = worker.keeper_of(session_id)
    if keeper == worker.number:
        return None
    return OtherProcess(f"worker {keeper}", worker.socket_of(keeper))


def _init_routes(config: Config, limits: ConnectionLimits, origins: OriginPolicy) -> list[Route]:
    """``/connection/init``, if it is on."""
    if not config.init.enabled:
        return []
    path, option = clean_path(config.init.handler_prefix), "init.handler_prefix"
    return [init_route(origins, path, limits=limits, option=option)]
