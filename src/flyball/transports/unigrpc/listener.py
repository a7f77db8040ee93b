"""The port of the GRPC stream."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

# Before it is imported: its own lines on standard error are in nobody's log format.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from grpc import aio

from flyball.protocol.client import CLIENT
from flyball.protocol.codec import DecodeError
from flyball.protocol.messages import ConnectRequest
from flyball.transports.unigrpc.transport import UniGrpcTransport

if TYPE_CHECKING:
    from flyball.core.node import Node
    from flyball.transports.common.limits import ConnectionLimits

logger: Final = logging.getLogger("flyball.transports")

SERVICE: Final = "centrifugal.centrifugo.unistream.CentrifugoUniStream"
METHOD: Final = "Consume"
GRACE: Final = 5.0
"""Seconds that streams have for their last messages when the port is closed."""

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 25_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.max_concurrent_streams", 100_000),
    ("grpc.max_metadata_size", 65_536),
    ("grpc.max_connection_idle_ms", 60_000),
)
"""Keep-alive of both sides (transports reference, section 7), and bounds."""


@dataclass(frozen=True, slots=True)
class GrpcTls:
    """Certificates as PEM."""

    key: bytes
    certificate: bytes
    """With the chain behind it, if there is one."""
    client_ca: bytes | None = None
    """Clients must show a certificate of one of these authorities."""


@dataclass(frozen=True, slots=True)
class UniGrpcOptions:
    """Where and how to listen."""

    host: str = ""
    """Empty for all interfaces."""
    port: int = 11000
    """0 for any free port, see :attr:`UniGrpcListener.port`."""
    reuse_port: bool = False
    """Several processes share the port (``SO_REUSEPORT``)."""
    max_receive_message_size: int = 0
    """Bytes of a request; 0 means 4 MiB."""
    tls: GrpcTls | None = None
    handshake_timeout: float = 10.0
    """Seconds for a new connection to greet: TLS, and the first settings of HTTP/2."""
    keep_headers: frozenset[str] | None = None
    """Metadata (lower case) that sessions keep as headers; None: all that is text."""

    @property
    def ssl_context(self) -> GrpcTls | None:
        """Truthy if the port speaks TLS (the name that other listeners have for it)."""
        return self.tls


class UniGrpcListener:
    """Serves ``Consume`` to clients that have no SDK, only stubs.

    Lives like :class:`~flyball.http.listener.Listener`: stop accepting, shut the node
    down, close.
    """

    def __init__(
        self,
        node: Node,
        options: UniGrpcOptions | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self.options: UniGrpcOptions = options or UniGrpcOptions()
        self._node = node
        self._limits = limits
        self._server: aio.Server | None = None
        self._stopping = False
        self.port: int = self.options.port
        """The port in use, once started."""

    async def start(self) -> None:
        """Opens the port.

        Raises:
            OSError: it cannot be opened.
        """
        self._stopping = False
        options = self.options
        size = options.max_receive_message_size or 4 * 1024 * 1024
        settings: list[tuple[str, Any]] = [*_OPTIONS, ("grpc.max_receive_message_length", size)]
        settings.append(("grpc.so_reuseport", int(options.reuse_port)))
        handshake_ms = int(options.handshake_timeout * 1000)
        settings.append(("grpc.server_handshake_timeout_ms", handshake_ms))
        server = aio.server(options=settings)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(
            self._consume
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
        )
        host = f"[{options.host}]" if ":" in options.host else options.host or "[::]"
        address = f"{host}:{options.port}"
        try:
            if options.tls is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, _credentials(options.tls))
        except RuntimeError as error:
            raise OSError(0, "the port is in use, or not ours to open") from error
        await server.start()
        self._server = server

    def stop_accepting(self) -> None:
        """Refuses new streams; those that are open live on."""
        self._stopping = True

    async def close(self, grace: float = GRACE) -> None:
        """Closes the port; streams under way have ``grace`` seconds (the node ends them)."""
        self.stop_accepting()
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace)

    # -- calls

    async def _consume(self, request: bytes, context: aio.ServicerContext[bytes, bytes]) -> None:
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if self._limits is not None and not self._limits.admits():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "too many connections")
        try:
            connect = CLIENT.protobuf.read(ConnectRequest, request)
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"ConnectRequest: {error}")
            return
        transport = UniGrpcTransport(self._node)
        session = self._node.open_session(transport, self._headers(context), _peer(context.peer()))
        session.connect_unidirectional(connect)
        try:
            await transport.run(context.write)
        except asyncio.CancelledError:
            if not context.cancelled():
                logger.debug("a GRPC stream was cut: %s", context.peer())
            raise
        except aio.UsageError:
            pass  # the client ended the call while something was being written

    def _headers(self, context: aio.ServicerContext[bytes, bytes]) -> dict[str, str] | None:
        keep = self.options.keep_headers
        found = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str) and (keep is None or key in keep)
        }
        return found or None


def _credentials(tls: GrpcTls) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)], tls.client_ca, require_client_auth=tls.client_ca is not None
    )


def _peer(peer: str) -> str:
    """``ipv4:127.0.0.1:5000`` and ``ipv6:%5B::1%5D:5000`` as ``host:port``."""
    kind, _, address = peer.partition(":")
    return unquote(address) if kind in ("ipv4", "ipv6") else ""
