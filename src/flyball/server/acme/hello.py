"""Reads the ClientHello of a TLS connection, for what the ``ssl`` module does not tell.

Python's server name callback runs before OpenSSL looks at the client's protocols (ALPN). But
whether the client is an ACME authority that checks a tls-alpn-01 challenge is told by these
alone, and the certificate must be chosen by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ALPN: Final = 16
_HOST_NAME: Final = 0
_MAX_RECORDS: Final = 64
"""More for one hello is no client's way: each further packet would have all of them read anew."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says when it opens a TLS connection."""

    server_name: bytes = b""
    """Empty if it says none."""
    protocols: tuple[bytes, ...] = ()
    """ALPN, the preferred one first."""


class _Short(Exception):
    """More was promised than there is."""


class _Reader:
    """Takes bytes from the front of a message."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _Short
        part = self._data[self._at : end]
        self._at = end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        """A part with its length, a number of ``size`` bytes, before it."""
        return _Reader(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self._data[self._at :]


def parse_hello(data: bytes) -> ClientHello | None:
    """The ClientHello that a connection begins with; None while ``data`` is not all of it.

    What is not TLS, or malformed, gives an empty hello: OpenSSL has the last word on it.
    """
    try:
        message = _message(_Reader(data))
    except _Short:
        return None
    if message is None:
        return ClientHello()
    try:
        return _read(_Reader(message))
    except _Short:
        return ClientHello()


def _message(records: _Reader) -> bytes | None:
    """The first handshake message without its header, put together from one or more records."""
    parts = b""
    for _ in range(_MAX_RECORDS):
        kind = records.number(1)
        records.take(2)  # version
        size = records.number(2)
        if kind != _HANDSHAKE:
            return None
        parts += records.take(size)
        if len(parts) < 4:
            continue
        if parts[0] != _CLIENT_HELLO:
            return None
        end = 4 + int.from_bytes(parts[1:4], "big")
        if len(parts) >= end:
            return parts[4:end]
    return None


def _read(hello: _Reader) -> ClientHello:
    hello.take(2 + 32)  # version, random
    hello.vector(1)  # session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression methods
    name = b""
    protocols: tuple[bytes, ...] = ()
    extensions = hello.vector(2) if hello else hello
    while extensions:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME and body:
            name = _host_name(body.vector(2))
        elif kind == _ALPN:
            protocols = _protocols(body.vector(2))
    return ClientHello(name, protocols)


def _host_name(names: _Reader) -> bytes:
    while names:
        kind, name = names.number(1), names.vector(2).rest()
        if kind == _HOST_NAME:
            return name
    return b""


def _protocols(names: _Reader) -> tuple[bytes, ...]:
    found = []
    while names:
        found.append(names.vector(1).rest())
    return tuple(found)
