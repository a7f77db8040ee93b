"""Listeners, transports, API, admin and what is around them."""

from __future__ import annotations

from flyball.server.common.levels import LEVELS
from flyball.server.common.option import Duration, UInt32, many, nested, opt, section
from flyball.server.common.tls import TLSConfig
from flyball.server.config.schema_common import TLSAutocert

ERROR_MODES = ("", "transport")

_PREFIX = "Path of the endpoint."
_BODY = "Most bytes of a request body."


@section
class HTTP3:
    """HTTP/3 on the external listener."""

    enabled: bool = opt(False, "Serve HTTP/3; needs TLS.")


@section
class HTTPServer:
    """Addresses and TLS of the HTTP listeners."""

    address: str = opt("", "Interface to listen on; empty means all.", flag=True, short="-a")
    port: int = opt(8000, "Port of client connections.", flag=True, short="-p")
    internal_address: str = opt(
        "", "Interface of internal endpoints; empty takes address.", flag=True
    )
    internal_port: str = opt(
        "", "Port of internal endpoints (API, admin, metrics, ...); empty takes port.", flag=True
    )
    tls: TLSConfig = nested(TLSConfig, "TLS of the listeners.")
    tls_autocert: TLSAutocert = nested(TLSAutocert, "Certificates by ACME.")
    tls_external: bool = opt(False, "Use TLS on the external listener only.")
    internal_tls: TLSConfig = nested(TLSConfig, "TLS of the internal listener.")
    http3: HTTP3 = nested(HTTP3, "HTTP/3 on the external listener.")
    h2c_external: bool = opt(False, "Serve HTTP/2 without TLS on the external listener.")
    workers: int = opt(
        1, "Processes that share the ports and act as one.", flag=True, short="--workers"
    )

    @property
    def external(self) -> tuple[str, str]:
        """Interface and port of client connections."""
        return self.address, str(self.port)

    @property
    def internal(self) -> tuple[str, str]:
        """Interface and port of internal endpoints; by default those of client connections."""
        port = self.internal_port
        number = str(int(port)) if port.isascii() and port.isdecimal() else port
        return self.internal_address or self.address, number or str(self.port)

    @property
    def is_split(self) -> bool:
        """Whether internal endpoints have a listener of their own."""
        return self.internal != self.external


@section
class Log:
    """Logging."""

    level: str = opt("info", "Lowest level that is logged.", allowed=tuple(LEVELS), flag=True)
    file: str = opt("", "Log into this file, not to the terminal.", flag=True)


@section
class HttpAPI:
    """Server API over HTTP."""

    disabled: bool = opt(False, "Switch the API off.")
    handler_prefix: str = opt("/api", _PREFIX)
    key: str = opt("", "Key that callers must present.", secret=True)
    error_mode: str = opt(
        "", "transport answers errors by HTTP status; empty in the body.", allowed=ERROR_MODES
    )
    external: bool = opt(False, "Serve the API on the external listener.", flag=True)
    insecure: bool = opt(False, "Accept callers without a key.", flag=True, insecure=True)


@section
class GrpcAPI:
    """Server API over GRPC."""

    enabled: bool = opt(False, "Switch the API on.", flag=True)
    error_mode: str = opt(
        "", "transport answers errors by GRPC status; empty in the body.", allowed=ERROR_MODES
    )
    address: str = opt("", "Interface to listen on; empty means all.")
    port: int = opt(10000, "Port.", flag=True)
    key: str = opt("", "Key that callers must present.", secret=True)
    tls: TLSConfig = nested(TLSConfig, "TLS of the listener.")
    reflection: bool = opt(False, "Serve GRPC reflection.")
    max_receive_message_size: int = opt(0, "Most bytes of a request; 0 means 4 MiB.")


