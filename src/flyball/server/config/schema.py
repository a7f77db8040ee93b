"""The whole configuration.

:class:`Config` and the sections below it are the one description of all options: names, types,
defaults, allowed values, flags and documentation. Environment names, the loader, the generated
documents and the checks come from walking it (:mod:`flyball.server.config.table`).
"""

from __future__ import annotations

from flyball.server.common.option import many, nested, opt, section
from flyball.server.config.schema_channel import RPC, ChannelConfig, SharedPoll
from flyball.server.config.schema_client import ClientConfig
from flyball.server.config.schema_common import NamedProxy
from flyball.server.config.schema_consumers import Consumer
from flyball.server.config.schema_engines import (
    BrokerConfig,
    ControllerConfig,
    EngineConfig,
    MapBrokerConfig,
    PresenceManagerConfig,
)
from flyball.server.config.schema_server import (
    SSE,
    Admin,
    ConnectionInit,
    Debug,
    Emulation,
    Graphite,
    GrpcAPI,
    Health,
    HttpAPI,
    HTTPServer,
    HTTPStream,
    Log,
    NodeConfig,
    OpenTelemetry,
    Prometheus,
    Shutdown,
    SockJS,
    Swagger,
    UniGRPC,
    UniHTTPStream,
    UniSSE,
    UniWebSocket,
    UsageStats,
    WebSocket,
    WebTransport,
)


@section
class Config:
    """Root of the configuration."""

    http_server: HTTPServer = nested(HTTPServer, "Addresses and TLS of the HTTP listeners.")
    log: Log = nested(Log, "Logging.")
    engine: EngineConfig = nested(EngineConfig, "Default for broker and presence manager.")
    broker: BrokerConfig = nested(BrokerConfig, "Broker that replaces the engine's.")
    presence_manager: PresenceManagerConfig = nested(
        PresenceManagerConfig, "Presence manager that replaces the engine's."
    )
    map_broker: MapBrokerConfig = nested(MapBrokerConfig, "State and streams of map channels.")
    controller: ControllerConfig = nested(ControllerConfig, "Messages between nodes.")
    shared_poll: SharedPoll = nested(SharedPoll, "Settings of all shared poll channels.")
    client: ClientConfig = nested(ClientConfig, "Client connections.")
    channel: ChannelConfig = nested(ChannelConfig, "Channels and their namespaces.", reload=True)
    rpc: RPC = nested(RPC, "RPC calls of clients.", reload=True)
    proxies: tuple[NamedProxy, ...] = many(NamedProxy, "Proxies that namespaces name.")
    http_api: HttpAPI = nested(HttpAPI, "Server API over HTTP.")
    grpc_api: GrpcAPI = nested(GrpcAPI, "Server API over GRPC.")
    consumers: tuple[Consumer, ...] = many(Consumer, "Queues and tables to read from.")
    websocket: WebSocket = nested(WebSocket, "WebSocket transport.")
    sse: SSE = nested(SSE, "SSE transport.")
    http_stream: HTTPStream = nested(HTTPStream, "HTTP streaming transport.")
    sockjs: SockJS = nested(SockJS, "SockJS transport.")
    webtransport: WebTransport = nested(WebTransport, "WebTransport transport.")
    uni_sse: UniSSE = nested(UniSSE, "Unidirectional SSE transport.")
    uni_http_stream: UniHTTPStream = nested(
        UniHTTPStream, "Unidirectional HTTP streaming transport."
    )
    uni_websocket: UniWebSocket = nested(UniWebSocket, "Unidirectional WebSocket transport.")
    uni_grpc: UniGRPC = nested(UniGRPC, "Unidirectional GRPC transport.")
    emulation: Emulation = nested(Emulation, "Commands of SSE and HTTP streaming clients.")
    admin: Admin = nested(Admin, "Web interface for operators.")
    prometheus: Prometheus = nested(Prometheus, "Metrics.")
    health: Health = nested(Health, "Health endpoint.")
    swagger: Swagger = nested(Swagger, "Documentation of the server API.")
    debug: Debug = nested(Debug, "Profiles of the process.")
    init: ConnectionInit = nested(ConnectionInit, "Endpoint for affinity cookies.")
    opentelemetry: OpenTelemetry = nested(OpenTelemetry, "Traces.")
    graphite: Graphite = nested(Graphite, "Metrics pushed to Graphite.")
    usage_stats: UsageStats = nested(UsageStats, "Accepted; nothing is ever reported.")
    node: NodeConfig = nested(NodeConfig, "The process among its peers.")
    shutdown: Shutdown = nested(Shutdown, "Graceful shutdown.")
    pid_file: str = opt("", "File that holds the process id while the server runs.", flag=True)
    enable_unreleased_features: bool = opt(
        False, "Unlock parts that are not finished, such as the redisnats broker."
    )
