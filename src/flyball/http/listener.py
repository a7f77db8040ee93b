"""One TCP port for everything: looks at a connection's first bytes and finds its protocol."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from flyball.http.head import (
    HEAD_END,
    BadRequestHead,
    PlainAnswer,
    parse_head,
    path_of,
    plain_error,
)
from flyball.http.http1 import (
    HttpFastPath,
    HttpLimits,
    KnownHeads,
    close_gently,
)
from flyball.http.watch import Watch

if TYPE_CHECKING:
    import ssl

    from flyball.http.asgi_server import AsgiServer
    from flyball.http.head import RequestHead
    from flyball.http.multiplex.request import Service
    from flyball.http.routes import Site

logger = logging.getLogger("flyball.transports")

_NOT_FOUND: Final = "404 page not found"


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Where and how to listen."""

    host: str = ""
    """A name or address; empty for all interfaces, IPv4 and IPv6."""
    port: int = 0
    """0 for any free port, see :attr:`Listener.port`."""
    ssl_context: ssl.SSLContext | None = None
    reuse_port: bool = False
    """Several processes share the port (``SO_REUSEPORT``)."""
    backlog: int = 4096
    http: HttpLimits = field(default_factory=HttpLimits)
    h2c: bool = False
    """HTTP/2 without TLS, for clients that begin with it (prior knowledge)."""
    announce_http3: bool = False
    """Answers tell of HTTP/3 on the UDP port of the same number (``Alt-Svc``)."""
    websocket_streams: bool = False
    """WebSocket connections may be streams of HTTP/2 (RFC 8441)."""


class Listener:
    """A port that serves a site: HTTP/1.1, WebSocket, and HTTP/2 where TLS clients agree on it.

    A ``ssl_context`` offers HTTP/2 if ``h2`` is among its ALPN protocols.

    Example::

        site = Site(
            websockets={"/connection/websocket": endpoint},
            routes={"/api": HttpRoute(handle, subtree=True)},
            app=asgi_app,
        )
        listener = Listener(ListenerOptions(port=8000), site)
        await listener.start()
        ...
        listener.stop_accepting()
        await node.shutdown()  # ends the WebSocket connections
        await listener.close()
    """

    def __init__(self, options: ListenerOptions, site: Site) -> None:
        self.options = options
        self.site = site
        self._known_heads = KnownHeads()
        self._asgi: AsgiServer | None = None
        self._http2: Service | None = None
        self._server: asyncio.Server | None = None
        self._stopping = False
        self.watch = Watch()
        self.port = self.options.port
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
        if self.site.app is not None:
            # uvicorn takes long to import, and a process without an ASGI app needs none.
            from flyball.http.asgi_server import AsgiServer

            self._asgi = AsgiServer(
                self.site.app, options.http, self.watch, self._is_ours, self.dispatch
            )
        if options.ssl_context is not None or options.h2c:
            from flyball.http.multiplex.request import Service

            self._http2 = Service(self.site, options.http, self.watch, "2")
        loop = asyncio.get_running_loop()
        arguments: dict[str, Any] = {"ssl": options.ssl_context, "backlog": options.backlog}
        if options.ssl_context is not None:
            arguments["ssl_handshake_timeout"] = options.http.head_timeout
        if options.host:
            arguments.update(
                host=options.host, port=options.port, reuse_port=options.reuse_port or None
            )
        else:
            arguments["sock"] = _listen_everywhere(options)
        self._server = await loop.create_server(self._accept, **arguments)
        self.port = self._server.sockets[0].getsockname()[1]
        if options.announce_http3:
            self.watch.alternative = f'h3=":{self.port}"; ma=2592000'
        self.watch.start()
        logger.debug("listening on %s:%d", options.host or "*", self.port)

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
        for member in self.watch.members:
            if isinstance(member, HttpFastPath | FirstBytes):
                member.shutdown()
        guests = [guest for guest in (self._asgi, self._http2) if guest is not None]
        for guest in guests:
            guest.shutdown()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._is_busy() and loop.time() < deadline:  # noqa: ASYNC110 - several protocols, no common event
            await asyncio.sleep(0.02)
        for member in self.watch.members:
            if isinstance(member, HttpFastPath | FirstBytes):
                member.abort()
        for guest in guests:
            guest.abort()
        self.watch.stop()
        self._server = None

    def _is_busy(self) -> bool:
        busy = any(isinstance(m, HttpFastPath | FirstBytes) for m in self.watch.members)
        guests = (self._asgi, self._http2)
        return busy or any(guest is not None and guest.is_busy for guest in guests)

    def _accept(self) -> FirstBytes:
        return FirstBytes(self)

    # -- finding the protocol of a connection

    def _is_ours(self, target: bytes) -> bool:
        path = path_of(target)
        return self.site.route(path) is not None or self.site.websocket(path) is not None

    def dispatch(self, wire: asyncio.Transport, data: bytes) -> None:
        """Takes a connection (back) between two requests; ``data`` is what was read already."""
        if wire.is_closing():
            return
        if self._stopping:
            wire.close()
            return
        first = FirstBytes(self)
        wire.set_write_buffer_limits()
        wire.set_protocol(first)
        first.connection_made(wire)
        first.data_received(data)

    def speak_http2(self, wire: asyncio.Transport, data: bytes = b"") -> None:
        """Gives a connection to HTTP/2; ``data`` is what was read already."""
        from flyball.http.http2 import Http2Connection, Http2Options

        assert self._http2 is not None
        options = Http2Options(websocket=self.options.websocket_streams)
        protocol = Http2Connection(self._http2, options)
        wire.set_protocol(protocol)
        protocol.connection_made(wire)
        if data:
            protocol.data_received(data)

    def hand_over(self, wire: asyncio.Transport, target: bytes, data: bytes) -> bool:
        """Gives a connection to the protocol for ``target``; False if there is none."""
        protocol: asyncio.Protocol
        if self.site.route(path_of(target)) is not None:
            protocol = HttpFastPath(
                self.site, self.options.http, self.watch, self.dispatch, self._known_heads
            )
        elif self._asgi is not None:
            protocol = self._asgi.protocol()
        else:
            return False
        wire.set_protocol(protocol)
        protocol.connection_made(wire)
        protocol.data_received(data)
        return True


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