@section
class WebSocketCommon:
    """What both WebSocket transports share."""

    compression: bool = opt(False, "Negotiate permessage-deflate.")
    compression_min_size: int = opt(0, "Smallest message that is compressed, in bytes.")
    compression_level: int = opt(1, "Level of compression.")
    read_buffer_size: int = opt(0, "Size of read buffers; 0 leaves it to the server.")
    use_write_buffer_pool: bool = opt(False, "Share write buffers between connections.")
    write_buffer_size: int = opt(0, "Size of write buffers; 0 leaves it to the server.")
    write_timeout: Duration = opt(1.0, "Longest duration of a write.")
    message_size_limit: int = opt(65536, "Most bytes of a message from a client.")
    decompressed_message_size_limit: int = opt(
        0, "Most bytes of a message after decompression; 0 means no limit of its own."
    )


@section
class WebSocket(WebSocketCommon):
    """Bidirectional WebSocket transport."""

    disabled: bool = opt(False, "Switch the transport off.", first=True)
    handler_prefix: str = opt("/connection/websocket", _PREFIX, first=True)


@section
class UniWebSocket(WebSocketCommon):
    """Unidirectional WebSocket transport."""

    enabled: bool = opt(False, "Switch the transport on.", flag=True, first=True)
    handler_prefix: str = opt("/connection/uni_websocket", _PREFIX, first=True)
    disable_closing_handshake: bool = opt(False, "Close without a close frame.")
    disable_disconnect_push: bool = opt(False, "Send no disconnect push before closing.")
    join_push_messages: bool = opt(False, "Send several pushes in one frame.")


@section
class SSE:
    """Bidirectional transport over server-sent events and emulation."""

    enabled: bool = opt(False, "Switch the transport on.", flag=True)
    handler_prefix: str = opt("/connection/sse", _PREFIX)
    max_request_body_size: int = opt(65536, _BODY)


@section
class HTTPStream:
    """Bidirectional transport over HTTP streaming and emulation."""

    enabled: bool = opt(False, "Switch the transport on.", flag=True)
    handler_prefix: str = opt("/connection/http_stream", _PREFIX)
    max_request_body_size: int = opt(65536, _BODY)


@section
class SockJS:
    """Bidirectional transport that falls back from WebSocket to plain HTTP (SockJS)."""

    enabled: bool = opt(False, "Switch the transport on.", flag=True)
    handler_prefix: str = opt("/connection/sockjs", "Start of the paths of the endpoint.")
    url: str = opt(
        "https://cdn.jsdelivr.net/npm/sockjs-client@1.6.1/dist/sockjs.min.js",
        "Script of the SockJS client that the iframe page loads.",
    )
    message_size_limit: int = opt(65536, "Most bytes of a message from a client.")
    write_timeout: Duration = opt(1.0, "Longest duration of a write.")


@section
class WebTransport:
    """Bidirectional transport over WebTransport; needs HTTP/3."""

    enabled: bool = opt(False, "Switch the transport on.")
    handler_prefix: str = opt("/connection/webtransport", _PREFIX)
    message_size_limit: int = opt(65536, "Most bytes of a message from a client.")


@section
class ConnectResponse:
    """An HTTP answer."""

    status_code: int = opt(0, "HTTP status.")
    body: str = opt("", "Body of the answer.")


@section
class ConnectResponseTransform:
    """HTTP answer for one connect error or disconnect code."""

    code: UInt32 = opt(0, "Error or disconnect code of connect.")
    to: ConnectResponse = nested(ConnectResponse, "Answer sent instead.")


@section
class ConnectResponseTransforms:
    """Connect errors turned into HTTP answers."""

    enabled: bool = opt(False, "Use the transforms.")
    transforms: tuple[ConnectResponseTransform, ...] = many(
        ConnectResponseTransform, "Codes and their answers."
    )


@section
class UniSSE:
    """Unidirectional transport over server-sent events."""

    enabled: bool = opt(False, "Switch the transport on.", flag=True)
    handler_prefix: str = opt("/connection/uni_sse", _PREFIX)
    max_request_body_size: int = opt(65536, _BODY)
    connect_code_to_http_response: ConnectResponseTransforms = nested(
        ConnectResponseTransforms, "Connect errors as HTTP answers."
    )


@section
class UniHTTPStream:
    """Unidirectional transport over HTTP streaming."""

    enabled: bool = opt(False, "Switch the transport on.", flag=True)
    handler_prefix: str = opt("/connection/uni_http_stream", _PREFIX)
    max_request_body_size: int = opt(65536, _BODY)
    connect_code_to_http_response: ConnectResponseTransforms = nested(
        ConnectResponseTransforms, "Connect errors as HTTP answers."
    )


