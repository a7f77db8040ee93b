"""Checks of what listens: ports, certificates, allowed origins."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from flyball.core.errors import ConfigError
from flyball.server.common.tls import TLSConfig, read_pem, tls_server_context
from flyball.server.config.problems import Notice, Problem
from flyball.server.config.schema import Config

MAX_PORT: Final = 65535


def ports(config: Config) -> Iterator[Problem]:
    """Finds numbers that are no ports: the system would open another one, or none."""
    server = config.http_server
    found: list[tuple[str, int | str]] = [
        ("http_server.port", server.port),
        ("http_server.internal_port", server.internal_port or 0),
    ]
    if config.uni_grpc.enabled:
        found.append(("uni_grpc.port", config.uni_grpc.port))
    for key, value in found:
        text = str(value)
        if not (text.isascii() and text.isdecimal() and int(text) <= MAX_PORT):
            yield Problem(key, f'"{value}" is not allowed; use a port from 0 to {MAX_PORT}')


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
    from flyball.transports.common.origin import glob_to_regex

    for index, pattern in enumerate(config.client.allowed_origins):
        try:
            glob_to_regex(pattern.lower())
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
    if config.uni_grpc.enabled and config.uni_grpc.tls.enabled:
        yield "uni_grpc.tls", config.uni_grpc.tls


def _idle(config: Config) -> Iterator[Notice]:
    server = config.http_server
    sections = [("http_server.tls", server.tls), ("http_server.internal_tls", server.internal_tls)]
    if config.uni_grpc.enabled:
        sections.append(("uni_grpc.tls", config.uni_grpc.tls))
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
