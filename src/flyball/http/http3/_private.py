"""All that uses names of aioquic which are not its public ones, in one place.

The library is bounded in pyproject.toml to the versions that have them. What is missing there:
bounds for what a client makes us keep, and a look at what it has not taken.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pylsqpack
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import ErrorCode, H3Connection, ProtocolError, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioquic.h3.events import Headers
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.packet_builder import QuicPacketBuilder
    from aioquic.quic.recovery import QuicPacketSpace
    from aioquic.quic.stream import QuicStream

STREAM_WINDOW: Final = 131_072
"""Bytes of one stream."""
CONNECTION_WINDOW: Final = 262_144
"""Bytes of all streams."""
_OVERHEAD: Final = 32
"""What a field counts beyond its bytes (RFC 9114, section 4.2.2)."""


# -- connections


class QuicProtocol(QuicConnectionProtocol):
    """The library's adapter of a connection to asyncio, with names for what subclasses need."""

    @property
    def quic(self) -> QuicConnection:
        """The connection itself."""
        return self._quic

    @property
    def udp(self) -> asyncio.DatagramTransport | None:
        """The port's socket; None before the connection is made."""
        return self._transport

    def transmit_soon(self) -> None:
        """Sends what is ready later in this turn of the loop."""
        self._transmit_soon()

    def peer_address(self) -> Any:
        """The client's, where it was last seen; None if it was not."""
        paths = self._quic._network_paths
        return paths[0].addr if paths else None


class ConnectionTable(QuicServer):
    """The library's, which looks through the ids of all connections when one of them ends."""

    def _connection_terminated(self, protocol: QuicConnectionProtocol) -> None:
        quic = protocol._quic
        # The first packet went to the id of the Retry before it.
        for id_ in (quic._retry_source_connection_id, *(known.cid for known in quic._host_cids)):
            if id_ is not None and self._protocols.get(id_) is protocol:
                del self._protocols[id_]


def mark_ids(quic: QuicConnection, mark: Callable[[bytes], bytes]) -> None:
    """Gives a new connection ids that are made by ``mark`` from random ones."""
    first = quic._host_cids[0]
    first.cid = quic.host_cid = quic._local_initial_source_connection_id = mark(first.cid)
    replenish = quic._replenish_connection_ids

    def replenish_marked() -> None:
        known = len(quic._host_cids)
        replenish()
        for id_ in quic._host_cids[known:]:
            id_.cid = mark(id_.cid)

    quic._replenish_connection_ids = replenish_marked  # type: ignore[method-assign]


# -- streams


def unsent_bytes(quic: QuicConnection, stream_id: int) -> int:
    """Bytes of a stream that the client has not acknowledged; 0 if it is over."""
    stream = quic._streams.get(stream_id)
    return 0 if stream is None else len(stream.sender._buffer)


def drop_unsent(quic: QuicConnection, stream_id: int) -> None:
    """Forgets what a stream that was reset has not sent.

    The library keeps it until the client has heard of the reset.
    """
    stream = quic._streams.get(stream_id)
    if stream is not None:
        stream.sender._buffer.clear()


def stop_receiving(quic: QuicConnection, stream_id: int, code: int) -> None:
    """Tells the client that the rest of what it sends on a stream is not needed."""
    stream = quic._streams.get(stream_id)
    if stream is not None and not stream.receiver.is_finished:
        stream.receiver.stop(code)


def incomplete_frame_size(http: H3Connection, stream_id: int) -> int:
    """Bytes kept of a frame that is not whole; the library has no bound for them."""
    stream = http._stream.get(stream_id)
    return 0 if stream is None else len(stream.buffer)


# -- header fields


class _FieldsTooLarge(ProtocolError):
    error_code = ErrorCode.H3_EXCESSIVE_LOAD


class BoundedH3(H3Connection):
    """Takes header fields up to a size, and has clients send them without a dynamic table.

    With a table of some kilobytes one byte of a request can stand for all of them: 60 KB made
    240 MB of fields, and seconds of checks. Requests repeat little that would be worth that.
    """

    def __init__(self, quic: QuicConnection, max_size: int, *, enable_webtransport: bool) -> None:
        self._max_size = max_size
        super().__init__(quic, enable_webtransport=enable_webtransport)

    def _init_connection(self) -> None:
        self._max_table_capacity = self._blocked_streams = 0
        self._decoder = pylsqpack.Decoder(0, 0)
        super()._init_connection()

    def _get_local_settings(self) -> dict[int, int]:
        return {**super()._get_local_settings(), Setting.MAX_FIELD_SECTION_SIZE: self._max_size}

    def _decode_headers(self, stream_id: int, frame_data: bytes | None) -> Headers:
        headers = super()._decode_headers(stream_id, frame_data)
        if sum(len(n) + len(v) + _OVERHEAD for n, v in headers) > self._max_size:
            raise _FieldsTooLarge("header fields are too large")
        return headers


# -- flow control


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
