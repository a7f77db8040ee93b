"""Host names as certificates carry them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_MAX_LENGTH: Final = 253


def normal_host(name: str) -> str:
    """``name`` in lower case, in its ASCII form (``bücher.example`` is ``xn--bcher-kva.example``).

    Raises:
        ValueError: it is not a host name that an authority can check; says why.
    """
    host = name.strip().rstrip(".").lower()
    if not host.isascii():
        # Comes with aiohttp; the standard library's codec knows the rules of 2003 only.
        import idna

        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError(f"not a host name: {error}") from None
    if host.startswith("*."):
        raise ValueError("wildcards need a challenge over DNS; list each name")
    if _is_address(host):
        raise ValueError("an IP address; certificates are for names")
    if ":" in host or "/" in host:
        raise ValueError("write the name alone, without scheme, port or path")
    if not host or len(host) > _MAX_LENGTH or not all(map(_LABEL.fullmatch, host.split("."))):
        raise ValueError("not a host name")
    return host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def split_address(text: str) -> tuple[str, int]:
    """Host (empty: all interfaces) and port of ``:80``, ``127.0.0.1:80``, ``[::1]:80``.

    Raises:
        ValueError: it has another form.
    """
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError("expected host:port, such as :80 or 127.0.0.1:8080")
    return host, int(port)
