"""Flyball: real-time messaging inside a Python program, and the engine of the server.

A :class:`Node` keeps channels and connections; handlers decide who may do what; transports
carry the client protocol of Centrifugo, so that its official SDKs are the clients::

    node = flyball.Node()

    @node.on_connecting
    def who(event: flyball.Connecting) -> flyball.Credentials:
        return flyball.Credentials(user="42")

    @node.on_subscribe("chat:*")
    def may_join(event: flyball.Subscribing) -> flyball.SubscribeOptions:
        return flyball.SubscribeOptions(presence=True, recoverable=True)

    flyball.run(node, port=8000)
"""

from flyball import asgi, engines
from flyball._version import __version__
from flyball.aio.eager import eager
from flyball.core.asyncapi import asyncapi
from flyball.core.cluster import NodeInfo, NodeMetrics, SurveyResult
from flyball.core.connection import Connection, SubscriptionInfo
from flyball.core.engine import Engine
from flyball.core.errors import (
    ConfigError,
    Disconnect,
    EngineError,
    EngineRefusal,
    Error,
    FlyballError,
    PermissionDenied,
    WrongLoopError,
)
from flyball.core.events import (
    ChannelOccupied,
    ChannelVacated,
    Connected,
    Connecting,
    Disconnected,
    HistoryQuery,
    Message,
    PresenceQuery,
    Publishing,
    Refreshing,
    RefreshResult,
    Rpc,
    SubRefreshing,
    Subscribed,
    Subscribing,
    Unsubscribed,
)
from flyball.core.listen import ChannelReader, LostPositionError, TooSlowError
from flyball.core.node import Node
from flyball.core.options import NodeOptions
from flyball.core.payload import Data
from flyball.core.received import HistoryResult, Publication
from flyball.core.threadsafe import ThreadsafeNode
from flyball.core.typed import TypedChannel, TypedReader
from flyball.core.types import (
    ClientInfo,
    Credentials,
    HistoryFilter,
    PresenceStats,
    PublishOptions,
    PublishResult,
    Raw,
    RecoveryMode,
    StreamPosition,
    SubscribeOptions,
    SubscriptionSource,
)
from flyball.http.listener import Listener
from flyball.publisher import AsyncPublisher, Publisher, PublishFailed
from flyball.serving import ServeOptions, run, serve
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.endpoints import EndpointOptions
from flyball.transports.sockjs.sessions import SockJsOptions
from flyball.transports.websocket.uni import UniWebSocketOptions

__all__ = [
    "AsyncPublisher",
    "ChannelOccupied",
    "ChannelReader",
    "ChannelVacated",
    "ClientInfo",
    "ConfigError",
    "Connected",
    "Connecting",
    "Connection",
    "ConnectionLimits",
    "Credentials",
    "Data",
    "Disconnect",
    "Disconnected",
    "EndpointOptions",
    "Engine",
    "EngineError",
    "EngineRefusal",
    "Error",
    "FlyballError",
    "HistoryFilter",
    "HistoryQuery",
    "HistoryResult",
    "Listener",
    "LostPositionError",
    "Message",
    "Node",
    "NodeInfo",
    "NodeMetrics",
    "NodeOptions",
    "PermissionDenied",
    "PresenceQuery",
    "PresenceStats",
    "Publication",
    "PublishFailed",
    "PublishOptions",
    "PublishResult",
    "Publisher",
    "Publishing",
    "Raw",
    "RecoveryMode",
    "RefreshResult",
    "Refreshing",
    "Rpc",
    "ServeOptions",
    "SockJsOptions",
    "StreamPosition",
    "SubRefreshing",
    "SubscribeOptions",
    "Subscribed",
    "Subscribing",
    "SubscriptionInfo",
    "SubscriptionSource",
    "SurveyResult",
    "ThreadsafeNode",
    "TooSlowError",
    "TypedChannel",
    "TypedReader",
    "UniWebSocketOptions",
    "Unsubscribed",
    "WebSocketOptions",
    "WrongLoopError",
    "__version__",
    "asgi",
    "asyncapi",
    "eager",
    "engines",
    "run",
    "serve",
]
