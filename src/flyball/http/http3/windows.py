"""What a client of one QUIC connection may send before what it sent was dealt with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.packet_builder import QuicPacketBuilder
    from aioquic.quic.recovery import QuicPacketSpace
    from aioquic.quic.stream import QuicStream

STREAM_WINDOW: Final = 131_072
"""Bytes of one stream."""
CONNECTION_WINDOW: Final = 262_144
"""Bytes of all streams."""


class Windows:
    """Flow control of what is received (RFC 9000, section 4), in place of the library's.

    The library doubles a window whenever half of it was reached, by a byte behind any hole: a
    few packets made it reserve gigabytes. Here windows keep their size and move with what was
    received without holes, less what is not dealt with (:meth:`hold`).
    """

    __slots__ = ("_held", "_quic", "_write_connection", "_write_stream")

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._held: dict[int, int] = {}  # bytes of streams that nobody has dealt with
        self._write_connection = quic._write_connection_limits
        self._write_stream = quic._write_stream_limits
        quic._write_connection_limits = self._connection_limits  # type: ignore[method-assign]
        quic._write_stream_limits = self._stream_limits  # type: ignore[method-assign]

    def hold(self, stream_id: int, size: int) -> None:
        """Bytes were received that are not dealt with yet."""
        self._held[stream_id] = self._held.get(stream_id, 0) + size

    def release(self, stream_id: int, size: int) -> bool:
        """Bytes that were held are dealt with; True if the client should hear of it."""
        left = self._held.get(stream_id, 0) - size
        if left > 0:
            self._held[stream_id] = left
        else:
            self._held.pop(stream_id, None)
        stream = self._quic._streams.get(stream_id)
        return stream is not None and self._wanted(stream) > stream.max_stream_data_local

    def forget(self, stream_id: int) -> None:
        """Nobody will deal with what is held of a stream that is over."""
        self._held.pop(stream_id, None)

    def _wanted(self, stream: QuicStream) -> int:
        """Up to which byte a client may send; windows move in halves."""
        limit, stream_id = stream.max_stream_data_local, stream.stream_id
        assert stream_id is not None  # those of the handshake are kept elsewhere
        held = self._held.get(stream_id, 0)
        wanted = stream.receiver.starting_offset() - held + STREAM_WINDOW
        return wanted if wanted - limit >= STREAM_WINDOW // 2 else limit

    # -- in place of the library's methods, called for each packet

    def _connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        limit = self._quic._local_max_data
        used = limit.used
        if limit.value - used < CONNECTION_WINDOW // 2:
            kept = sum(len(stream.receiver._buffer) for stream in self._quic._streams.values())
            kept += sum(self._held.values())
            limit.value = max(limit.value, used - kept + CONNECTION_WINDOW)
        limit.used = 0  # or it would double the limit
        try:
            self._write_connection(builder=builder, space=space)
        finally:
            limit.used = used

    def _stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        receiver = stream.receiver
        if stream.max_stream_data_local and not receiver.is_finished:
            stream.max_stream_data_local = self._wanted(stream)
        highest, receiver.highest_offset = receiver.highest_offset, 0  # as above
        try:
            self._write_stream(builder=builder, space=space, stream=stream)
        finally:
            receiver.highest_offset = highest
