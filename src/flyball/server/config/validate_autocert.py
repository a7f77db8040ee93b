"""Checks of ``http_server.tls_autocert``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flyball.server.config.problems import Problem
from flyball.server.config.schema import Config

_KEY: Final = "http_server.tls_autocert"


def autocert(config: Config) -> Iterator[Problem]:
    """Finds names that no certificate can be got for, and the lack of names."""
    options = config.http_server.tls_autocert
    if not options.enabled:
        return
    from flyball.server.acme.names import normal_host, split_address

    hosts = set()
    for index, name in enumerate(options.host_whitelist):
        try:
            hosts.add(normal_host(name))
        except ValueError as error:
            yield Problem(f"{_KEY}.host_whitelist[{index}]", f'"{name}" is not allowed: {error}')
    if not options.host_whitelist:
        # The original would ask for any name that any client makes up, until the authority
        # refuses this server all of them.
        yield Problem(
            f"{_KEY}.host_whitelist",
            'list the host names that certificates may be asked for, such as ["example.com"]',
        )
    elif options.server_name and not _is_among(options.server_name, hosts):
        yield Problem(
            f"{_KEY}.server_name",
            f'"{options.server_name}" is not in host_whitelist; add it there, or leave it empty',
        )
    if options.http:
        try:
            split_address(options.http_addr)
        except ValueError as error:
            yield Problem(f"{_KEY}.http_addr", f'"{options.http_addr}" is not allowed; {error}')


def _is_among(name: str, hosts: set[str]) -> bool:
    from flyball.server.acme.names import normal_host

    try:
        return normal_host(name) in hosts
    except ValueError:
        return False
