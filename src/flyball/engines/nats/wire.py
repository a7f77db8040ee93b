"""The NATS protocol, without a socket: bytes to operations, and commands to bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from flyball.core.errors import FlyballError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_LINE: Final = 1 << 20
"""Bytes of the longest line: INFO names all servers of a cluster."""
MAX_MESSAGE: Final = 64 << 20
"""Bytes of the longest message; servers do not allow more."""
PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"
_HEADER: Final = b"NATS/1.0"
_END: Final = b"\r\n"


class ProtocolError(FlyballError):
    """What came is not the NATS protocol."""


class Operations(Protocol):
    """What a connection is told, in order."""

    def on_message(
        self, sid: int, subject: bytes, reply: bytes, headers: bytes, data: bytes
    ) -> None:
        """A message for a subscription; ``headers`` with their first line, or empty."""

    def on_info(self, info: dict[str, Any]) -> None:
        """The server tells of itself."""

    def on_ping(self) -> None:
        """It wants a PONG."""

    def on_pong(self) -> None:
        """It has handled all that was sent before a PING."""

    def on_error(self, text: str) -> None:
        """It refuses something."""


class Parser:
    """Takes bytes as they come and tells :class:`Operations`."""

    __slots__ = ("_buffered", "_needed", "_parts", "_to")

    def __init__(self, operations: Operations) -> None:
        self._to = operations
        self._parts: list[bytes] = []
        self._buffered = 0
        self._needed = 1
        """Bytes that must be there before another look is of use."""

    def feed(self, data: bytes) -> None:
        """Takes what came.

        Raises:
            ProtocolError: it is not NATS; nothing more can be read.
        """
        self._parts.append(data)
        self._buffered += len(data)
        if self._buffered < self._needed:
            return
        buffer = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        rest = buffer[self._run(buffer) :]
        self._parts = [rest] if rest else []
        self._buffered = len(rest)

    def _run(self, buffer: bytes) -> int:
        """Handles all that is whole; returns where the rest begins."""
        start, size = 0, len(buffer)
        while True:
            end = buffer.find(_END, start)
            if end < 0:
                if size - start > MAX_LINE:
                    raise ProtocolError("a line has no end")
                self._needed = 1
                return start
            kind = buffer[start : start + 4]
            if kind in (b"MSG ", b"HMSG"):
                after = self._message(buffer, start, end, size)
                if after < 0:
                    self._needed = -after - start
                    return start
                start = after
                continue
            self._line(buffer[start:end])
            start = end + 2

    def _message(self, buffer: bytes, start: int, end: int, size: int) -> int:
        """Where a message ends; negative if it is not there as a whole."""
        words = buffer[start:end].split()
        with_headers = words[0] == b"HMSG"
        try:
            total = int(words[-1])
            head = int(words[-2]) if with_headers else 0
            sid = int(words[2])
        except (ValueError, IndexError):
            raise ProtocolError(f"no message: {buffer[start:end][:80]!r}") from None
        if not 0 <= head <= total <= MAX_MESSAGE:
            raise ProtocolError(f"a message of {total} bytes")
        with_reply = len(words) - with_headers - 4
        if with_reply not in (0, 1):
            raise ProtocolError(f"no message: {buffer[start:end][:80]!r}")
        first = end + 2
        last = first + total
        if last + 2 > size:
            return -(last + 2)
        if buffer[last : last + 2] != _END:
            raise ProtocolError("a message is longer than it says")
        reply = words[3] if with_reply else b""
        body = first + head
        self._to.on_message(sid, words[1], reply, buffer[first:body], buffer[body:last])
        return last + 2

    def _line(self, line: bytes) -> None:
        word = line[:4].upper()
        if word == b"PONG":
            self._to.on_pong()
        elif word == b"PING":
            self._to.on_ping()
        elif word == b"-ERR":
            self._to.on_error(line[4:].strip().strip(b"'").decode(errors="replace"))
        elif word == b"INFO":
            self._to.on_info(_info(line[4:]))
        elif line[:3].upper() != b"+OK":
            raise ProtocolError(f"unknown operation {line[:20]!r}")


def _info(text: bytes) -> dict[str, Any]:
    try:
        info = json.loads(text)
    except ValueError as error:
        raise ProtocolError(f"INFO is no JSON: {error}") from None
    if not isinstance(info, dict):
        raise ProtocolError("INFO is no object")
    return info


# -- commands


def connect(options: Mapping[str, Any]) -> bytes:
    """Who we are, and what we want."""
    return b"CONNECT %s\r\n" % json.dumps(options, separators=(",", ":")).encode()


def sub(subject: bytes, sid: int) -> bytes:
    """Asks for a subject."""
    return b"SUB %s %d\r\n" % (subject, sid)


def unsub(sid: int) -> bytes:
    """Asks for no more."""
    return b"UNSUB %d\r\n" % sid


def pub(subject: bytes, data: bytes, reply: bytes = b"", headers: bytes = b"") -> bytes:
    """Sends a message; ``headers`` are those of :func:`header_block`."""
    to = b"%s %s" % (subject, reply) if reply else subject
    if headers:
        size = len(headers)
        return b"HPUB %s %d %d\r\n%s%s\r\n" % (to, size, size + len(data), headers, data)
    return b"PUB %s %d\r\n%s\r\n" % (to, len(data), data)


def header_block(headers: Mapping[str, str]) -> bytes:
    """Headers as they are sent. Names and values are ours: no line breaks in them."""
    lines = b"".join(b"%s: %s\r\n" % (k.encode(), v.encode()) for k, v in headers.items())
    return b"%s\r\n%s\r\n" % (_HEADER, lines)


def read_headers(block: bytes) -> dict[str, str]:
    """Headers by name in lower case; the status of the first line, if any, as ``status``.

    Of a name that is there twice the first counts.
    """
    if not block:
        return {}
    found: dict[str, str] = {}
    status = block.partition(_END)[0][len(_HEADER) :].decode(errors="replace").strip()
    if status:
        found["status"], _, found["description"] = status.partition(" ")
    for name, value in _header_lines(block):
        found.setdefault(name.lower(), value)
    return found


def header_fields(block: bytes) -> dict[str, str]:
    """Headers by name as it stands there. Of a name that is there twice the first counts."""
    found: dict[str, str] = {}
    for name, value in _header_lines(block):
        found.setdefault(name, value)
    return found


def _header_lines(block: bytes) -> Iterator[tuple[str, str]]:
    for line in block.decode(errors="replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()
