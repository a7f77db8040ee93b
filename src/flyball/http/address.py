"""Addresses of peers as sessions know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def remote_address(wire: asyncio.Transport) -> str:
    """``host:port`` of the peer, empty if it is not known (any more)."""
    return format_address(wire.get_extra_info("peername"))


def format_address(peer: object) -> str:
    """``host:port`` of a socket address, empty if it is none of IP."""
    if not isinstance(peer, tuple):
        return ""
    host = peer[0].removeprefix("::ffff:")
    return f"[{host}]:{peer[1]}" if ":" in host else f"{host}:{peer[1]}"
