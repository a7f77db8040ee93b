"""Settings of a consumer of Azure Service Bus."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from flyball.core.errors import ConfigError

_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An application that is known to the directory of a tenant."""

    namespace: str
    """Host name of the bus, such as ``name.servicebus.windows.net``."""
    tenant: str
    client: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.namespace):
            raise ConfigError(
                f"fully_qualified_namespace: {self.namespace!r} is no host name; it looks like"
                " name.servicebus.windows.net"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBusOptions:
    """Which queues, how they are read, and as whom."""

    queues: tuple[str, ...]
    """Their names."""
    connection_string: str = field(default="", repr=False)
    """Where the bus is, with a key; empty: there is an identity."""
    identity: Identity | None = None
    """Who we are without a connection string."""
    sessions: bool = False
    """The queues have sessions; each is read by one loop at a time, in order."""
    loops: int = 1
    """Messages, or sessions, of one queue that are worked on at a time."""
    max_messages: int = 1
    """Most messages that a loop takes at once."""
    method_property: str = "centrifugo-method"
    """Property with the method."""
    properties: tuple[str, ...] = ()
    """Names of further properties that are looked at; they must be strings."""
    properties_prefix: str = ""
    """Start of the names of others; empty: there are none."""

    def __post_init__(self) -> None:
        if not all(name.strip() for name in self.queues):
            raise ConfigError("queues: a name is empty")
        if len(set(self.queues)) < len(self.queues):
            raise ConfigError("queues: one of them stands there twice")
        for option, value in (
            ("max_concurrent_calls", self.loops),
            ("max_receive_messages", self.max_messages),
        ):
            if not 1 <= value <= 1000:
                raise ConfigError(f"{option} is {value}; 1 to 1000 are allowed")

    def is_read(self, name: str) -> bool:
        """Whether a property means something here."""
        if name == self.method_property or name in self.properties:
            return True
        return bool(self.properties_prefix) and name.startswith(self.properties_prefix)
