"""Checks of what a server is made of: engines, keys, paths, proxies."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Final

from flyball.server.auth.checks import key_problems, source_problems
from flyball.server.auth.options import TokenOptions
from flyball.server.channels import ProxyKind
from flyball.server.common.durations import format_duration
from flyball.server.config.problems import Problem
from flyball.server.config.proxies import described, proxy_uses
from flyball.server.config.schema import Config
from flyball.server.config.unbuilt import BUILT, UNBUILT_DECIDERS
from flyball.server.config.validate_autocert import autocert
from flyball.server.config.validate_common import allowed, choices, scopes
from flyball.server.config.validate_listeners import (
    certificates,
    grpc_sections,
    origins,
    ports,
    same_ports,
    workers,
)


def _engine_types(config: Config) -> Iterator[Problem]:
    yield from choices("engine", config.engine, "type")
    if config.presence_manager.enabled:
        yield from choices("presence_manager", config.presence_manager, "type")
    if config.controller.enabled:
        yield from choices("controller", config.controller, "type")


def _engines_built(config: Config) -> Iterator[Problem]:
    """Refuses engines that are not there: memory in their place would lose what they promise."""
    for name, built in BUILT.items():
        section = getattr(config, name)
        used = getattr(section, "enabled", True) and section.type in allowed(type(section), "type")
        if used and section.type not in built:
            if built:
                text = (
                    f'"{section.type}" is not available in this version; use {" or ".join(built)}'
                )
                yield Problem(f"{name}.type", text)
            else:
                text = f"{name}s are not available in this version; switch it off"
                yield Problem(f"{name}.enabled", text)


def _pings(config: Config) -> Iterator[Problem]:
    interval, timeout = config.client.ping_interval, config.client.pong_timeout
    if interval > 0 and interval <= timeout:
        yield Problem(
            "client.ping_interval",
            f"{format_duration(interval)} must be longer than client.pong_timeout,"
            f" {format_duration(timeout)}",
        )


def _error_modes(config: Config) -> Iterator[Problem]:
    yield from choices("http_api", config.http_api, "error_mode")
    yield from choices("grpc_api", config.grpc_api, "error_mode")


def _http3(config: Config) -> Iterator[Problem]:
    server = config.http_server
    if config.webtransport.enabled and not server.http3.enabled:
        yield Problem(
            "webtransport.enabled", "WebTransport needs HTTP/3; switch http_server.http3.enabled on"
        )
    if server.http3.enabled and server.tls_autocert.enabled:
        yield Problem(
            "http_server.http3.enabled",
            "HTTP/3 does not work with http_server.tls_autocert; use http_server.tls",
        )
    elif server.http3.enabled and not server.tls.enabled:
        yield Problem("http_server.http3.enabled", "HTTP/3 needs TLS; set http_server.tls")
    elif server.http3.enabled and server.tls.client_ca_pem:
        yield Problem(
            "http_server.http3.enabled",
            "HTTP/3 cannot demand the client certificates of http_server.tls.client_ca_pem, and so"
            " would let everybody in; switch one of the two off",
        )


CLIENT_ENDPOINTS: Final = (
    *("websocket", "http_stream", "sse", "sockjs", "emulation", "webtransport"),
    *("uni_websocket", "uni_http_stream", "uni_sse", "init"),
)
INTERNAL_ENDPOINTS: Final = ("http_api", "admin", "prometheus", "health", "swagger", "debug")
"""Sections with a ``handler_prefix``: on the external port, and on the internal one."""


def _paths(config: Config) -> Iterator[Problem]:
    server = config.http_server
    taken: dict[tuple[tuple[str, str], str], str] = {}
    for name in (*CLIENT_ENDPOINTS, *INTERNAL_ENDPOINTS):
        section = getattr(config, name)
        if not _is_on(config, name):
            continue
        is_outside = name in CLIENT_ENDPOINTS or getattr(section, "external", False)
        path = section.handler_prefix.rstrip("/") or "/"
        key = f"{name}.handler_prefix"
        other = taken.setdefault((server.external if is_outside else server.internal, path), key)
        if other != key:
            yield Problem(key, f'"{path}" is the path of {other} too; change one of them')


def _is_on(config: Config, name: str) -> bool:
    if name == "emulation":
        return config.http_stream.enabled or config.sse.enabled
    section = getattr(config, name)
    return section.enabled if hasattr(section, "enabled") else not section.disabled


def _stream_endpoints(config: Config) -> Iterator[Problem]:
    for use in proxy_uses(config):
        found = described(config, use) if use.enabled else None
        if found is None or use.kind is not ProxyKind.SUBSCRIBE_STREAM:
            continue
        key, proxy = found
        if proxy.endpoint.lower().startswith(("http://", "https://")):
            yield Problem(
                f"{key}.endpoint",
                "subscription streams work over GRPC only; use a grpc:// endpoint",
                use.user,
            )


def _unreleased(config: Config) -> Iterator[Problem]:
    broker = config.broker
    if broker.enabled and broker.type == "redisnats" and not config.enable_unreleased_features:
        yield Problem(
            "broker.type", '"redisnats" is not finished; it needs enable_unreleased_features'
        )


def _databases(config: Config) -> Iterator[Problem]:
    for name in ("broker", "controller"):
        section = getattr(config, name)
        if section.enabled and section.type == "postgres" and not section.postgres.dsn:
            key = f"{name}.postgres.dsn"
            yield Problem(key, "it is empty; set it, as in postgres://host/database")


def _token_sources(config: Config) -> Iterator[Problem]:
    client = config.client
    sections: dict[str, TokenOptions] = {"client.token": client.token}
    if client.subscription_token.enabled:
        sections["client.subscription_token"] = client.subscription_token
    for key, options in sections.items():
        for option, text in (*source_problems(options), *key_problems(options)):
            yield Problem(f"{key}.{option}", text)


def _deciders_built(config: Config) -> Iterator[Problem]:
    """Refuses what would have to be asked and cannot: clients would be turned away for ever."""
    for scope in scopes(config):
        for option in UNBUILT_DECIDERS:
            if attrgetter(option)(scope.options):
                yield scope.problem(
                    option, "is not available in this version, and decides; switch it off"
                )


def _files(config: Config) -> Iterator[Problem]:
    """Finds files that cannot be written."""
    for key, name in (("log.file", config.log.file), ("pid_file", config.pid_file)):
        if not name:
            continue
        path = Path(name)
        try:
            if path.is_dir():
                yield Problem(key, f"{name!r} is a directory; name a file")
            elif not os.access(path if path.exists() else path.parent, os.W_OK):
                yield Problem(
                    key,
                    f"cannot write {name!r}: it needs a directory that exists and may be written",
                )
        except OSError as error:  # a name that is too long, a directory that may not be entered
            yield Problem(key, f"cannot write {name!r}: {error.strerror or error}; name a file")


def _addresses(config: Config) -> Iterator[Problem]:
    """Finds addresses that are none of this machine's, and names that nobody knows."""
    server = config.http_server
    found = [("http_server.address", server.address)]
    if server.is_split:
        found.append(("http_server.internal_address", server.internal_address))
    found += [(f"{key}.address", section.address) for key, section in grpc_sections(config)]
    for key, address in found:
        try:
            if address:
                socket.getaddrinfo(address, None, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError) as error:
            yield Problem(
                key,
                f'"{address}" is no address of this machine: {error}; use an IP address, a host'
                " name, or nothing for all interfaces",
            )


START_RULES: Final[tuple[Callable[[Config], Iterator[Problem]], ...]] = (
    _engine_types,
    _engines_built,
    _pings,
    _error_modes,
    _deciders_built,
    _token_sources,
    _files,
    _addresses,
    _http3,
    _paths,
    ports,
    same_ports,
    workers,
    certificates,
    origins,
    autocert,
    _stream_endpoints,
    _unreleased,
    _databases,
)
