"""The UDP port of HTTP/3."""

from __future__ import annotations

import asyncio
import logging
import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import (
    DataReceived,
    H3Event,
    HeadersReceived,
    WebTransportStreamDataReceived,
)
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    ProtocolNegotiated,
    QuicEvent,
    StopSendingReceived,
    StreamReset,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flyball.transports.http3.webtransport import (
        WebTransportEndpoint,
        WebTransportTransport,
    )

logger = logging.getLogger("flyball.transports")

MAX_SESSIONS: Final = 16
"""WebTransport sessions on one QUIC connection; a page needs one."""
CLOSE_CAPSULE: Final = 0x2843
"""CLOSE_WEBTRANSPORT_SESSION (draft-ietf-webtrans-http3)."""
MAX_REASON: Final = 1024
"""Bytes of the reason in it."""


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

    @property
    def ssl_context(self) -> object | None:
        """Truthy: QUIC is always encrypted (the name that other listeners have for it)."""
        return self.certificate


class Http3Listener:
    """Serves WebTransport endpoints by their paths.

    Lives like :class:`~flyball.transports.listener.Listener`: stop accepting, shut the node
    down, close.
    """

    def __init__(
        self,
        options: Http3Options,
        webtransports: Mapping[str, WebTransportEndpoint],
        *,
        beside: Callable[[], int] | None = None,
    ) -> None:
        """``beside`` tells the TCP port whose number is taken if ``options`` name none."""
        self.options = options
        self._beside = beside
        self.port = options.port
        """The port in use, once started."""
        self.endpoints = {path.encode(): endpoint for path, endpoint in webtransports.items()}
        self.connections: set[Http3Protocol] = set()
        self.stopping = False
        self._server: QuicServer | None = None

    async def start(self) -> None:
        """Opens the port.

        Raises:
            OSError: it cannot be opened.
        """
        options = self.options
        first, *chain = load_pem_x509_certificates(options.certificate)
        configuration = QuicConfiguration(
            alpn_protocols=H3_ALPN,
            is_client=False,
            idle_timeout=options.idle_timeout,
            max_datagram_frame_size=65536,
            max_data=262_144,
            max_stream_data=131_072,
            certificate=first,
            certificate_chain=chain,
            private_key=load_pem_private_key(options.key, None),
        )
        loop = asyncio.get_running_loop()

        def create() -> QuicServer:
            # Addresses are validated first (Retry): a forged one cannot make us keep a state.
            return QuicServer(
                configuration=configuration,
                create_protocol=partial(Http3Protocol, self),
                retry=True,
            )

        port = options.port or (self._beside() if self._beside is not None else 0)
        host = options.host or ("::" if _has_ipv6() else "0.0.0.0")  # noqa: S104 - all, as told
        transport, server = await loop.create_datagram_endpoint(create, local_addr=(host, port))
        self._server = server
        self.port = transport.get_extra_info("sockname")[1]

    def stop_accepting(self) -> None:
        """Refuses new sessions; those that are open live on."""
        self.stopping = True

    async def close(self, grace: float = 1.5) -> None:
        """Ends all connections and closes the port.

        Sessions that the node ended have ``grace`` seconds to tell their clients.
        """
        self.stop_accepting()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while any(c.sessions for c in self.connections) and loop.time() < deadline:  # noqa: ASYNC110 - many connections, no common event
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.close(ErrorCode.H3_NO_ERROR, "the server is shutting down")
            connection.forget()
        server, self._server = self._server, None
        if server is not None:
            server.close()


def _has_ipv6() -> bool:
    import socket

    return socket.has_dualstack_ipv6()


