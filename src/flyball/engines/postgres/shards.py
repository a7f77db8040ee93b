"""Which shard a channel is in, as the database finds it: ``abs(hashtext(channel)) % shards``.

Nothing depends on it but speed: what is written to one shard is written together.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

PROBES: Final = ("", "channel", "news:long name of a channel, ünicode", "x" * 40)
"""A database that does not hash these alike has another kind of processor, or another encoding."""
_MASK: Final = 0xFFFF_FFFF


def hash_text(text: str) -> int:
    """PostgreSQL's ``hashtext``: a signed number of 32 bits, by Bob Jenkins' lookup3."""
    data = text.encode()
    a = b = c = (0x9E37_79B9 + len(data) + 3_923_095) & _MASK
    whole = len(data) - len(data) % 12
    for start in range(0, whole, 12):
        a, b, c = _mix(*_add(a, b, c, data[start : start + 12]))
    a, b, c = _add(a, b, c, b"", data[whole:])
    c = _final(a, b, c)
    return c - (1 << 32) if c >> 31 else c


def _add(a: int, b: int, c: int, block: bytes, tail: bytes = b"") -> tuple[int, int, int]:
    """Adds a whole block, or the rest; the lowest byte of the last word of a rest is its length's."""
    if tail:
        block = (tail[:8].ljust(8, b"\0") + b"\0" + tail[8:]).ljust(12, b"\0")
    elif not block:
        return a, b, c
    words = [int.from_bytes(block[n : n + 4], "little") for n in (0, 4, 8)]
    return (a + words[0]) & _MASK, (b + words[1]) & _MASK, (c + words[2]) & _MASK


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = (a - c & _MASK) ^ _rotated(c, bits)
        c = c + b & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, bits)) & _MASK
        a, b, c = b, c, a
    return b


@lru_cache(maxsize=65_536)
def shard_of(channel: str, shards: int) -> int:
    """The shard of a channel."""
    return abs(hash_text(channel)) % shards
