"""From configuration to objects: the only place that knows both.

A component takes a small options object of its own; these functions fill them in.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyball._version import __version__
from flyball.core.errors import ConfigError
from flyball.core.options import NodeOptions
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import Route
from flyball.http.routes import RequestCounts, RouteClash, Routes
from flyball.protocol.codes import DisconnectCode
from flyball.server.api.http import ApiHandler, HttpApiOptions
from flyball.server.auth.jwks import JwksClient
from flyball.server.auth.verifier import TokenVerifier
from flyball.server.channels import ChannelRules, ChannelRulesOptions, RpcRulesOptions
from flyball.server.client import ClientPolicyOptions, PersonalChannelOptions
from flyball.server.common.tls import ALPN, tls_server_context, tls_server_pem
from flyball.server.config.schema_server import (
    SSE,
    HTTPStream,
    UniHTTPStream,
    UniSSE,
    WebSocketCommon,
)
from flyball.server.http import DemoOptions, demo_routes, health_route, metrics_route
from flyball.server.metrics import process_registry
from flyball.transports.common.init import init_route
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.sockjs.endpoint import SockJsEndpoint
from flyball.transports.sockjs.sessions import SockJsOptions
from flyball.transports.sockjs.websocket import SockJsWebSocketEndpoint
from flyball.transports.streaming import endpoint as streaming
from flyball.transports.streaming.emulation import EmulationEndpoint
from flyball.transports.streaming.endpoint import Kind, StreamEndpoint, StreamOptions
from flyball.transports.websocket.endpoint import WebSocketEndpoint
from flyball.transports.websocket.uni import UniWebSocketEndpoint, UniWebSocketOptions

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.registry import Collector

    from flyball.aio.clock import Clock
    from flyball.core.node import Node
    from flyball.http.http3.listener import Http3Listener
    from flyball.server.acme import Autocert
    from flyball.server.api.service import ApiService
    from flyball.server.config import Config
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.unigrpc.listener import UniGrpcListener

VERSION = f"{__version__} OSS"
"""Told to clients in the connect result, in the form that SDKs know."""


def node_options(config: Config, *, port: int = 0) -> NodeOptions:
    """Limits and intervals of the node."""
    client = config.client
    transforms = client.connect_code_to_unidirectional_disconnect
    return NodeOptions(
        name=config.node.name or f"{platform.node()}_{port or config.http_server.port}",
        version=VERSION,
        ping_interval=max(client.ping_interval, 0.0),
        pong_timeout=max(client.pong_timeout, 0.0),
        stale_close_delay=max(client.stale_close_delay, 0.0),
        expired_close_delay=max(client.expired_close_delay, 0.0),
        expired_sub_close_delay=max(client.expired_sub_close_delay, 0.0),
        presence_update_interval=client.presence_update_interval,
        channel_limit=max(client.channel_limit, 0),
        channel_max_length=max(config.channel.max_length, 0),
        queue_max_size=client.queue_max_size,
        channel_position_check_delay=max(client.channel_position_check_delay, 0.0),
        channel_position_max_time_lag=max(client.channel_position_max_time_lag, 0.0),
        user_connection_limit=max(client.user_connection_limit, 0),
        history_max_publication_limit=max(client.history_max_publication_limit, 0),
        recovery_max_publication_limit=max(client.recovery_max_publication_limit, 0),
        history_meta_ttl=config.channel.history_meta_ttl,
        concurrency=client.concurrency,
        connect_include_server_time=client.connect_include_server_time,
        uni_connect_disconnects={
            t.code: DisconnectCode(t.to.code, t.to.reason) for t in transforms.transforms
        }
        if transforms.enabled
        else {},
    )


def channel_rules(config: Config) -> ChannelRules:
    """Namespaces and the way channel names are read."""
    channel = config.channel
    return ChannelRules(
        ChannelRulesOptions(
            without_namespace=channel.without_namespace,
            namespaces={n.name: n for n in channel.namespaces},
            boundary=channel.namespace_boundary,
            private_prefix=channel.private_prefix,
            user_boundary=channel.user_boundary,
            user_separator=channel.user_separator,
            max_length=channel.max_length,
            publication_data_format=channel.publication_data_format,
            history_meta_ttl=channel.history_meta_ttl,
        )
    )


def policy_options(config: Config) -> ClientPolicyOptions:
    """What holds for connections, whatever the channel."""
    client, rpc = config.client, config.rpc
    personal = client.subscribe_to_user_personal_channel
    return ClientPolicyOptions(
        insecure=client.insecure,
        allow_anonymous_connect_without_token=client.allow_anonymous_connect_without_token,
        disallow_anonymous_connection_tokens=client.disallow_anonymous_connection_tokens,
        user_id_http_header=client.user_id_http_header,
        personal_channel=PersonalChannelOptions(
            enabled=personal.enabled,
            namespace=personal.personal_channel_namespace,
            single_connection=personal.single_connection,
        ),
        rpc=RpcRulesOptions(
            without_namespace=rpc.without_namespace,
            namespaces={n.name: n for n in rpc.namespaces},
            boundary=rpc.namespace_boundary,
            ping_enabled=rpc.ping.enabled,
            ping_method=rpc.ping.method,
        ),
    )


def token_verifiers(
    config: Config, clock: Clock, jwks: JwksClient
) -> tuple[TokenVerifier, TokenVerifier | None]:
    """Verifiers of connection tokens and, if they have keys of their own, subscription tokens.

    Raises:
        ConfigError: a key or pattern is malformed.
    """
    client = config.client
    verify_signatures = not client.insecure_skip_token_signature_verify
    tokens = TokenVerifier(client.token, clock, jwks, verify_signatures=verify_signatures)
    if client.subscription_token_options is client.token:
        return tokens, None
    return tokens, TokenVerifier(
        client.subscription_token_options, clock, jwks, verify_signatures=verify_signatures
    )


def origin_policy(config: Config) -> OriginPolicy:
    """Which pages may connect."""
    return OriginPolicy(config.client.allowed_origins)


def client_routes(config: Config, node: Node, limits: ConnectionLimits) -> list[Route]:
    """The endpoints of all transports that are on."""
    return [
        *websocket_routes(config, node, limits),
        *stream_routes(config, node, limits),
        *sockjs_routes(config, node, limits),
    ]


def websocket_routes(config: Config, node: Node, limits: ConnectionLimits) -> list[Route]:
    """The WebSocket endpoints that are on."""
    origins = origin_policy(config)
    found = []
    if not config.websocket.disabled:
        options = WebSocketOptions(**_websocket_options(config, config.websocket))
        endpoint = WebSocketEndpoint(node, origins, options, limits)
        path = clean_path(config.websocket.handler_prefix)
        found.append(Route(path, upgrade=endpoint, option="websocket.handler_prefix"))
    uni = config.uni_websocket
    if uni.enabled:
        uni_options = UniWebSocketOptions(
            **_websocket_options(config, uni),
            join_push_messages=uni.join_push_messages,
            disable_closing_handshake=uni.disable_closing_handshake,
            disable_disconnect_push=uni.disable_disconnect_push,
        )
        uni_endpoint = UniWebSocketEndpoint(node, origins, uni_options, limits)
        path = clean_path(uni.handler_prefix)
        found.append(Route(path, upgrade=uni_endpoint, option="uni_websocket.handler_prefix"))
    return found


def clean_path(prefix: str) -> str:
    """An endpoint's path: as the original does, without a slash at its end."""
    return prefix.rstrip("/") or "/"


