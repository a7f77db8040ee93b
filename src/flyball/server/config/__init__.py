"""Configuration: the schema, how it is loaded, and what is checked."""

from .load import LoadedConfig, load_config
from .pem import read_pem, tls_client_context, tls_server_context
from .problems import ConfigProblems, Notice, Problem
from .reload import waiting_for_restart
from .schema import Config
from .schema_channel import (
    RPC,
    Channel,
    ChannelNamespace,
    ChannelOptions,
    ChannelProxies,
    MapOptions,
    RpcNamespace,
    RpcOptions,
    RpcPing,
    SharedPoll,
    SharedPollOptions,
)
from .schema_client import (
    Client,
    ClientProxies,
    PersonalChannel,
    SubscriptionToken,
    Token,
    UniDisconnectTransform,
    UniDisconnectTransforms,
)
from .schema_common import (
    NamedProxy,
    Proxy,
    ProxyGRPC,
    ProxyHTTP,
    RedisConnection,
    StatusTransform,
    SwitchableProxy,
    TLSAutocert,
    TLSConfig,
    TransformDisconnect,
    TransformError,
)
from .schema_consumers import Consumer
from .schema_engines import (
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
from .schema_server import (
    ConnectResponseTransforms,
    GrpcAPI,
    HttpAPI,
    HTTPServer,
    UniWebSocket,
    WebSocket,
    WebSocketOptions,
)
from .sources import read_dotenv
from .table import to_plain
from .unbuilt import unbuilt_options
from .validate import check, validate, validate_start
from .validate_listeners import listener_notices

__all__ = [
    "RPC",
    "Broker",
    "Channel",
    "ChannelNamespace",
    "ChannelOptions",
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
    "MapOptions",
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
    "RpcOptions",
    "RpcPing",
    "SharedPoll",
    "SharedPollOptions",
    "StatusTransform",
    "SubscriptionToken",
    "SwitchableProxy",
    "TLSAutocert",
    "TLSConfig",
    "Token",
    "TransformDisconnect",
    "TransformError",
    "UniDisconnectTransform",
    "UniDisconnectTransforms",
    "UniWebSocket",
    "WebSocket",
    "WebSocketOptions",
    "check",
    "listener_notices",
    "load_config",
    "read_dotenv",
    "read_pem",
    "tls_client_context",
    "tls_server_context",
    "to_plain",
    "unbuilt_options",
    "validate",
    "validate_start",
    "waiting_for_restart",
]
