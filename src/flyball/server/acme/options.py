"""What automatic certificates need to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LETS_ENCRYPT: Final = "https://acme-v02.api.letsencrypt.org/directory"


@dataclass(frozen=True, slots=True)
class AutocertOptions:
    """For which names certificates are got, from whom, and where they are kept."""

    hosts: tuple[str, ...]
    """Names a certificate may be asked for, in the form of :func:`.names.normal_host`."""
    cache_dir: str = ""
    """Directory for certificates and the account's key; empty: in memory, for this run only."""
    email: str = ""
    """Contact address of the account."""
    server_name: str = ""
    """One of ``hosts``, assumed for clients that send no name; empty: they are refused."""
    http: bool = False
    """Prove control by http-01 (a listener of its own) and not by tls-alpn-01 (the TLS port)."""
    directory: str = LETS_ENCRYPT
    """URL of the authority's ACME directory."""
    ca_file: str = ""
    """PEM file of the authorities that vouch for ``directory``; empty: the usual ones."""
    request_timeout: float = 15.0
    """Seconds that the authority has for one answer."""
    issue_timeout: float = 120.0
    """Seconds that getting one certificate may take."""
