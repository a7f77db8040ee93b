"""A port that speaks GRPC: what all services on such ports have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

# Before it is imported, by whoever serves GRPC, from here: its own lines on standard error are in
# nobody's log format.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from grpc import aio

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GrpcListener", "GrpcPlace", "GrpcTls", "aio", "grpc", "peer_address"]

MAX_MESSAGE_SIZE: Final = 4 * 1024 * 1024
"""Bytes of a request where nothing else is said."""
GRACE: Final = 5.0
"""Seconds that calls under way have when the port is closed."""

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 25_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.max_concurrent_streams", 100_000),
    ("grpc.max_metadata_size", 65_536),
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
class GrpcPlace:
    """Where and how to listen."""

    host: str = ""
    """Empty for all interfaces."""
    port: int = 0
    """0 for any free port, see :attr:`GrpcListener.port`."""
    reuse_port: bool = False
    """Several processes share the port (``SO_REUSEPORT``)."""
    max_receive_message_size: int = 0
    """Bytes of a request; 0 means 4 MiB."""
    tls: GrpcTls | None = None
    handshake_timeout: float = 10.0
    """Seconds for a new connection to greet: TLS, and the first settings of HTTP/2."""
    max_idle: float = 0.0
    """Seconds that a connection without a call may stay; 0 for ever."""

    @property
    def ssl_context(self) -> GrpcTls | None:
        """Truthy if the port speaks TLS (the name that other listeners have for it)."""
        return self.tls


class GrpcListener(ABC):
    """A port for services of bytes: they do their own reading and writing.

    Lives like :class:`~flyball.http.listener.Listener`: stop accepting, shut the node
    down, close.
    """

    def __init__(
        self, place: GrpcPlace, interceptors: Sequence[aio.ServerInterceptor] = ()
    ) -> None:
        """``interceptors`` see the metadata of a call before its message is read."""
        self._place = place
        self._interceptors = interceptors
        self._server: aio.Server | None = None
        self._stopping = False
        self.port: int = place.port
        """The port in use, once started."""

    @abstractmethod
    def _register(self, server: aio.Server) -> None:
        """Puts the services on a server that is about to start."""

    async def start(self) -> None:
        """Opens the port.

        Raises:
            OSError: it cannot be opened.
        """
        self._stopping = False
        place = self._place
        server = aio.server(options=_settings(place), interceptors=self._interceptors)
        self._register(server)
        host = f"[{place.host}]" if ":" in place.host else place.host or "[::]"
        address = f"{host}:{place.port}"
        try:
            if place.tls is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, _credentials(place.tls))
        except RuntimeError as error:
            raise OSError(0, "the port is in use, or not ours to open") from error
        await server.start()
        self._server = server

    def stop_accepting(self) -> None:
        """Refuses new calls; those under way go on."""
        self._stopping = True

    async def close(self, grace: float = GRACE) -> None:
        """Closes the port; calls under way have ``grace`` seconds."""
        self.stop_accepting()
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace)


def _settings(place: GrpcPlace) -> list[tuple[str, Any]]:
    size = place.max_receive_message_size or MAX_MESSAGE_SIZE
    settings: list[tuple[str, Any]] = [
        *_OPTIONS,
        ("grpc.max_receive_message_length", size),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", int(place.reuse_port)),
        ("grpc.server_handshake_timeout_ms", int(place.handshake_timeout * 1000)),
    ]
    if place.max_idle:
        settings.append(("grpc.max_connection_idle_ms", int(place.max_idle * 1000)))
    return settings


def _credentials(tls: GrpcTls) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)], tls.client_ca, require_client_auth=tls.client_ca is not None
    )


def peer_address(peer: str) -> str:
    """``ipv4:127.0.0.1:5000`` and ``ipv6:%5B::1%5D:5000`` as ``host:port``."""
    kind, _, address = peer.partition(":")
    return unquote(address) if kind in ("ipv4", "ipv6") else ""
