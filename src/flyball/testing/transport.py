"""A transport without a wire: what the server sends stays in memory."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from flyball.core.errors import ConfigError
from flyball.core.transport import Framing, Transport
from flyball.protocol.json_codec import JSON
from flyball.protocol.protobuf_codec import PROTOBUF

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flyball.core.errors import Disconnect
    from flyball.protocol.codec import Codec
    from flyball.protocol.messages import Push, Reply

_CODECS: dict[str, Codec] = {"json": JSON, "protobuf": PROTOBUF}


class MemoryFraming(Framing):
    """Messages joined as their encoding wants it; JSON ends with a line break.

    Frames that waited leave in one write, so each must show where it ends.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._end = b"\n" if codec.name == "json" else b""

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        return self.codec.join(messages) + self._end

    def replies(self, written: bytes) -> list[Reply]:
        """What one write holds, on a bidirectional connection."""
        return self.codec.decode_replies(written.removesuffix(self._end))

    def pushes(self, written: bytes) -> list[Push]:
        """What one write holds, on a unidirectional connection."""
        if self.codec.name == "json":
            return [self.codec.decode_push(line) for line in written.splitlines()]
        return [self.codec.decode_push(written)]


class UnidirectionalMemoryFraming(MemoryFraming):
    """The same for connections that only receive."""

    unidirectional: ClassVar[bool] = True


@lru_cache
def memory_framing(protocol: str = "json", *, unidirectional: bool = False) -> MemoryFraming:
    """The shared framing for ``protocol`` (``json`` or ``protobuf``).

    Raises:
        ConfigError: there is no such protocol.
    """
    codec = _CODECS.get(protocol)
    if codec is None:
        message = f"protocol is {protocol!r}, but must be one of {', '.join(_CODECS)}"
        raise ConfigError(message)
    return UnidirectionalMemoryFraming(codec) if unidirectional else MemoryFraming(codec)


class MemoryTransport(Transport):
    """Records what is sent, and the end.

    Args:
        framing: from :func:`memory_framing`.
        on_frame: called with all bytes as they are written.
        on_close: called when the server ends the connection.
    """

    __slots__ = ("_on_close", "_on_frame", "closed_by", "frames", "lingers", "reading")

    name: ClassVar[str] = "memory"

    def __init__(
        self,
        framing: Framing | None = None,
        *,
        on_frame: Callable[[bytes], None] | None = None,
        on_close: Callable[[Disconnect], None] | None = None,
    ) -> None:
        super().__init__(framing or memory_framing())
        self.frames: list[bytes] = []
        """All writes so far. One write may hold several frames after a pause."""
        self.closed_by: Disconnect | None = None
        """How the server ended the connection, if it did."""
        self.lingers: float = 0.0
        """Seconds until a refused connection is to be dropped."""
        self.reading: bool = True
        """The server takes more commands."""
        self._on_frame = on_frame
        self._on_close = on_close

    def pause_reading(self) -> None:
        """See :meth:`Transport.pause_reading`."""
        self.reading = False

    def resume_reading(self) -> None:
        """See :meth:`Transport.resume_reading`."""
        self.reading = True

    def linger(self, delay: float) -> None:
        """See :meth:`Transport.linger`."""
        self.lingers = delay

    def _write(self, data: bytes) -> None:
        self.frames.append(data)
        if self._on_frame is not None:
            self._on_frame(data)

    def _close(self, disconnect: Disconnect) -> None:
        self.closed_by = disconnect
        if self._on_close is not None:
            self._on_close(disconnect)