class Http3Protocol(QuicConnectionProtocol):
    """One QUIC connection."""

    def __init__(self, listener: Http3Listener, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listener = listener
        self._http: H3Connection | None = None
        self._is_lost = False
        self.sessions: dict[int, WebTransportTransport] = {}
        """WebTransport sessions by the stream of their request."""
        if len(listener.connections) >= listener.options.max_connections:
            self._quic.close(error_code=0x2, reason_phrase="too many connections")
        listener.connections.add(self)

    # -- input

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """A packet from the client."""
        super().datagram_received(data, addr)
        for session in list(self.sessions.values()):
            session.acknowledged()

    def quic_event_received(self, event: QuicEvent) -> None:
        """What a packet, or time, has brought."""
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic, enable_webtransport=True)
        elif isinstance(event, ConnectionTerminated):
            self.forget()
            return
        elif isinstance(event, StreamReset | StopSendingReceived):
            self._stream_reset(event.stream_id)
        if self._http is not None and not self._is_lost:
            for happened in self._http.handle_event(event):
                self._on_http(happened)

    def _on_http(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self._on_request(event)
        elif isinstance(event, WebTransportStreamDataReceived):
            session = self.sessions.get(event.session_id)
            if session is None:
                self.reset(event.stream_id)
            elif event.stream_id & 2 or event.stream_id & 1:
                pass  # unidirectional, or ours: nothing to read for us
            else:
                session.stream_data(event.stream_id, event.data, ended=event.stream_ended)
        elif isinstance(event, DataReceived) and event.stream_ended:
            self._session_ended(event.stream_id)

    def _on_request(self, event: HeadersReceived) -> None:
        headers = dict(event.headers)
        path, _, query = headers.get(b":path", b"").partition(b"?")
        endpoint = self._listener.endpoints.get(path)
        if event.stream_id in self.sessions:
            return  # trailers
        if endpoint is None:
            self._answer(event.stream_id, 404)
        elif headers.get(b":method") != b"CONNECT":
            self._answer(event.stream_id, 405)
        elif headers.get(b":protocol") != b"webtransport":
            self._answer(event.stream_id, 400)
        elif self._listener.stopping or len(self.sessions) >= MAX_SESSIONS:
            self._answer(event.stream_id, 503)
        else:
            text = {
                n.decode("latin-1"): v.decode("latin-1")
                for n, v in headers.items()
                if not n.startswith(b":")
            }
            text["host"] = headers.get(b":authority", b"").decode("latin-1")
            status = endpoint.check(text)
            if status != 200:
                self._answer(event.stream_id, status)
                return
            assert self._http is not None
            answer = [(b":status", b"200"), (b"sec-webtransport-http3-draft", b"draft02")]
            self._http.send_headers(event.stream_id, answer)
            self.sessions[event.stream_id] = endpoint.open(
                self, event.stream_id, text, query.decode("latin-1"), self._address()
            )

    def _address(self) -> str:
        paths = self._quic._network_paths
        if not paths:
            return ""
        host, port = paths[0].addr[0].removeprefix("::ffff:"), paths[0].addr[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _answer(self, stream_id: int, status: int) -> None:
        assert self._http is not None
        self._http.send_headers(stream_id, [(b":status", b"%d" % status)], end_stream=True)

    def _stream_reset(self, stream_id: int) -> None:
        for session in list(self.sessions.values()):
            if session.uses(stream_id):
                session.lost()
                self.end_session(session.session_id, 0, "")
                return
        self._session_ended(stream_id)

    def _session_ended(self, session_id: int) -> None:
        session = self.sessions.pop(session_id, None)
        if session is not None:
            session.lost()
            self.write(session_id, b"", end=True)

    def forget(self) -> None:
        """The connection is gone."""
        self._is_lost = True
        self._listener.connections.discard(self)
        sessions, self.sessions = self.sessions, {}
        for session in sessions.values():
            session.lost()

    # -- output, for sessions

    def write(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Sends on a stream, later in this turn of the loop."""
        if self._is_lost:
            return
        try:
            self._quic.send_stream_data(stream_id, data, end)
        except AssertionError:
            return  # the stream was ended or reset meanwhile
        self._transmit_soon()

    def unsent(self, stream_id: int) -> int:
        """Bytes that the client has not acknowledged."""
        stream = self._quic._streams.get(stream_id)
        return 0 if stream is None else len(stream.sender._buffer)

    def reset(self, stream_id: int) -> None:
        """Ends a stream at once; what is unsent is lost."""
        if self._is_lost or stream_id < 0:
            return
        try:
            self._quic.stop_stream(stream_id, ErrorCode.H3_NO_ERROR)
            self._quic.reset_stream(stream_id, ErrorCode.H3_NO_ERROR)
        except (AssertionError, ValueError):
            pass  # it is over already, in one direction or both
        self._transmit_soon()

    def end_session(self, session_id: int, code: int, reason: str) -> None:
        """Ends a WebTransport session with a capsule."""
        self.sessions.pop(session_id, None)
        if self._is_lost or self._http is None:
            return
        value = struct.pack(">I", code) + reason.encode()[:MAX_REASON]
        capsule = _varint(CLOSE_CAPSULE) + _varint(len(value)) + value
        try:
            self._http.send_data(session_id, capsule, end_stream=True)
        except Exception as error:  # noqa: BLE001 - the library's own kinds; the stream is over
            logger.debug("a session's end could not be told: %s", error)
        self._transmit_soon()


def _varint(value: int) -> bytes:
    """RFC 9000, section 16, up to 30 bits."""
    if value < 0x40:
        return bytes((value,))
    if value < 0x4000:
        return struct.pack(">H", value | 0x4000)
    return struct.pack(">I", value | 0x80000000)
