"""Addresses of peers as sessions know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Protocol

    class Wire(Protocol):
        """What knows its peer, as asyncio's transports do."""

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            """What is known under ``name``."""


def remote_address(wire: Wire) -> str:
    """``host:port`` of the peer, empty if it is not known (any more)."""
    return format_address(wire.get_extra_info("peername"))


def remote_host(wire: Wire) -> str:
    """``remote_address`` without the port and without brackets."""
    peer = wire.get_extra_info("peername")
    return _host(peer) if isinstance(peer, tuple) else ""


def format_address(peer: object) -> str:
    """``host:port`` of a socket address, empty if it is none of IP."""
    if not isinstance(peer, tuple):
        return ""
    host = _host(peer)
    return f"[{host}]:{peer[1]}" if ":" in host else f"{host}:{peer[1]}"


def _host(peer: tuple[Any, ...]) -> str:
    host: str = peer[0]
    return host.removeprefix("::ffff:")
