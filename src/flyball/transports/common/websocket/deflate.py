"""permessage-deflate (RFC 7692) without context takeover on either side."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Final

from flyball.transports.common.websocket.violations import CloseCode, Violation

MAX_WINDOW_BITS: Final = 15
"""Logarithm of the largest window, 32 KB."""
_TAIL: Final = b"\x00\x00\xff\xff"
_ANY_WINDOW: Final = -MAX_WINDOW_BITS  # raw deflate, up to the largest window


class Deflater:
    """Compresses messages, each for itself, so that all subscribers can share the frame.

    One zlib stream serves a whole process: a full flush after each message forgets what came
    before, which saves setting up a compressor (256 KB) for every message.
    """

    __slots__ = ("_stream",)

    def __init__(self, level: int, window_bits: int = MAX_WINDOW_BITS) -> None:
        self._stream = zlib.compressobj(level, zlib.DEFLATED, -window_bits)

    def deflate(self, payload: bytes) -> bytes:
        """``payload`` as the content of a compressed message."""
        out = self._stream.compress(payload) + self._stream.flush(zlib.Z_FULL_FLUSH)
        return out[:-4]  # always the tail, which the receiver puts back


@lru_cache
def deflater(level: int, window_bits: int = MAX_WINDOW_BITS) -> Deflater:
    """The compressor of ``level`` (1 fastest to 9, or -2 to 0 as zlib has them) for a window."""
    return Deflater(level, window_bits)


class Inflater:
    """Decompresses incoming messages up to a limit. Keeps nothing: one for all connections."""

    __slots__ = ("_limit",)

    def __init__(self, size_limit: int) -> None:
        """``size_limit``: bytes after decompression, 0 = no limit."""
        self._limit = size_limit

    def inflate(self, payload: bytes) -> bytes | Violation:
        """The message, or why it cannot be had."""
        stream = zlib.decompressobj(_ANY_WINDOW)
        try:
            # One byte over the limit is enough to know; 0 would mean no limit to zlib too.
            out = stream.decompress(payload + _TAIL, self._limit + 1 if self._limit else 0)
        except zlib.error:
            return Violation(CloseCode.INVALID_DATA, "bad compressed data")
        if self._limit and len(out) > self._limit:
            return Violation(CloseCode.TOO_BIG, "message too big after decompression")
        return out
