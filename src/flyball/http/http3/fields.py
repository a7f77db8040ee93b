"""The library's HTTP/3, with bounds for header fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pylsqpack
from aioquic.h3.connection import ErrorCode, H3Connection, ProtocolError, Setting

if TYPE_CHECKING:
    from aioquic.h3.events import Headers
    from aioquic.quic.connection import QuicConnection

_OVERHEAD: Final = 32
"""What a field counts beyond its bytes (RFC 9114, section 4.2.2)."""


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
