"""Checks of what listens: ports, certificates, allowed origins."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Iterator
from typing import Final

from flyball.core.errors import ConfigError
from flyball.server.common.tls import TLSConfig, read_pem, tls_server_context
from flyball.server.config.problems import Notice, Problem
from flyball.server.config.schema import Config
from flyball.server.config.schema_server import GrpcAPI, UniGRPC

MAX_PORT: Final = 65535
_ALL_INTERFACES: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - looked for, not used
MAX_WORKERS: Final = 128
"""What can be told apart by the first byte of a connection id of QUIC."""


def ports(config: Config) -> Iterator[Problem]:
    """Finds numbers that are no ports: the system would open another one, or none."""
    server = config.http_server
    found: list[tuple[str, int | str]] = [
        ("http_server.port", server.port),
        ("http_server.internal_port", server.internal_port or 0),
    ]
    found += [(f"{key}.port", section.port) for key, section in grpc_sections(config)]
    for key, value in found:
        text = str(value)
        if not (text.isascii() and text.isdecimal() and int(text) <= MAX_PORT):
            yield Problem(key, f'"{value}" is not allowed; use a port from 0 to {MAX_PORT}')


def tcp_places(config: Config) -> list[tuple[str, str, str]]:
    """Option, interface and port of whatever listens for clients and operators."""
    server = config.http_server
    found = [("http_server.port", *server.external)]
    if server.is_split:
        found.append(("http_server.internal_port", *server.internal))
    found += [(f"{key}.port", s.address, str(s.port)) for key, s in grpc_sections(config)]
    return found


def same_ports(config: Config) -> Iterator[Problem]:
    """Finds listeners that would take each other's port."""
    places = tcp_places(config)
    for index, (key, host, port) in enumerate(places):
        for other, its_host, its_port in places[:index]:
            everywhere = {host, its_host} & _ALL_INTERFACES
            if port == its_port != "0" and (host == its_host or everywhere):
                yield Problem(
                    key, f"{port} is the port of {other} too; change one of them, or the address"
                )


def workers(config: Config) -> Iterator[Problem]:
    """Finds what cannot be shared by several processes."""
    server = config.http_server
    key = "http_server.workers"
    if not 1 <= server.workers <= MAX_WORKERS:
        yield Problem(key, f"{server.workers} is not allowed; use 1 to {MAX_WORKERS}")
    if server.workers <= 1:
        return
    if not hasattr(socket, "SO_REUSEPORT"):
        yield Problem(key, "this system lets no two processes share a port; use 1")
    autocert = server.tls_autocert
    if autocert.enabled and not autocert.cache_dir:
        yield Problem(
            "http_server.tls_autocert.cache_dir",
            "several workers share their certificates in this directory; name one",
        )
    for port_key, _, port in tcp_places(config):
        if port == "0":
            yield Problem(port_key, f"it is 0; {server.workers} workers need one port, name it")
    yield from _engine_of_workers(config)


def _engine_of_workers(config: Config) -> Iterator[Problem]:
    """Finds engines that leave each worker alone, and so lose what they promise."""
    broker, presence = config.broker, config.presence_manager
    if config.engine.type == "memory" and not broker.enabled:
        from flyball.engines.redis.embedded import find_server

        try:
            find_server()
        except ConfigError as error:
            yield Problem("engine.type", str(error))
    alone = "is in the memory of each worker alone; use another type, or switch it off"
    if broker.enabled and broker.type == "memory":
        yield Problem("broker.type", f'"memory" {alone}')
    if presence.enabled and presence.type == "memory":
        yield Problem("presence_manager.type", f'"memory" {alone}')
    if broker.enabled and broker.type == "postgres" and not config.controller.enabled:
        yield Problem(
            "controller.enabled",
            'workers with broker.type "postgres" reach each other by it only; switch it on',
        )


def grpc_sections(config: Config) -> list[tuple[str, GrpcAPI | UniGRPC]]:
    """The sections of ports that speak GRPC, where they are switched on, with their keys."""
    sections = (("grpc_api", config.grpc_api), ("uni_grpc", config.uni_grpc))
    return [(key, section) for key, section in sections if section.enabled]


def certificates(config: Config) -> Iterator[Problem]:
    """Finds certificates and keys that no listener can use."""
    for key, tls in _used_tls(config):
        try:
            tls_server_context(tls, key)
        except ConfigError as error:
            options, _, text = str(error).partition(": ")
            yield Problem(options, text)


def origins(config: Config) -> Iterator[Problem]:
    """Finds patterns of origins that cannot be read."""
    from flyball.transports.common.origin import origin_regex

    for index, pattern in enumerate(config.client.allowed_origins):
        try:
            origin_regex(pattern.lower())
        except ConfigError as error:
            yield Problem(f"client.allowed_origins[{index}]", str(error))


def listener_notices(config: Config, now: dt.datetime | None = None) -> list[Notice]:
    """Returns what an operator may have meant otherwise, though the server can start with it.

    Args:
        config: Has been checked.
        now: The time that certificates are compared with; the present if not given.
    """
    return [
        *_idle(config),
        *_lone_presence(config),
        *(
            notice
            for key, tls in _used_tls(config)
            for notice in _dates(f"{key}.cert_pem", tls, now or dt.datetime.now(dt.UTC))
        ),
    ]


def _used_tls(config: Config) -> Iterator[tuple[str, TLSConfig]]:
    server = config.http_server
    if server.tls.enabled and not server.tls_autocert.enabled:
        yield "http_server.tls", server.tls
    if server.internal_tls.enabled and server.is_split:
        yield "http_server.internal_tls", server.internal_tls
    for key, section in grpc_sections(config):
        if section.tls.enabled:
            yield f"{key}.tls", section.tls


def _idle(config: Config) -> Iterator[Notice]:
    server = config.http_server
    sections = [("http_server.tls", server.tls), ("http_server.internal_tls", server.internal_tls)]
    sections += [(f"{key}.tls", section.tls) for key, section in grpc_sections(config)]
    for key, tls in sections:
        if tls.cert_pem and not tls.enabled:
            yield Notice(
                "there is a certificate, but TLS is not switched on",
                f"{key}.enabled",
                "nothing is encrypted; set it to true, or remove the certificate",
            )
    if server.tls.enabled and server.tls_autocert.enabled:
        yield Notice(
            "option does nothing", "http_server.tls", "http_server.tls_autocert takes its place"
        )
    if server.internal_tls.enabled and not server.is_split:
        yield Notice(
            "option does nothing",
            "http_server.internal_tls",
            "internal endpoints are on the external port; set http_server.internal_port",
        )


def _lone_presence(config: Config) -> Iterator[Notice]:
    broker = config.broker
    has_presence = broker.type == "nats" and broker.nats.jetstream.enabled
    if (
        config.http_server.workers > 1
        and config.engine.type == "memory"
        and broker.enabled
        and not (has_presence or config.presence_manager.enabled)
    ):
        yield Notice(
            "each worker tells the presence of its own clients only",
            "presence_manager",
            f'broker.type "{broker.type}" comes without one that is shared; choose one',
        )


def _dates(key: str, tls: TLSConfig, now: dt.datetime) -> Iterator[Notice]:
    from cryptography.x509 import load_pem_x509_certificate

    try:
        certificate = load_pem_x509_certificate(read_pem(key, tls.cert_pem))
    except ValueError:
        return  # OpenSSL read it, and is less strict
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        yield Notice("the certificate has expired", key, f"it was valid until {end:%F %T} UTC")
    elif now < begin:
        yield Notice("the certificate is not valid yet", key, f"it begins {begin:%F %T} UTC")
