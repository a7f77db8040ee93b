"""Chunked request bodies, decoded as they come."""

from __future__ import annotations

import re
from typing import Final

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_MAX_LINE: Final = 4096
"""Bytes of a chunk's size line, and of all trailers."""


class BadChunks(ValueError):
    """The body is no valid sequence of chunks."""


class ChunkedBody:
    """Collects the content of a chunked body.

    Call :meth:`feed` with a buffer; it takes what belongs to the body out of it and says
    whether the body is complete. What is left in the buffer then is the next request.
    """

    __slots__ = ("_in_trailers", "_left", "content")

    def __init__(self) -> None:
        self.content = bytearray()
        self._left = 0  # of the current chunk, its CRLF included
        self._in_trailers = False

    def feed(self, buffer: bytearray) -> bool:
        """Takes bytes from the front of ``buffer``; True when the body has ended.

        Raises:
            BadChunks: what stands there is no chunk.
        """
        while True:
            if self._in_trailers:
                return self._skip_trailers(buffer)
            if self._left:
                if not self._take_content(buffer):
                    return False
                continue
            line_end = buffer.find(b"\r\n", 0, _MAX_LINE + 2)
            if line_end < 0:
                if len(buffer) > _MAX_LINE:
                    raise BadChunks("chunk size line too long")
                return False
            match = _SIZE_LINE.fullmatch(buffer, 0, line_end + 2)
            if match is None:
                raise BadChunks("bad chunk size")
            size = int(match[1], 16)
            del match  # it holds the buffer
            del buffer[: line_end + 2]
            if size:
                self._left = size + 2
            else:
                self._in_trailers = True

    def _take_content(self, buffer: bytearray) -> bool:
        left = self._left
        if left > 2:
            part = buffer[: left - 2]
            self.content += part
            del buffer[: len(part)]
            left -= len(part)
        self._left = left
        if left > 2 or len(buffer) < 2:
            return False
        if buffer[:2] != b"\r\n":
            raise BadChunks("no line end after a chunk")
        del buffer[:2]
        self._left = 0
        return True

    def _skip_trailers(self, buffer: bytearray) -> bool:
        while True:
            line_end = buffer.find(b"\r\n", 0, _MAX_LINE + 2)
            if line_end < 0:
                if len(buffer) > _MAX_LINE:
                    raise BadChunks("trailers too long")
                return False
            del buffer[: line_end + 2]
            if line_end == 0:
                return True