class FirstBytes(asyncio.Protocol):
    """A connection whose protocol is not known yet.

    Serves itself what leads to no other protocol: refused handshakes, and 404 where there is
    no ASGI app; the connection then goes on with its next request.
    """

    __slots__ = ("_age", "_buffer", "_is_blocked", "_is_ended", "_listener", "_wire")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._wire: asyncio.Transport = None  # type: ignore[assignment]  # set when made
        self._buffer: bytearray | None = None
        self._age = 0.0
        self._is_blocked = False
        self._is_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection."""
        self._wire = transport  # type: ignore[assignment]
        if self._listener.options.ssl_context is not None:
            tls = transport.get_extra_info("ssl_object")
            if tls is not None and tls.selected_alpn_protocol() == "h2":
                self._is_ended = True
                self._listener.speak_http2(self._wire)
                return
        self._listener.watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is gone."""
        self._listener.watch.discard(self)
        self._is_ended = True

    def pause_writing(self) -> None:
        """The client does not read what it is refused with: no more requests are read."""
        self._is_blocked = True
        self._age = 0.0
        self._wire.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_blocked = False
        self._age = 0.0
        self._wire.resume_reading()
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        """The first bytes, or more of them."""
        if self._is_ended:
            return
        if self._buffer is not None:
            self._buffer += data
            data = bytes(self._buffer)
        while data:
            if self._is_blocked:
                # No protocol takes a wire over that was full before: it would not be told.
                self._buffer = bytearray(data)
                return
            rest = self._look(data)
            if rest is None:
                return
            data = rest
        self._buffer = None
        self._age = 0.0

    def _look(self, data: bytes) -> bytes | None:
        """Handles the request that begins ``data``.

        Returns what follows it, or None if the connection went to another protocol, ended,
        or has to bring more bytes.
        """
        listener = self._listener
        parts = data.split(b" ", 2)
        if len(parts) < 3:
            if b"\n" in data:
                return self._pass_on(b"", data)
            self._wait(data)
            return None
        target = parts[1]
        if target == b"*" and parts[0] == b"PRI" and listener.options.h2c:
            listener.watch.discard(self)
            self._is_ended = True
            listener.speak_http2(self._wire, data)
            return None
        endpoint = listener.site.websocket(path_of(target))
        if endpoint is None:
            return self._pass_on(target, data)
        size = data.find(HEAD_END) + 4
        if size < 4:
            self._wait(data)
            return None
        limits = listener.options.http
        if size > limits.max_head_size:
            self._refuse(431)
            return None
        try:
            head = parse_head(data[:size], max_headers=limits.max_headers)
        except BadRequestHead as error:
            self._refuse(error.status)
            return None
        answer = endpoint.answer(head)
        rest = data[size:]
        wire = self._wire
        if isinstance(answer, PlainAnswer):
            self._write(answer, head)
            if head.has_body or not head.keep_alive or answer.close:
                self._end()
                return None
            return rest
        listener.watch.discard(self)
        self._is_ended = True
        if rest:
            # Frames before the 101 answer could be a smuggled request: not answered at all.
            wire.abort()
        else:
            endpoint.open(head, answer, wire)
        return None

    def _wait(self, data: bytes) -> None:
        if len(data) > self._listener.options.http.max_head_size:
            self._refuse(431)
        elif self._buffer is None or len(self._buffer) != len(data):
            self._buffer = bytearray(data)

    def _pass_on(self, target: bytes, data: bytes) -> bytes | None:
        self._listener.watch.discard(self)
        if self._listener.hand_over(self._wire, target, data):
            self._is_ended = True
            return None
        self._listener.watch.add(self)
        size = data.find(HEAD_END) + 4
        if size < 4:
            self._wait(data)
            return None
        limits = self._listener.options.http
        try:
            head = parse_head(data[:size], max_headers=limits.max_headers)
        except BadRequestHead as error:
            self._refuse(error.status)
            return None
        ends = head.has_body or not head.keep_alive
        answer = plain_error(404, _NOT_FOUND, close=ends)
        self._write(answer, head)
        if ends:
            self._end()
            return None
        return data[size:]

    def _write(self, answer: PlainAnswer, head: RequestHead) -> None:
        common = self._listener.watch.common_lines
        self._wire.write(answer.encode(common, with_body=head.method != "HEAD"))

    def _refuse(self, status: int) -> None:
        self._wire.write(plain_error(status, close=True).encode(self._listener.watch.common_lines))
        self._end()

    def _end(self) -> None:
        self._is_ended = True
        self._age = 0.0
        self._buffer = None
        close_gently(self._wire)

    def shutdown(self) -> None:
        """Nothing is under way here that would be worth waiting for."""
        self._is_ended = True
        self._wire.close()

    def abort(self) -> None:
        """Drops the connection."""
        self._wire.abort()

    def tick(self, seconds: float) -> None:
        """Called every ``seconds``: heads must come, and answers be taken, in time."""
        self._age += seconds
        limits = self._listener.options.http
        if self._age > (limits.write_timeout if self._is_blocked else limits.head_timeout):
            self._wire.abort()