@section
class UniGRPC:
    """Unidirectional transport over GRPC."""

    enabled: bool = opt(False, "Switch the transport on.", flag=True)
    address: str = opt("", "Interface to listen on; empty means all.")
    port: int = opt(11000, "Port.", flag=True)
    max_receive_message_size: int = opt(0, "Most bytes of a request; 0 means 4 MiB.")
    tls: TLSConfig = nested(TLSConfig, "TLS of the listener.")


@section
class Emulation:
    """Endpoint for commands of clients on SSE and HTTP streaming."""

    handler_prefix: str = opt("/emulation", _PREFIX)
    max_request_body_size: int = opt(65536, _BODY)


@section
class Admin:
    """Web interface for operators."""

    enabled: bool = opt(False, "Serve the web interface.", flag=True)
    handler_prefix: str = opt("", _PREFIX)
    password: str = opt("", "Password of the operator.", secret=True)
    secret: str = opt("", "Secret that signs the operator's session.", secret=True)
    insecure: bool = opt(False, "Ask for no password.", flag=True, insecure=True)
    web_path: str = opt("", "Directory with another web interface to serve.")
    web_proxy_address: str = opt("", "Address of another web interface to pass requests to.")
    external: bool = opt(False, "Serve it on the external listener.", flag=True)


@section
class Prometheus:
    """Metrics."""

    enabled: bool = opt(False, "Serve metrics.", flag=True)
    handler_prefix: str = opt("/metrics", _PREFIX)
    instrument_http_handlers: bool = opt(False, "Count HTTP requests by path and status.")
    recovered_publications_histogram: bool = opt(
        False, "Record how many publications recoveries bring."
    )
    native_histograms: bool = opt(False, "Use native histograms in place of summaries.")


@section
class Health:
    """Endpoint that says the server is up."""

    enabled: bool = opt(False, "Serve it.", flag=True)
    handler_prefix: str = opt("/health", _PREFIX)


@section
class Swagger:
    """Interactive documentation of the server API."""

    enabled: bool = opt(False, "Serve it.", flag=True)
    handler_prefix: str = opt("/swagger", _PREFIX)


@section
class Debug:
    """Profiles of the running process."""

    enabled: bool = opt(False, "Serve them.", flag=True)
    handler_prefix: str = opt("/debug/pprof", _PREFIX)


@section
class ConnectionInit:
    """Endpoint that lets load balancers set affinity cookies."""

    enabled: bool = opt(False, "Serve it.", flag=True)
    handler_prefix: str = opt("/connection/init", _PREFIX)


@section
class OpenTelemetry:
    """Traces; the exporter is set up by the standard OTEL_* variables."""

    enabled: bool = opt(False, "Send traces.")
    api: bool = opt(False, "Trace server API calls.")
    consuming: bool = opt(False, "Trace consumers.")
    google_cloud_adc_auth: bool = opt(
        False, "Authenticate the exporter with Google's application default credentials."
    )


@section
class Graphite:
    """Metrics pushed to Graphite."""

    enabled: bool = opt(False, "Push metrics.")
    host: str = opt("localhost", "Host of Graphite.")
    port: int = opt(2003, "Port of Graphite's plain text protocol.")
    prefix: str = opt("centrifugo", "Start of all names.")
    interval: Duration = opt(10.0, "Time between pushes.")
    tags: bool = opt(False, "Send labels as tags.")


@section
class UsageStats:
    """Accepted for compatibility: nothing is ever reported to anyone."""

    disabled: bool = opt(False, "Has no effect: no usage statistics are sent.")


@section
class NodeConfig:
    """The process among its peers."""

    name: str = opt("", "Name of the node; empty makes one of host name and port.")
    info_metrics_aggregate_interval: Duration = opt(
        60.0, "Period over which the metrics in node info are aggregated."
    )


@section
class Shutdown:
    """Graceful shutdown."""

    timeout: Duration = opt(30.0, "Longest duration of a graceful shutdown.")
