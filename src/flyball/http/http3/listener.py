"""The UDP port of HTTP/3."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from flyball.aio.held import HeldBytes
from flyball.aio.timers import TimerWheel
from flyball.http.common_headers import CommonHeaders
from flyball.http.http3._private import (
    CONNECTION_WINDOW,
    STREAM_WINDOW,
    ConnectionTable,
    mark_ids,
)
from flyball.http.http3.connection import Http3Connection
from flyball.http.http3.shared_port import marked_id, udp_socket
from flyball.http.messages import HttpLimits
from flyball.http.multiplex.service import StreamService
from flyball.http.request_log import RequestLog
from flyball.http.routes import Routes
from flyball.http.timeouts import wait_while

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aioquic.quic.connection import QuicConnection

    from flyball.http.http3.sessions import SessionEndpoint


@dataclass(frozen=True, slots=True)
class SharedSocket:
    """A process' own socket of a port that several share, see :mod:`.shared_port`."""

    fd: int
    """Its file descriptor. Whoever opened it keeps it; here it is duplicated."""
    place: int
    """Of the socket in the group, from 0."""
    count: int
    """Sockets in the group."""

    def open(self) -> socket.socket:
        """The socket; raises ``OSError`` if there is none."""
        return socket.socket(fileno=os.dup(self.fd))


@dataclass(frozen=True, slots=True)
class Http3Options:
    """Where and how to listen."""

    host: str = ""
    """Empty for all interfaces."""
    port: int = 0
    """0 for any free port, see :attr:`Http3Listener.port`."""
    certificate: bytes = b""
    """PEM, with the chain behind it."""
    key: bytes = b""
    """PEM."""
    idle_timeout: float = 30.0
    """Seconds without a packet after which a connection is forgotten."""
    max_connections: int = 100_000
    """QUIC connections at a time; new ones are dropped above it."""
    http: HttpLimits = field(default_factory=HttpLimits)
    shared: SharedSocket | None = None
    """Other processes listen at the same port; None: none does."""

    @property
    def ssl_context(self) -> object | None:
        """Truthy: QUIC is always encrypted (the name that other listeners have for it)."""
        return self.certificate


class Http3Listener:
    """Serves a route table over HTTP/3, and WebTransport endpoints by their paths.

    Lives like :class:`~flyball.http.listener.Listener`: stop accepting, shut the node
    down, close.
    """

    def __init__(
        self,
        options: Http3Options,
        routes: Routes | None = None,
        *,
        webtransports: Mapping[str, SessionEndpoint] | None = None,
        beside: Callable[[], int] | None = None,
        timers: TimerWheel | None = None,
        held: HeldBytes | None = None,
    ) -> None:
        """Opens nothing yet.

        Args:
            options: where and how to listen.
            routes: what is served.
            webtransports: who takes WebTransport sessions, by their paths.
            beside: tells the TCP port whose number is taken if ``options`` name none.
            timers: for all time limits; by default a wheel of its own.
            held: what strangers may fill together; by default a room of its own.
        """
        self.options = options
        self._beside = beside
        self.port: int = options.port
        """The port in use, once started."""
        self._webtransports = dict(webtransports or {})
        self.timers: TimerWheel = timers or TimerWheel()
        common = CommonHeaders(self.timers.clock)
        held = held or HeldBytes(self.timers.clock)
        log = RequestLog(self.timers.clock)
        self.service: StreamService = StreamService(
            routes or Routes(), options.http, self.timers, common, "3", held, log
        )
        self._server: ConnectionTable | None = None

    async def start(self) -> None:
        """Opens the port.

        Raises:
            OSError: it cannot be opened.
        """
        options = self.options
        self.service.stopping = False
        self.timers.restart()
        first, *chain = load_pem_x509_certificates(options.certificate)
        configuration = QuicConfiguration(
            alpn_protocols=H3_ALPN,
            is_client=False,
            idle_timeout=options.idle_timeout,
            max_datagram_frame_size=65536,
            max_data=CONNECTION_WINDOW,
            max_stream_data=STREAM_WINDOW,
            certificate=first,
            certificate_chain=chain,
            private_key=load_pem_private_key(options.key, None),
        )
        loop = asyncio.get_running_loop()

        def create() -> ConnectionTable:
            # Addresses are validated first (Retry): a forged one cannot make us keep a state.
            return ConnectionTable(
                configuration=configuration, create_protocol=self._take, retry=True
            )

        wire, self._server = await loop.create_datagram_endpoint(create, sock=self._open_socket())
        self.port = wire.get_extra_info("sockname")[1]

    def _open_socket(self) -> socket.socket:
        options = self.options
        if options.shared is not None:
            return options.shared.open()
        port = options.port or (self._beside() if self._beside is not None else 0)
        return udp_socket(options.host, port)

    def _take(self, quic: QuicConnection, **more: Any) -> Http3Connection:
        """Serves a new connection."""
        options, shared = self.options, self.options.shared
        if shared is not None:
            mark_ids(quic, partial(marked_id, place=shared.place, count=shared.count))
        service, webtransports = self.service, self._webtransports
        return Http3Connection(service, webtransports, options.max_connections, quic, **more)

    def stop_accepting(self) -> None:
        """Refuses new requests and sessions; those that are open live on."""
        self.service.shutdown()

    async def close(self, grace: float = 1.5) -> None:
        """Ends all connections and closes the port.

        Sessions that the node ended have ``grace`` seconds to tell their clients.
        """
        self.stop_accepting()
        await wait_while(lambda: self.service.is_busy, grace)
        self.service.abort()
        server, self._server = self._server, None
        if server is not None:
            server.close()
