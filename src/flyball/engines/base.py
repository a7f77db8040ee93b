"""What an engine of one's own implements, and what it is told."""

from flyball.core.broker import (
    Broker,
    BrokerEvents,
    ControlEvents,
    Controller,
    EnginePart,
    PresenceManager,
)
from flyball.core.engine import Engine, EngineFaults

__all__ = [
    "Broker",
    "BrokerEvents",
    "ControlEvents",
    "Controller",
    "Engine",
    "EngineFaults",
    "EnginePart",
    "PresenceManager",
]