def sockjs_routes(config: Config, node: Node, limits: ConnectionLimits) -> list[Route]:
    """What SockJS serves, if it is on."""
    section = config.sockjs
    if not section.enabled:
        return []
    socket_options = WebSocketOptions(
        message_size_limit=section.message_size_limit,
        write_timeout=section.write_timeout,
        keep_headers=_kept_headers(config),
        keep_remote_addr=False,
    )
    socket = SockJsWebSocketEndpoint(node, origin_policy(config), socket_options, limits)
    options = SockJsOptions(
        url=section.url,
        message_size_limit=section.message_size_limit,
        write_timeout=section.write_timeout,
        keep_headers=_kept_headers(config),
    )
    endpoint = SockJsEndpoint(node, config.client.allowed_origins, options, limits)
    prefix, option = section.handler_prefix.rstrip("/"), "sockjs.handler_prefix"
    return [
        Route(f"{prefix}/*/*/websocket", upgrade=socket, option=option),
        *endpoint.routes(prefix, option),
    ]


def _websocket_options(config: Config, options: WebSocketCommon) -> dict[str, Any]:
    return {
        "message_size_limit": options.message_size_limit,
        "decompressed_message_size_limit": options.decompressed_message_size_limit,
        "compression": options.compression,
        "compression_level": options.compression_level,
        "compression_min_size": options.compression_min_size,
        "write_timeout": options.write_timeout,
        "keep_headers": _kept_headers(config),
        "keep_remote_addr": False,
    }


def websocket_streams(environ: Mapping[str, str]) -> bool:
    """Whether HTTP/2 clients are told that WebSocket connections may be streams (RFC 8441).

    The switch is the original's: ``http2xconnect=1`` in the variable ``GODEBUG``.
    """
    return "http2xconnect=1" in environ.get("GODEBUG", "").split(",")


