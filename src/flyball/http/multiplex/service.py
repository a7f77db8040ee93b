"""What all requests that come as streams share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from flyball.aio.held import HeldBytes
    from flyball.aio.timers import TimerWheel
    from flyball.http.common_headers import CommonHeaders
    from flyball.http.messages import HttpLimits
    from flyball.http.multiplex.wire import MultiplexedConnection
    from flyball.http.request_log import RequestLog
    from flyball.http.routes import Routes


@dataclass(slots=True)
class StreamService:
    """What the streams of a listener's connections are served with."""

    routes: Routes
    limits: HttpLimits
    timers: TimerWheel
    common: CommonHeaders
    version: str
    """``2`` or ``3``."""
    held: HeldBytes
    """What requests of strangers fill together while they are not whole."""
    log: RequestLog
    connections: set[MultiplexedConnection] = field(default_factory=set)
    """Those that are open; each adds and discards itself."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """ASGI requests under way."""
    stopping: bool = False
    """No more connections are wanted."""

    def shutdown(self) -> None:
        """Ends idle connections at once, others with their last request."""
        self.stopping = True
        for connection in list(self.connections):
            connection.shutdown()

    @property
    def is_busy(self) -> bool:
        """Requests are still being answered."""
        return any(connection.is_busy for connection in self.connections)

    def abort(self) -> None:
        """Cancels what is still being answered and drops all connections."""
        for task in list(self.tasks):
            task.cancel()
        for connection in list(self.connections):
            connection.abort()
