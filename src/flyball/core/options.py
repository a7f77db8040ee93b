"""Settings of a node."""

from __future__ import annotations

from dataclasses import dataclass, field

from flyball.core.errors import ConfigError, Disconnect
from flyball.protocol.codes import DisconnectCode


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How a node behaves. Durations are seconds, sizes bytes; 0 switches a limit off."""

    name: str = ""
    """Shown in ``node.info()``."""
    version: str = ""
    """Told to clients in the connect result."""
    ping_interval: float = 25.0
    """App-level pings to clients; 0: none."""
    pong_timeout: float = 8.0
    """A client that does not answer a ping in time is closed with 3012; 0: not asked for."""
    stale_close_delay: float = 10.0
    """A client that does not connect in time is closed with 3502."""
    expired_close_delay: float = 25.0
    """Seconds that a connection lives on after its expiry, for a refresh to come."""
    expired_sub_close_delay: float = 25.0
    """The same for a subscription."""
    presence_update_interval: float = 27.0
    """Seconds between prolongations of a subscriber's presence; other upkeep goes with it."""
    channel_limit: int = 128
    """Subscriptions of one connection."""
    channel_max_length: int = 255
    """Bytes of a channel's name that a client subscribes to."""
    queue_max_size: int = 1048576
    """Bytes that may wait for one slow client; above it 3008."""
    channel_position_check_delay: float = 40.0
    """Seconds between checks that a positioned subscriber has missed nothing."""
    channel_position_max_time_lag: float = 0.0
    """Seconds that a publication may be under way between nodes."""
    held_bytes_limit: int = 33554432
    """Bytes of unfinished messages and requests that all clients who are not connected yet may
    fill together; above it those who began first are dropped."""
    user_connection_limit: int = 0
    """Connections of one user on this node."""
    history_max_publication_limit: int = 300
    """Publications that a client's history request may ask for."""
    recovery_max_publication_limit: int = 300
    """Publications that a returning client may recover at once; more: not recovered."""
    history_meta_ttl: float = 2592000.0
    """Lifetime of a stream's epoch and offset after its last use."""
    concurrency: int = 0
    """Above 1, commands of one client are handled in parallel, up to this many."""
    connect_include_server_time: bool = False
    """The connect result tells the time of the server."""
    warn_of_refusals: bool = True
    """What clients are refused is told by warnings of the logger ``flyball.refusals``, a few in a
    second; otherwise for debugging only."""
    uni_connect_disconnects: dict[int, DisconnectCode] = field(default_factory=dict)
    """Connect error code to disconnect, for unidirectional transports."""

    def __post_init__(self) -> None:
        if self.ping_interval and self.pong_timeout and self.ping_interval <= self.pong_timeout:
            message = (
                f"ping_interval ({self.ping_interval:g} s) must be longer than pong_timeout "
                f"({self.pong_timeout:g} s)"
            )
            raise ConfigError(message)
        for disconnect in self.uni_connect_disconnects.values():
            Disconnect(disconnect)  # refuses codes that no close frame can carry
