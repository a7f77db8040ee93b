"""Backends that decide: from their sections in the configuration to calls of the policy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from flyball.core.errors import ConfigError, Disconnect, Error
from flyball.server.build.errors import Refusals
from flyball.server.channels import ProxyKind
from flyball.server.client import ClientProxies
from flyball.server.common.tls import read_pem, tls_client_context
from flyball.server.components import Component
from flyball.server.config.proxies import described, proxy_uses
from flyball.server.config.unbuilt import UNBUILT_PROXIES
from flyball.server.proxies.backend import Backend
from flyball.server.proxies.calls import ProxyCalls
from flyball.server.proxies.http import HttpCaller
from flyball.server.proxies.options import BackendOptions, GrpcOptions, HttpOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flyball.core.node import Node
    from flyball.server.config import Config
    from flyball.server.config.schema_common import Proxy, StatusTransform
    from flyball.server.proxies.backend import Caller
    from flyball.server.proxies.metrics import ProxyMetrics


class Proxies(NamedTuple):
    """The calls, and the life of what is behind them."""

    calls: ClientProxies
    component: Component


def client_proxies(config: Config, node: Node, metrics: ProxyMetrics) -> Proxies:
    """All backends of clients. A backend that several options name is one, with one pool.

    Raises:
        ConfigError: an endpoint or certificate is wrong, or GRPC is not installed.
    """
    by_path: dict[str, Backend | None] = {}
    refused = Refusals()
    backends: dict[tuple[ProxyKind, str], Backend] = {}
    for use in proxy_uses(config):
        found = described(config, use)
        if use.kind in UNBUILT_PROXIES or found is None or not found[1].endpoint:
            continue
        path, settings = found
        if path not in by_path:
            make = partial(_backend, use.name, path, settings, node, metrics)
            by_path[path] = refused.of(make, lambda: None)
        backend = by_path[path]
        if backend is None:
            continue
        backends[use.kind, use.name] = backend
        if use.enabled:
            backend.caller.prepare()
            metrics.announce((backend.caller.protocol, use.kind.value, use.name))
    refused.tell()
    switched = config.client.proxy
    asked = ProxyCalls(node, backends)
    calls = ClientProxies(
        connect=asked.connect if switched.connect.enabled else None,
        refresh=asked.refresh if switched.refresh.enabled else None,
        subscribe={
            ProxyKind.SUBSCRIBE: asked.subscribe,
            ProxyKind.SUBSCRIBE_STREAM: asked.subscribe_stream,
        },
        sub_refresh=asked.sub_refresh,
        publish={
            ProxyKind.PUBLISH: asked.publish,
            ProxyKind.SUBSCRIBE_STREAM: asked.publish_to_stream,
        },
        rpc=asked.rpc,
    )
    return Proxies(calls, _component(filter(None, by_path.values())))


def forwarded_headers(config: Config) -> frozenset[str]:
    """Headers (lower case) of clients' requests that some backend is told."""
    return frozenset(name.lower() for proxy in _described(config) for name in proxy.http_headers)


def forwarded_metadata(config: Config) -> frozenset[str]:
    """Metadata keys (lower case) of GRPC clients that some backend is told."""
    return frozenset(name.lower() for proxy in _described(config) for name in proxy.grpc_metadata)


def _described(config: Config) -> Iterable[Proxy]:
    # Those switched off too: a reload of the channels may switch them on.
    for use in proxy_uses(config):
        found = described(config, use)
        if found is not None:
            yield found[1]


def _component(backends: Iterable[Backend]) -> Component:
    async def stop() -> None:
        for backend in backends:
            await backend.caller.close()

    return Component(stop=stop)


def _backend(name: str, path: str, proxy: Proxy, node: Node, metrics: ProxyMetrics) -> Backend:
    http = _is_http(proxy.endpoint)
    static = proxy.http.static_headers if http else proxy.grpc.static_metadata
    transport = _http(path, proxy) if http else _grpc(path, proxy)
    options = BackendOptions(
        name=name,
        key=path,
        endpoint=proxy.endpoint,
        transport=transport,
        static=static,
        headers=_lower(proxy.http_headers),
        metadata=_lower(proxy.grpc_metadata),
        emulated_headers=_lower(proxy.emulated_headers),
        binary_encoding=proxy.binary_encoding,
        include_meta=proxy.include_connection_meta,
    )
    return Backend(options, _caller(path, transport), metrics, node.clock)


def _is_http(endpoint: str) -> bool:
    return endpoint.startswith(("http://", "https://"))


def _target(endpoint: str) -> str:
    """``host:port``, without what a ``grpc://`` URL has around it."""
    scheme = "grpc://"
    if not endpoint.startswith(scheme):
        return endpoint
    return endpoint.removeprefix(scheme).partition("/")[0]


def _lower(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _caller(path: str, transport: HttpOptions | GrpcOptions) -> Caller:
    if isinstance(transport, HttpOptions):
        return HttpCaller(transport)
    try:
        import grpc  # noqa: F401 - an extra
    except ImportError as error:
        message = f"{path}.endpoint: {error}; install the extra: pip install 'flyball[grpc]'"
        raise ConfigError(message) from None
    from flyball.server.proxies.grpc import GrpcCaller

    return GrpcCaller(transport)


def _http(path: str, proxy: Proxy) -> HttpOptions:
    tls = proxy.http.tls
    return HttpOptions(
        url=proxy.endpoint,
        timeout=proxy.timeout,
        tls=tls_client_context(tls, f"{path}.http.tls") if tls.enabled else None,
        server_name=tls.server_name if tls.enabled else "",
        transforms=_transforms(proxy.http.status_to_code_transforms),
    )


def _transforms(entries: Iterable[StatusTransform]) -> Mapping[int, Error | Disconnect]:
    """The first entry for a status counts."""
    found: dict[int, Error | Disconnect] = {}
    for entry in entries:
        error, disconnect = entry.to_error, entry.to_disconnect
        if entry.status_code in found:
            continue
        if error.code:
            found[entry.status_code] = Error(error.code, error.message, temporary=error.temporary)
        else:
            found[entry.status_code] = Disconnect(disconnect.code, disconnect.reason)
    return found


def _grpc(path: str, proxy: Proxy) -> GrpcOptions:
    options = proxy.grpc
    tls, key = options.tls, f"{path}.grpc.tls"
    pem: dict[str, bytes] = {}
    if tls.enabled:
        tls_client_context(tls, key)  # finds what is wrong, and says it in terms of the options
        if tls.insecure_skip_verify:
            message = (
                f"{key}.insecure_skip_verify: this cannot be done over GRPC; give the backend's own "
                f"certificate as {key}.server_ca_pem, and {key}.server_name if it has another name"
            )
            raise ConfigError(message)
        if tls.server_ca_pem:
            pem["root_certificates"] = read_pem(f"{key}.server_ca_pem", tls.server_ca_pem)
        if tls.cert_pem and tls.key_pem:
            pem["certificate"] = read_pem(f"{key}.cert_pem", tls.cert_pem)
            pem["private_key"] = read_pem(f"{key}.key_pem", tls.key_pem)
    credentials = options.credentials_key.lower(), options.credentials_value
    return GrpcOptions(
        target=_target(proxy.endpoint),
        timeout=proxy.timeout,
        tls=tls.enabled,
        server_name=tls.server_name if tls.enabled else "",
        compression=options.compression,
        credentials=credentials if credentials[0] else None,
        **pem,
    )
