"""NATS: publications at most once, or with history by JetStream; messages between nodes."""

from flyball.engines.nats.engine import NatsEngine
from flyball.engines.nats.options import (
    JetStreamOptions,
    NatsOptions,
    RawMode,
    Server,
    ServerOptions,
    parse_servers,
)

__all__ = [
    "JetStreamOptions",
    "NatsEngine",
    "NatsOptions",
    "RawMode",
    "Server",
    "ServerOptions",
    "parse_servers",
]
