"""Settings of one backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from flyball.core.errors import Disconnect, Error

__all__ = ["BackendOptions", "GrpcOptions", "HttpOptions"]


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What holds for an ``http://`` or ``https://`` endpoint."""

    url: str
    """Where every question is posted to."""
    timeout: float = 1.0
    """Seconds for a whole exchange."""
    tls: ssl.SSLContext | None = None
    """For ``https://``; None: the system's roots."""
    server_name: str = ""
    """Expected in the certificate, if it is not the host of the URL."""
    transforms: Mapping[int, Error | Disconnect] = field(default_factory=dict)
    """Status codes that are answers to the client."""


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """What holds for a GRPC endpoint."""

    target: str
    """``host:port``."""
    timeout: float = 1.0
    """Seconds for an answer; of a stream, for its first message."""
    tls: bool = False
    root_certificates: bytes | None = None
    """PEM; None: the system's roots."""
    private_key: bytes | None = None
    certificate: bytes | None = None
    server_name: str = ""
    """Expected in the certificate, if it is not the host of the target."""
    compression: bool = False
    """Questions are compressed (gzip)."""
    credentials: tuple[str, str] | None = None
    """Key and value that are added to the metadata of each question."""


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What a backend is told, and how much of it is asked at a time."""

    name: str
    """In metrics: ``default``, or that of an entry of ``proxies``."""
    key: str
    """Path of its options, for messages."""
    endpoint: str
    """As configured, for messages."""
    transport: HttpOptions | GrpcOptions
    """How it is reached."""
    static: Mapping[str, str] = field(default_factory=dict)
    """Headers, or metadata, of each question."""
    headers: tuple[str, ...] = ()
    """Headers of the client's own request to pass on, lower case."""
    metadata: tuple[str, ...] = ()
    """Keys of a GRPC client's metadata to pass on, lower case."""
    emulated_headers: tuple[str, ...] = ()
    """Names in the client's ``headers`` map to pass on, lower case."""
    binary_encoding: bool = False
    """Payloads are sent in base64."""
    include_meta: bool = False
    """The connection's meta is sent."""
    max_in_flight: int = 512
    """Questions under way at a time; others wait."""
    max_waiting: int = 20_000
    """Questions that may wait; more are refused at once."""
    max_wait: float = 10.0
    """Seconds for which a question may wait."""
    max_streams: int = 20_000
    """Streams into subscriptions that are open at a time; more are refused."""
