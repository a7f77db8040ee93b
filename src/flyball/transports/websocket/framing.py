"""Messages as WebSocket frames: what the hub encodes once for all connections alike.

Framings are shared: equal settings give the same instance, because the hub groups
subscribers by the identity of their framing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from flyball.core.transport import Framing
from flyball.transports.common.websocket import deflate
from flyball.transports.common.websocket.frames import OP_BINARY, OP_TEXT, build_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.protocol.codec import Codec
    from flyball.transports.common.websocket.endpoint import WebSocketOptions


class WebSocketFraming(Framing):
    """Text frames for JSON, binary frames for Protobuf."""

    __slots__ = ("codec", "opcode")

    compressed: bool = False
    """permessage-deflate is in use on these connections."""

    def __init__(self, codec: Codec) -> None:
        self.codec: Codec = codec
        self.opcode = OP_BINARY if codec.name == "protobuf" else OP_TEXT

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        return build_frame(self.opcode, self.codec.join(messages))


class DeflateFraming(WebSocketFraming):
    """The same with messages above a size compressed."""

    __slots__ = ("_deflater", "_min_size")

    compressed = True

    def __init__(self, codec: Codec, level: int, min_size: int, window_bits: int) -> None:
        super().__init__(codec)
        self._deflater = deflate.deflater(level, window_bits)
        self._min_size = min_size

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        payload = self.codec.join(messages)
        if len(payload) > self._min_size:
            return build_frame(self.opcode, self._deflater.deflate(payload), rsv1=True)
        return build_frame(self.opcode, payload)


@lru_cache
def plain_framing(codec: Codec) -> WebSocketFraming:
    """The framing of connections without compression."""
    return WebSocketFraming(codec)


@lru_cache
def deflate_framing(codec: Codec, level: int, min_size: int, window_bits: int) -> DeflateFraming:
    """The framing of compressed connections; those with the same window share their frames.

    Args:
        codec: the encoding (a shared instance).
        level: zlib's compression level.
        min_size: messages longer than this many bytes are compressed.
        window_bits: logarithm of the window that the client asked for, 9 to 15.
    """
    return DeflateFraming(codec, level, min_size, window_bits)


def socket_framing(
    codec: Codec, options: WebSocketOptions, *, window_bits: int
) -> WebSocketFraming:
    """The framing of connections of an endpoint; ``window_bits`` 0: not compressed."""
    if window_bits:
        level, min_size = options.compression_level, options.compression_min_size
        return deflate_framing(codec, level, min_size, window_bits)
    return plain_framing(codec)