def stream_routes(config: Config, node: Node, limits: ConnectionLimits) -> list[Route]:
    """The streaming endpoints that are on, and ``/emulation`` if they need it."""
    kinds: tuple[tuple[str, Kind, SSE | HTTPStream | UniSSE | UniHTTPStream], ...] = (
        ("sse", streaming.SSE, config.sse),
        ("http_stream", streaming.HTTP_STREAM, config.http_stream),
        ("uni_sse", streaming.UNI_SSE, config.uni_sse),
        ("uni_http_stream", streaming.UNI_HTTP_STREAM, config.uni_http_stream),
    )
    origins = origin_policy(config)
    found = []
    for name, kind, options in kinds:
        if options.enabled:
            endpoint = StreamEndpoint(node, kind, origins, _stream_options(config, options), limits)
            path = clean_path(options.handler_prefix)
            found.append(endpoint.route(path, f"{name}.handler_prefix"))
    if config.sse.enabled or config.http_stream.enabled:
        section = config.emulation
        emulation = EmulationEndpoint(node, origins, section.max_request_body_size)
        path = clean_path(section.handler_prefix)
        found.append(emulation.route(path, "emulation.handler_prefix"))
    return found


def init_routes(config: Config, limits: ConnectionLimits) -> list[Route]:
    """``/connection/init``, if it is on."""
    if not config.init.enabled:
        return []
    path, option = clean_path(config.init.handler_prefix), "init.handler_prefix"
    return [init_route(origin_policy(config), path, limits=limits, option=option)]


def api_routes(config: Config, service: ApiService) -> list[Route]:
    """The server API over HTTP, if it is on."""
    options = config.http_api
    if options.disabled:
        return []
    handler = ApiHandler(
        service,
        HttpApiOptions(
            prefix=options.handler_prefix,
            key=options.key,
            insecure=options.insecure,
            transport_errors=options.error_mode == "transport",
        ),
    )
    return handler.routes(internal=not options.external)


def operator_routes(config: Config, collector: Collector) -> list[Route]:
    """Health and metrics, if they are on."""
    found = []
    if config.health.enabled:
        found.append(health_route(clean_path(config.health.handler_prefix)))
    if config.prometheus.enabled:
        collectors = [collector, process_registry()]
        found.append(metrics_route(collectors, clean_path(config.prometheus.handler_prefix)))
    return found


def demo_page(config: Config) -> list[Route]:
    """The demo page, which is told of what is on."""
    token = config.client.token
    streams = [t for t in (config.http_stream, config.sse) if t.enabled]
    return demo_routes(
        DemoOptions(
            websocket_path="" if config.websocket.disabled else config.websocket.handler_prefix,
            http_stream_path=config.http_stream.handler_prefix
            if config.http_stream.enabled
            else "",
            sse_path=config.sse.handler_prefix if config.sse.enabled else "",
            emulation_path=config.emulation.handler_prefix if streams else "",
            api_path=config.http_api.handler_prefix,
            token_secret=token.hmac_secret_key,
            token_user_claim=token.user_id_claim or "sub",
        )
    )


def split_routes(
    rows: Iterable[Route], *, split: bool, counts: RequestCounts | None = None
) -> tuple[Routes, Routes]:
    """The tables of the external and the internal listener; the same one unless ``split``.

    Raises:
        ConfigError: two endpoints of a listener have the same path.
    """
    rows = list(rows)
    try:
        if not split:
            both = Routes(rows, counts=counts)
            return both, both
        external = [row for row in rows if not row.internal]
        internal = [row for row in rows if row.internal]
        return Routes(external, counts=counts), Routes(internal, counts=counts)
    except RouteClash as error:
        raise ConfigError(str(error)) from None


def _stream_options(
    config: Config, options: SSE | HTTPStream | UniSSE | UniHTTPStream
) -> StreamOptions:
    statuses = None
    if (
        isinstance(options, UniSSE | UniHTTPStream)
        and options.connect_code_to_http_response.enabled
    ):
        transforms = options.connect_code_to_http_response.transforms
        statuses = {t.code: (t.to.status_code, t.to.body) for t in transforms}
    return StreamOptions(
        max_request_body_size=options.max_request_body_size,
        keep_headers=_kept_headers(config),
        connect_statuses=statuses,
    )


def uni_grpc_listener(config: Config, node: Node, limits: ConnectionLimits) -> UniGrpcListener:
    """The port of the GRPC stream.

    Raises:
        ConfigError: GRPC is not installed, or a certificate or key is wrong.
    """
    try:
        from flyball.transports.unigrpc.listener import GrpcTls, UniGrpcListener, UniGrpcOptions
    except ImportError as error:
        message = f"uni_grpc.enabled: {error}; install the extra: pip install 'flyball[grpc]'"
        raise ConfigError(message) from None
    options = config.uni_grpc
    tls = None
    if options.tls.enabled:
        tls = GrpcTls(*tls_server_pem(options.tls, "uni_grpc.tls"))
    return UniGrpcListener(
        node,
        UniGrpcOptions(
            host=options.address,
            port=options.port,
            max_receive_message_size=options.max_receive_message_size,
            tls=tls,
            keep_headers=_kept_headers(config),
        ),
        limits,
    )


