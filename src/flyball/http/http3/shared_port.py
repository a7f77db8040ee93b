"""UDP sockets, and one port for several processes: packets of a connection reach the same one.

A process has the socket whose place in the group is its number. The kernel spreads new connections
by their addresses. Once a client has a connection id of ours it may send from anywhere: the id
begins with a byte that tells the number. Whoever starts the processes keeps the sockets open, so
that one that ends moves no other.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import sys
from typing import Final

logger: Final = logging.getLogger("flyball.transports")

_SO_ATTACH_REUSEPORT_CBPF: Final = 51
"""Linux' ``asm-generic/socket.h``; the standard library has no name for it."""
_INSTRUCTION: Final = struct.Struct("HBBI")
_BY_ADDRESS: Final = 0xFFFFFFFF
"""No place in the group: the kernel chooses by addresses."""


def udp_socket(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket for an address, or for all of IPv4 and IPv6.

    Raises:
        OSError: the address is not ours, or in use.
    """
    if host:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    elif socket.has_dualstack_ipv6():
        family, address = socket.AF_INET6, ("::", port)
    else:
        family, address = socket.AF_INET, ("0.0.0.0", port)  # noqa: S104 - all, as told
    found = socket.socket(family, socket.SOCK_DGRAM)
    try:
        found.setblocking(False)
        if not host and family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if reuse_port:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(address)
    except OSError:
        found.close()
        raise
    return found


def open_group(host: str, port: int, count: int) -> list[socket.socket]:
    """One socket for each of ``count`` processes, all on the same port.

    Raises:
        OSError: the address is not ours, or in use.
    """
    found: list[socket.socket] = []
    try:
        udp_socket(host, port).close()  # somebody else's group would take us in
        found.extend(udp_socket(host, port, reuse_port=True) for _ in range(count))
        _spread_by_ids(found[0], count)
    except OSError:
        for each in found:
            each.close()
        raise
    return found


def _spread_by_ids(member: socket.socket, count: int) -> None:
    """Has the kernel look at connection ids (RFC 9000, section 17)."""
    if sys.platform != "linux":
        return  # by addresses alone: a client whose address changes loses its connection
    program = (
        (0x30, 0, 0, 0),  # load the first byte
        (0x45, 3, 0, 0x80),  # a long header: the client may have made its id up
        (0x30, 0, 0, 1),  # load the first byte of the id
        (0x94, 0, 0, count),  # modulo
        (0x16, 0, 0, 0),  # is the place
        (0x06, 0, 0, _BY_ADDRESS),
    )
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*step) for step in program))
    option = struct.pack("HP", len(program), ctypes.addressof(code))
    try:
        member.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)
    except OSError as error:
        logger.warning("QUIC clients whose address changes lose their connection: %s", error)


def marked_id(id_: bytes, place: int, count: int) -> bytes:
    """A connection id that leads to the process at ``place``, from 0, of ``count``."""
    first = id_[0] - id_[0] % count + place
    return bytes((first if first < 256 else first - count,)) + id_[1:]
