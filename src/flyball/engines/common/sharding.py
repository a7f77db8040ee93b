"""Which of several servers a channel belongs to: the same on all nodes, Centrifugo's among them."""

from __future__ import annotations

from typing import Final

_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_MASK: Final = 0xFFFFFFFFFFFFFFFF


def fnv1a(data: bytes) -> int:
    """The FNV-1a hash of 64 bits."""
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & _MASK
    return value


def jump_hash(key: int, buckets: int) -> int:
    """Consistent hashing by Lamping and Veach: few keys move when ``buckets`` grows."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) & _MASK
        following = int((bucket + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return bucket


def shard_index(channel: str, shards: int) -> int:
    """The place of a channel's server among ``shards``."""
    return jump_hash(fnv1a(channel.encode()), shards)
