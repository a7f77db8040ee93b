"""One TCP port for everything: connections begin with HTTP/1.1, and go where a request leads."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from flyball.aio.held import HeldBytes
from flyball.aio.timers import TimerWheel
from flyball.http.common_headers import CommonHeaders
from flyball.http.files import FileBudget, RefusedConnection, max_files
from flyball.http.head import path_of
from flyball.http.http1 import ConnectionState, Http1Connection, Http1Service
from flyball.http.messages import HttpLimits
from flyball.http.request_log import RequestLog
from flyball.http.timeouts import wait_while
from flyball.http.tls_door import TlsDoor, TlsDoors

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from flyball.http.asgi_server import AsgiServer
    from flyball.http.multiplex.service import StreamService
    from flyball.http.routes import Routes

logger: Final = logging.getLogger("flyball.transports")


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Where and how to listen."""

    host: str = ""
    """A name or address; empty for all interfaces, IPv4 and IPv6."""
    port: int = 0
    """0 for any free port, see :attr:`Listener.port`."""
    path: str = ""
    """A unix socket in place of address and port."""
    ssl_context: ssl.SSLContext | None = None
    """TLS, if given; with ``h2`` among its ALPN protocols clients get HTTP/2."""
    reuse_port: bool = False
    """Several processes share the port (``SO_REUSEPORT``)."""
    backlog: int = 4096
    """Connections that wait to be accepted."""
    http: HttpLimits = field(default_factory=HttpLimits)
    """Limits of HTTP."""
    h2c: bool = False
    """HTTP/2 without TLS, for clients that begin with it (prior knowledge)."""
    announce_http3: bool = False
    """Answers tell of HTTP/3 on the UDP port of the same number (``Alt-Svc``)."""
    websocket_streams: bool = False
    """WebSocket connections may be streams of HTTP/2 (RFC 8441)."""


