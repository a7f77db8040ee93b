"""The ports: what is served on which, with whose certificates."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flyball.core.errors import ConfigError
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.routes import RouteClash, Routes
from flyball.server.build.errors import Refusals
from flyball.server.build.proxies import forwarded_metadata
from flyball.server.build.transports import kept_headers
from flyball.server.common.tls import ALPN, tls_server_context, tls_server_pem
from flyball.server.ports import Port

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping

    from flyball.aio.clock import Clock
    from flyball.core.node import Node
    from flyball.http.http3.listener import Http3Listener, SharedSocket
    from flyball.http.routes import RequestCounts, Route
    from flyball.server.acme import Autocert
    from flyball.server.api.grpc import GrpcApi
    from flyball.server.api.service import ApiService
    from flyball.server.common.worker_place import WorkerPlace
    from flyball.server.config import Config
    from flyball.server.config.schema_server import GrpcAPI, UniGRPC
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.common.origin import OriginPolicy
    from flyball.transports.unigrpc.listener import UniGrpcListener

EXTERNAL_KEYS: Final = "http_server.address and http_server.port"
INTERNAL_KEYS: Final = "http_server.internal_address and http_server.internal_port"


@dataclass(frozen=True, slots=True)
class Served:
    """What the ports have in common."""

    node: Node
    api: ApiService
    limits: ConnectionLimits
    origins: OriginPolicy
    """Which pages may connect."""
    rows: tuple[Route, ...]
    """All endpoints over HTTP."""
    counts: RequestCounts
    """Filled with the requests of each, where that is wanted."""
    autocert: Autocert | None
    """Certificates of the TLS ports, if they are automatic."""
    on_no_files: Callable[[], None] = lambda: None
    """Called for each connection that is refused for want of file descriptors."""
    worker: WorkerPlace | None = None
    """This process among those that listen on the same ports (``SO_REUSEPORT``); None: alone."""
    for_workers: tuple[Route, ...] = ()
    """What only those ask for, over a socket of this one."""

    @property
    def share_ports(self) -> bool:
        """Other processes listen on the same ports."""
        return self.worker is not None


def ports(config: Config, served: Served) -> list[Port]:
    """All ports; that of client connections is the first.

    Raises:
        ConfigError: two endpoints have the same path, or a certificate is wrong.
    """
    server = config.http_server
    counts = served.counts if config.prometheus.instrument_http_handlers else None
    external, internal = split_routes(served.rows, split=server.is_split, counts=counts)
    first = _http_listener(config, served, external, internal=False)
    purpose = "external" if server.is_split else "external and internal"
    found, refused = [Port(first, purpose, EXTERNAL_KEYS)], Refusals()
    if server.is_split:
        second = _http_listener(config, served, internal, internal=True)
        found.append(Port(second, "internal", INTERNAL_KEYS))
    if server.http3.enabled:
        http3 = refused.of(
            lambda: _http3_listener(config, served, external, lambda: first.port), lambda: None
        )
        if http3 is not None:
            found.append(Port(http3, "external over HTTP/3", f"{EXTERNAL_KEYS}, over UDP"))
    if served.autocert is not None and server.tls_autocert.http:
        challenges = _challenge_listener(config, served, served.autocert)
        key = "http_server.tls_autocert.http_addr"
        found.append(Port(challenges, "ACME challenges", key))
    if config.grpc_api.enabled:
        api = refused.of(lambda: _grpc_api(config, served), lambda: None)
        if api is not None:
            found.append(Port(api, "grpc_api", "grpc_api.address and grpc_api.port"))
    if config.uni_grpc.enabled:
        grpc = refused.of(lambda: _uni_grpc_listener(config, served), lambda: None)
        if grpc is not None:
            found.append(Port(grpc, "uni_grpc", "uni_grpc.address and uni_grpc.port"))
    refused.tell()
    if served.worker is not None:
        own = _worker_listener(served, served.worker)
        found.append(Port(own, "other workers", "http_server.workers"))
    return found


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
        key = f"{error.option}: " if error.option else ""
        raise ConfigError(f"{key}{error}") from None


def _http_listener(config: Config, served: Served, routes: Routes, *, internal: bool) -> Listener:
    server = config.http_server
    host, port = server.internal if internal else server.external
    options = ListenerOptions(
        host=host,
        port=int(port),
        ssl_context=tls_context(config, served.autocert, internal=internal),
        h2c=not internal and server.h2c_external,
        # As the original: not while HTTP/3 is there for WebTransport, whose clients know.
        announce_http3=not internal and server.http3.enabled and not config.webtransport.enabled,
        websocket_streams=not internal and websocket_streams(os.environ),
        reuse_port=served.share_ports,
    )
    node = served.node
    return Listener(options, routes, node.timers, held=node.held, on_no_files=served.on_no_files)


def _worker_listener(served: Served, worker: WorkerPlace) -> Listener:
    """The socket at which the other workers ask this one."""
    node, options = served.node, ListenerOptions(path=str(worker.socket))
    return Listener(options, Routes(served.for_workers), node.timers, held=node.held)


def websocket_streams(environ: Mapping[str, str]) -> bool:
    """Whether HTTP/2 clients are told that WebSocket connections may be streams (RFC 8441).

    The switch is the original's: ``http2xconnect=1`` in the variable ``GODEBUG``.
    """
    return "http2xconnect=1" in environ.get("GODEBUG", "").split(",")


def _http3_listener(
    config: Config, served: Served, routes: Routes, tcp_port: Callable[[], int]
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
            served.node,
            served.origins,
            WebTransportOptions(
                message_size_limit=options.message_size_limit,
                keep_headers=kept_headers(config),
            ),
            served.limits,
        )
        webtransports[options.handler_prefix.rstrip("/")] = endpoint
    where = Http3Options(
        server.address, server.port, certificate, key, shared=_shared_socket(served.worker)
    )
    return Http3Listener(
        where,
        routes,
        webtransports=webtransports,
        beside=tcp_port,
        timers=served.node.timers,
        held=served.node.held,
    )


def _shared_socket(worker: WorkerPlace | None) -> SharedSocket | None:
    from flyball.http.http3.listener import SharedSocket

    if worker is None or worker.udp < 0:
        return None
    return SharedSocket(worker.udp, worker.number - 1, worker.count)


def _uni_grpc_listener(config: Config, served: Served) -> UniGrpcListener:
    """The port of the GRPC stream.

    Raises:
        ConfigError: GRPC is not installed, or a certificate or key is wrong.
    """
    try:
        from flyball.transports.unigrpc.listener import UniGrpcListener, UniGrpcOptions
    except ImportError as error:
        raise _no_grpc("uni_grpc", error) from None
    keep = kept_headers(config) | forwarded_metadata(config)
    place = _grpc_place("uni_grpc", config.uni_grpc, served)
    return UniGrpcListener(served.node, UniGrpcOptions(**place, keep_headers=keep), served.limits)


def _grpc_api(config: Config, served: Served) -> GrpcApi:
    """The port of the server API over GRPC.

    Raises:
        ConfigError: GRPC is not installed, or a certificate or key is wrong.
    """
    try:
        from flyball.server.api.grpc import GrpcApi, GrpcApiOptions

        options = config.grpc_api
        place = _grpc_place("grpc_api", options, served)
        return GrpcApi(
            served.api.over("grpc"),
            GrpcApiOptions(
                **place,
                key=options.key,
                transport_errors=options.error_mode == "transport",
                reflection=options.reflection,
            ),
        )
    except ImportError as error:
        raise _no_grpc("grpc_api", error) from None


def _grpc_place(key: str, options: GrpcAPI | UniGRPC, served: Served) -> dict[str, Any]:
    """What all ports of GRPC are told alike."""
    from flyball.http.grpc_port import GrpcTls

    pem = tls_server_pem(options.tls, f"{key}.tls") if options.tls.enabled else None
    return {
        "host": options.address,
        "port": options.port,
        "max_receive_message_size": options.max_receive_message_size,
        "tls": None if pem is None else GrpcTls(*pem),
        "reuse_port": served.share_ports,
    }


def _no_grpc(key: str, error: ImportError) -> ConfigError:
    text = f"{key}.enabled: {error}; install the extra: pip install 'flyball[grpc]'"
    return ConfigError(text)


def _challenge_listener(config: Config, served: Served, autocert: Autocert) -> Listener:
    """The port for http-01 challenges; everything else there is sent to HTTPS."""
    from flyball.server.acme import split_address

    host, port = split_address(config.http_server.tls_autocert.http_addr)
    where = ListenerOptions(host=host, port=port, reuse_port=served.share_ports)
    return Listener(where, Routes(autocert.challenge_routes()))


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