def http3_listener(
    config: Config,
    node: Node,
    limits: ConnectionLimits,
    routes: Routes,
    tcp_port: Callable[[], int],
) -> Http3Listener:
    """The UDP port of HTTP/3, beside the TLS port of the same number that serves ``routes``.

    Raises:
        ConfigError: HTTP/3 is not installed, or a certificate or key is wrong.
    """
    try:
        from flyball.http.http3.listener import Http3Listener, Http3Options
        from flyball.transports.webtransport import (
            WebTransportEndpoint,
            WebTransportOptions,
        )
    except ImportError as error:
        message = f"http_server.http3.enabled: {error}; install: pip install 'flyball[http3]'"
        raise ConfigError(message) from None
    server, options = config.http_server, config.webtransport
    key, certificate, _ = tls_server_pem(server.tls, "http_server.tls")
    webtransports = {}
    if options.enabled:
        endpoint = WebTransportEndpoint(
            node,
            origin_policy(config),
            WebTransportOptions(
                message_size_limit=options.message_size_limit,
                keep_headers=_kept_headers(config),
            ),
            limits,
        )
        webtransports[options.handler_prefix.rstrip("/")] = endpoint
    where = Http3Options(server.address, server.port, certificate, key)
    return Http3Listener(where, routes, webtransports=webtransports, beside=tcp_port)


def _kept_headers(config: Config) -> frozenset[str]:
    """Request headers (lower case) that sessions keep."""
    header = config.client.user_id_http_header
    return frozenset({header.lower()} if header else ())


def autocert(
    config: Config,
    clock: Clock,
    environ: Mapping[str, str] = os.environ,
    *,
    served: dict[str, float] | None = None,
) -> Autocert | None:
    """Automatic certificates for the TLS listeners, if they are on; ``served``: for metrics.

    ``FLYBALL_ACME_DIRECTORY`` in ``environ`` is the URL of another authority than Let's Encrypt,
    ``FLYBALL_ACME_CA_FILE`` a PEM file with the roots that its own certificate comes from.

    Raises:
        ConfigError: the ``acme`` extra is not installed, or a file or directory cannot be used.
    """
    options = config.http_server.tls_autocert
    if not options.enabled:
        return None
    from flyball.server.acme import LETS_ENCRYPT, Autocert, AutocertOptions, normal_host

    ca_file = environ.get("FLYBALL_ACME_CA_FILE", "")
    if ca_file and not Path(ca_file).is_file():
        raise ConfigError(f"FLYBALL_ACME_CA_FILE: there is no file {ca_file}")
    settings = AutocertOptions(
        hosts=tuple(dict.fromkeys(map(normal_host, options.host_whitelist))),
        cache_dir=options.cache_dir,
        email=options.email,
        server_name=normal_host(options.server_name) if options.server_name else "",
        http=options.http,
        directory=environ.get("FLYBALL_ACME_DIRECTORY", "") or LETS_ENCRYPT,
        ca_file=ca_file,
    )
    key = "http_server.tls_autocert"
    try:
        return Autocert(settings, clock=clock, served=served)
    except ImportError as error:
        message = f"{key}.enabled: {error}; install the extra: pip install 'flyball[acme]'"
        raise ConfigError(message) from None
    except OSError as error:
        message = f"{key}.cache_dir: {options.cache_dir}: {error.strerror or error}"
        raise ConfigError(message) from None


def challenge_listener(config: Config, autocert: Autocert) -> Listener:
    """The port for http-01 challenges; everything else there is sent to HTTPS."""
    from flyball.server.acme import split_address

    host, port = split_address(config.http_server.tls_autocert.http_addr)
    return Listener(ListenerOptions(host=host, port=port), Routes(autocert.challenge_routes()))


def tls_context(
    config: Config, autocert: Autocert | None, *, internal: bool
) -> ssl.SSLContext | None:
    """The TLS of the external or of a separate internal listener; None: without TLS.

    Raises:
        ConfigError: certificate or key is missing or wrong.
    """
    server = config.http_server
    if internal and server.internal_tls.enabled:
        return tls_server_context(server.internal_tls, "http_server.internal_tls")
    if internal and server.tls_external:
        return None
    if autocert is not None:
        return autocert.context(ALPN)
    return tls_server_context(server.tls) if server.tls.enabled else None
