"""The first bytes on a TLS port: TLS begins, or whoever speaks something else is told.

The event loops can do TLS from the first byte on, but then nobody hears of handshakes that fail.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from flyball.http.http1 import close_gently
from flyball.http.timeouts import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.timers import TimerWheel
    from flyball.http.request_log import RequestLog

__all__ = ["TlsDoor", "TlsDoors"]

_HANDSHAKE: Final = 0x16
"""The type of a TLS record that begins a connection (RFC 8446, section 5.1)."""
_PLAIN_REQUEST: Final = (
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
)
"""What clients of Go's servers know."""


@dataclass(slots=True)
class TlsDoors:
    """What the doors of a port share."""

    context: ssl.SSLContext
    make: Callable[[], asyncio.Protocol]
    """The protocol behind a handshake."""
    switch: Callable[[asyncio.Transport, asyncio.Protocol, bytes], None]
    """Gives a connection to it."""
    timeout: float
    """Seconds until the first byte, and then for the handshake."""
    timers: TimerWheel
    log: RequestLog
    open: set[TlsDoor] = field(default_factory=set)
    """Those behind which no TLS is yet."""
    handshakes: set[asyncio.Task[None]] = field(default_factory=set)

    def abort(self) -> None:
        """Drops all of them."""
        for door in list(self.open):
            door.abort()


class TlsDoor(asyncio.Protocol):
    """One connection, until its handshake is over."""

    __slots__ = ("_deadline", "_doors", "_is_done", "_wire")

    def __init__(self, doors: TlsDoors) -> None:
        self._doors = doors
        self._wire: asyncio.Transport = None  # type: ignore[assignment]  # set when made
        self._is_done = False
        self._deadline = Deadline(doors.timers, self._on_deadline)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the first byte, not for ever."""
        self._wire = cast("asyncio.Transport", transport)
        self._doors.open.add(self)
        self._deadline.set(self._doors.timeout)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Gone before TLS began."""
        self._leave()

    def abort(self) -> None:
        """Drops the connection."""
        self._wire.abort()

    def data_received(self, data: bytes) -> None:
        """The first bytes say what the client speaks."""
        if self._is_done:
            return
        self._is_done = True
        if data[0] == _HANDSHAKE:
            self._deadline.close()
            self._wire.pause_reading()
            task = asyncio.get_running_loop().create_task(self._begin(data), name="TLS handshake")
            self._doors.handshakes.add(task)
            task.add_done_callback(self._doors.handshakes.discard)
            return
        if data[:1].isalpha():
            self._doors.log.refused("plain HTTP on a TLS port", self._wire)
            self._wire.write(_PLAIN_REQUEST)
        else:
            self._doors.log.refused("no TLS on a TLS port", self._wire)
        close_gently(self._wire)

    async def _begin(self, data: bytes) -> None:
        doors, waiting = self._doors, _Waiting()
        loop = asyncio.get_running_loop()
        start = loop.start_tls(
            self._wire,
            waiting,
            doors.context,
            server_side=True,
            ssl_handshake_timeout=doors.timeout,
        )
        handshake = asyncio.ensure_future(start)
        await asyncio.sleep(0)
        # Now the protocol of TLS has the wire, and in the next turn is told so: then come the bytes
        # that were looked at here.
        protocol = cast("asyncio.BufferedProtocol", self._wire.get_protocol())
        loop.call_soon(_feed, protocol, data)
        try:
            wire = await handshake
        except OSError as error:
            doors.log.refused("a TLS handshake failed", self._wire, _reason(error))
            self._wire.abort()
        else:
            assert wire is not None
            if not waiting.is_lost:
                doors.switch(wire, doors.make(), bytes(waiting.data))
        finally:
            self._leave()

    def _leave(self) -> None:
        self._deadline.close()
        self._doors.open.discard(self)

    def _on_deadline(self) -> None:
        self._wire.abort()


class _Waiting(asyncio.Protocol):
    """Keeps what a client sends right behind its handshake, until somebody is there to take it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.is_lost = True


def _feed(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Gives ``data`` to the protocol of TLS, as the event loop would."""
    view = memoryview(data)
    while view:
        room: Any = protocol.get_buffer(len(view))
        size = min(len(room), len(view))
        room[:size] = view[:size]
        protocol.buffer_updated(size)
        view = view[size:]


def _reason(error: BaseException) -> str:
    """Why a handshake failed, in OpenSSL's words: they name the alert or the version."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return str(error) or type(error).__name__
