"""How messages follow each other in a stream of bytes.

In a body of HTTP/1.1 each frame is a chunk of its own, so a frame that was built once is what
every subscriber of the same kind is sent.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from flyball.core.transport import Framing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.protocol.codec import Codec


class StreamFraming(Framing):
    """Messages one after the other: JSON lines, or Protobuf with lengths."""

    opening: ClassVar[bytes] = b""
    """What a body begins with."""

    def __init__(self, codec: Codec, *, chunked: bool = True) -> None:
        self.codec = codec
        self.chunked = chunked
        """HTTP/1.0 knows no chunks: there the end of the connection ends the body."""
        self._end = b"\n" if codec.name == "json" else b""

    def body(self, messages: Sequence[bytes]) -> bytes:
        """Messages as bytes of the body."""
        return self.codec.join(messages) + self._end

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        return self.wrap(self.body(messages))

    def wrap(self, body: bytes) -> bytes:
        """Part of the body as it stands on the wire."""
        return b"%x\r\n%b\r\n" % (len(body), body) if self.chunked else body


@lru_cache
def stream_framing(kind: type[StreamFraming], codec: Codec, *, chunked: bool) -> StreamFraming:
    """The shared framing: the hub encodes once for each framing object."""
    return kind(codec, chunked=chunked)