class Listener:
    """A port that serves a route table: HTTP/1.1, upgrades, and HTTP/2 where clients choose it.

    A ``ssl_context`` offers HTTP/2 if ``h2`` is among its ALPN protocols.

    Example::

        routes = Routes(
            [
                Route("/connection/websocket", upgrade=endpoint),
                Route("/api", handle, methods=("POST",), subtree=True),
            ],
            app=asgi_app,
        )
        listener = Listener(ListenerOptions(port=8000), routes)
        await listener.start()
        ...
        listener.stop_accepting()
        await node.shutdown()  # ends the WebSocket connections
        await listener.close()
    """

    def __init__(
        self,
        options: ListenerOptions,
        routes: Routes,
        timers: TimerWheel | None = None,
        *,
        held: HeldBytes | None = None,
        on_no_files: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens nothing yet.

        Args:
            options: where and how to listen.
            routes: what is served.
            timers: for all time limits; by default a wheel of its own.
            held: what strangers may fill together; by default a room of its own.
            on_no_files: called for each connection that is refused for want of descriptors.
        """
        self.options = options
        self.routes = routes
        self.timers: TimerWheel = timers or TimerWheel()
        self.held: HeldBytes = held or HeldBytes(self.timers.clock)
        self._common = CommonHeaders(self.timers.clock)
        self._log = RequestLog(self.timers.clock)
        self._doors: TlsDoors | None = None
        self._http1 = Http1Service(
            routes,
            options.http,
            self.timers,
            self._common,
            self._take_back,
            self.held,
            self._log,
            switch_to_http2=self._switch_to_http2,
            alpn=options.ssl_context is not None,
            h2c=options.h2c,
        )
        self._on_no_files = on_no_files
        self._files = FileBudget(self.timers.clock, 0)
        self._asgi: AsgiServer | None = None
        self._http2: StreamService | None = None
        self._server: asyncio.Server | None = None
        self._stopping = False
        self.port: int = self.options.port
        """The port in use, once started."""

    async def start(self) -> None:
        """Opens the port.

        Raises:
            OSError: it cannot be opened (in use, not permitted, no such address).
        """
        options = self.options
        if not 0 <= options.port <= 65535:
            # The event loop would take the number modulo 65536, and open another port.
            raise OSError(errno.EINVAL, f"{options.port} is no port; ports are 0 to 65535")
        self._stopping = False
        self.timers.restart()
        self._prepare()
        self._files = FileBudget(self.timers.clock, max_files(), self._on_no_files)
        loop = asyncio.get_running_loop()
        arguments: dict[str, Any] = {"backlog": options.backlog}
        if options.path:
            self._server = await loop.create_unix_server(self._accept, options.path, **arguments)
            return
        if options.host:
            arguments.update(
                host=options.host, port=options.port, reuse_port=options.reuse_port or None
            )
        else:
            arguments["sock"] = _listen_everywhere(options)
        self._server = await loop.create_server(self._accept, **arguments)
        self.port = self._server.sockets[0].getsockname()[1]
        if options.announce_http3:
            self._common.announce(f'h3=":{self.port}"; ma=2592000')
        logger.debug("listening on %s:%d", options.host or "*", self.port)

    def _prepare(self) -> None:
        """Makes what serves more than HTTP/1.1; processes without need not import it."""
        options = self.options
        if self.routes.app is not None:
            from flyball.http.asgi_server import AsgiServer

            self._asgi = AsgiServer(
                self.routes.app,
                options.http,
                self.timers,
                self._common,
                has_row=self._has_row,
                take_back=self._take_back,
            )
            self._http1.switch_to_app = self._switch_to_app
        if options.ssl_context is not None or options.h2c:
            from flyball.http.multiplex.service import StreamService

            self._http2 = StreamService(
                self.routes, options.http, self.timers, self._common, "2", self.held, self._log
            )
        if options.ssl_context is not None:
            self._doors = TlsDoors(
                options.ssl_context,
                lambda: Http1Connection(self._http1),
                switch_protocol,
                options.http.head_timeout,
                self.timers,
                self._log,
            )

    def stop_accepting(self) -> None:
        """Closes the port; connections live on."""
        self._stopping = True
        if self._server is not None:
            self._server.close()

    async def close(self, grace: float = 5.0) -> None:
        """Closes the port and ends all HTTP connections.

        Requests under way may take ``grace`` seconds more. WebSocket connections belong to
        their node and are ended by its shutdown.
        """
        self.stop_accepting()
        if self._doors is not None:
            self._doors.abort()
        for connection in list(self._http1.connections):
            connection.shutdown()
        guests = [guest for guest in (self._asgi, self._http2) if guest is not None]
        for guest in guests:
            guest.shutdown()
        await wait_while(self._is_busy, grace)
        for connection in list(self._http1.connections):
            connection.abort()
        for guest in guests:
            guest.abort()
        self._server = None

    def _is_busy(self) -> bool:
        guests = (self._asgi, self._http2)
        at_door = self._doors is not None and (self._doors.open or self._doors.handshakes)
        return bool(self._http1.connections or at_door) or any(
            guest is not None and guest.is_busy for guest in guests
        )

    def _accept(self) -> asyncio.Protocol:
        if not self._files.admits():
            return RefusedConnection()
        return Http1Connection(self._http1) if self._doors is None else TlsDoor(self._doors)

    # -- from one protocol to another

    def _has_row(self, target: bytes) -> bool:
        return self.routes.find(path_of(target)) is not None

    def _take_back(self, wire: asyncio.Transport, data: bytes) -> None:
        """Takes a connection again between two requests; ``data`` is what was read already."""
        if wire.is_closing():
            return
        if self._stopping:
            wire.close()
            return
        wire.set_write_buffer_limits()
        switch_protocol(wire, Http1Connection(self._http1, ConnectionState.IDLE), data)

    def _switch_to_http2(self, wire: asyncio.Transport, data: bytes) -> None:
        from flyball.http.http2 import Http2Connection, Http2Options

        assert self._http2 is not None
        options = Http2Options(websocket=self.options.websocket_streams)
        switch_protocol(wire, Http2Connection(self._http2, options), data)

    def _switch_to_app(self, wire: asyncio.Transport, data: bytes) -> None:
        assert self._asgi is not None
        switch_protocol(wire, self._asgi.protocol(), data)


def switch_protocol(wire: asyncio.Transport, protocol: asyncio.Protocol, data: bytes) -> None:
    """Gives a connection to another protocol; ``data`` is what was read already."""
    wire.set_protocol(protocol)
    protocol.connection_made(wire)
    if data:
        # Perhaps it has passed the connection on already: TLS clients choose HTTP/2 before a byte.
        taker = wire.get_protocol()
        assert isinstance(taker, asyncio.Protocol)
        taker.data_received(data)


def _listen_everywhere(options: ListenerOptions) -> socket.socket:
    """One socket for IPv4 and IPv6, so that port 0 is the same port on both."""
    dual = socket.has_dualstack_ipv6()
    listening = socket.create_server(
        ("", options.port),
        family=socket.AF_INET6 if dual else socket.AF_INET,
        dualstack_ipv6=dual,
        reuse_port=options.reuse_port,
        backlog=options.backlog,
    )
    listening.setblocking(False)
    return listening
