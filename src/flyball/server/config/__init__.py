"""Configuration: the schema, how it is loaded, and what is checked."""

from flyball.server.config.load import LoadedConfig, load_config
from flyball.server.config.marks import insecure_switches, secret_options, waiting_for_restart
from flyball.server.config.problems import ConfigProblems, Notice, Problem
from flyball.server.config.schema import Config
from flyball.server.config.schema_channel import (
    RPC,
    Channel,
    ChannelNamespace,
    ChannelProxies,
    RpcNamespace,
    RpcPing,
    SharedPoll,
)
from flyball.server.config.schema_client import (
    Client,
    ClientProxies,
    PersonalChannel,
    SubscriptionToken,
    UniDisconnectTransform,
    UniDisconnectTransforms,
)
from flyball.server.config.schema_common import (
    NamedProxy,
    Proxy,
    ProxyGRPC,
    ProxyHTTP,
    RedisConnection,
    StatusTransform,
    SwitchableProxy,
    TLSAutocert,
    TransformDisconnect,
    TransformError,
)
from flyball.server.config.schema_consumers import Consumer
from flyball.server.config.schema_engines import (
    Broker,
    Controller,
    Engine,
    MapBroker,
    PresenceManager,
    RedisBroker,
    RedisEngine,
    RedisMapBroker,
    RedisPresenceManager,
)
from flyball.server.config.schema_server import (
    ConnectResponseTransforms,
    GrpcAPI,
    HttpAPI,
    HTTPServer,
    UniWebSocket,
    WebSocket,
    WebSocketOptions,
)
from flyball.server.config.sources import read_dotenv
from flyball.server.config.table import to_plain
from flyball.server.config.unbuilt import unbuilt_options
from flyball.server.config.validate import check, validate, validate_start
from flyball.server.config.validate_listeners import listener_notices

__all__ = [
    "RPC",
    "Broker",
    "Channel",
    "ChannelNamespace",
    "ChannelProxies",
    "Client",
    "ClientProxies",
    "Config",
    "ConfigProblems",
    "ConnectResponseTransforms",
    "Consumer",
    "Controller",
    "Engine",
    "GrpcAPI",
    "HTTPServer",
    "HttpAPI",
    "LoadedConfig",
    "MapBroker",
    "NamedProxy",
    "Notice",
    "PersonalChannel",
    "PresenceManager",
    "Problem",
    "Proxy",
    "ProxyGRPC",
    "ProxyHTTP",
    "RedisBroker",
    "RedisConnection",
    "RedisEngine",
    "RedisMapBroker",
    "RedisPresenceManager",
    "RpcNamespace",
    "RpcPing",
    "SharedPoll",
    "StatusTransform",
    "SubscriptionToken",
    "SwitchableProxy",
    "TLSAutocert",
    "TransformDisconnect",
    "TransformError",
    "UniDisconnectTransform",
    "UniDisconnectTransforms",
    "UniWebSocket",
    "WebSocket",
    "WebSocketOptions",
    "check",
    "insecure_switches",
    "listener_notices",
    "load_config",
    "read_dotenv",
    "secret_options",
    "to_plain",
    "unbuilt_options",
    "validate",
    "validate_start",
    "waiting_for_restart",
]
