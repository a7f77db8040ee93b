"""Numbers of Protobuf's wire format, and messages cut between their fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.protocol.codec import DecodeError
from flyball.protocol.fields import MAX_U64

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cut_message", "read_varint", "varint"]

_MAX_VARINT: Final = 10
_SMALL: Final = tuple(bytes((i,)) for i in range(128))
_VARINT, _LENGTH = 0, 2
_FIXED: Final = {1: 8, 5: 4}
"""Wire type to the size of its values."""


def read_varint(data: bytes, pos: int) -> tuple[int, int]:
    """The varint at ``pos`` and where it ends.

    Raises:
        DecodeError: it is cut off, or has more than 64 bits.
    """
    head = data[pos : pos + 2]
    if len(head) == 2 and head[1] < 128 <= head[0]:
        return head[0] & 127 | head[1] << 7, pos + 2
    value = 0
    for index, byte in enumerate(data[pos : pos + _MAX_VARINT]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            if value > MAX_U64:
                break
            return value, pos + index + 1
    raise DecodeError("a length prefix is cut off or too long")


def varint(value: int) -> bytes:
    """``value`` in as few bytes as it takes."""
    if value < 128:
        return _SMALL[value]
    if value < 1 << 14:
        return bytes((value & 127 | 128, value >> 7))
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def cut_message(data: bytes, fields: int) -> Iterator[bytes]:
    """A message in parts of ``fields`` fields each.

    Each part is a message of the same type. Entries of maps and lists are fields of their own, so
    that a long list can be read in many turns.

    Raises:
        DecodeError: the message is malformed.
    """
    start = pos = count = 0
    while pos < len(data):
        pos = _skip_field(data, pos)
        count += 1
        if count == fields:
            yield data[start:pos]
            start, count = pos, 0
    if count:
        yield data[start:]


def _skip_field(data: bytes, pos: int) -> int:
    """Where the field at ``pos`` ends."""
    tag, pos = read_varint(data, pos)
    kind = tag & 7
    if kind == _LENGTH:
        length, pos = read_varint(data, pos)
        pos += length
    elif kind == _VARINT:
        _, pos = read_varint(data, pos)
    elif kind in _FIXED:
        pos += _FIXED[kind]
    else:
        raise DecodeError(f"a field has the wire type {kind}")
    if pos > len(data):
        raise DecodeError("a field is cut off")
    return pos
