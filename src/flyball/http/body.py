"""Chunked request bodies (RFC 9112, section 7.1), decoded as they come."""

from __future__ import annotations

from typing import Final

import httptools

MAX_FRAMING: Final = 4096
"""Bytes without an end that a size line may have, and of all trailers together."""
_BODY_END: Final = b"\r\n\r\n"
_HEAD: Final = (
    b"POST / HTTP/1.1\r\nHost: -\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class BadChunks(ValueError):
    """The body is no valid sequence of chunks."""


class _Collector:
    """What the parser calls. Apart from the body, which has the parser: both are freed at once."""

    __slots__ = ("content", "is_complete", "silent_size", "trailers_size")

    def __init__(self) -> None:
        self.content = bytearray()
        self.is_complete = False
        self.silent_size = 0  # bytes without content, or the end of a line
        self.trailers_size = 0

    def on_chunk_header(self) -> None:
        """A size line is whole."""
        self.silent_size = 0

    def on_body(self, content: bytes) -> None:
        """Content of a chunk, or some of it."""
        self.silent_size = 0
        self.content += content

    def on_header(self, name: bytes, value: bytes) -> None:
        """A trailer, which nobody asks for."""
        self.silent_size = 0
        self.trailers_size += len(name) + len(value) + 4

    def on_message_complete(self) -> None:
        """The body has ended."""
        self.is_complete = True


class ChunkedBody:
    """Collects the content of a chunked body.

    Call :meth:`feed` with a buffer; it takes a piece of the body out of it and says whether the
    body is complete. What is left in the buffer then is the next request.

    llhttp does not tell where in its input a message ended. A chunked body ends with
    :data:`_BODY_END` in any case, so the parser is given no more at a time than up to the next
    one. Its own head says that nothing may follow the body: if that were ever wrong, it refuses
    the request instead of swallowing part of the next.
    """

    __slots__ = ("_collector", "_last", "_parser")

    def __init__(self) -> None:
        self._collector = collector = _Collector()
        self._last = b""  # up to three bytes that were fed: an end may begin with them
        self._parser = httptools.HttpRequestParser(collector)
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
        self._parser.feed_data(_HEAD)
        collector.trailers_size = 0  # without the headers of that

    @property
    def content(self) -> bytearray:
        """What has come so far."""
        return self._collector.content

    def feed(self, buffer: bytearray) -> bool:
        """Takes a piece from the front of ``buffer``; True when the body has ended.

        ``buffer`` must not be empty. A piece is :data:`MAX_FRAMING` bytes at most: who sends chunks of a byte takes turns.

        Raises:
            BadChunks: what stands there is no chunk, or trailers are too long.
        """
        size = self._next_part(buffer)
        part = bytes(buffer[:size])
        del buffer[:size]
        self._last = (self._last + part)[-3:]
        self._parse(part)
        return self._collector.is_complete

    def _next_part(self, buffer: bytearray) -> int:
        """How many bytes may be parsed before the body may have ended."""
        before = len(self._last)
        start = self._last + buffer[:MAX_FRAMING]
        end = start.find(_BODY_END)
        return (len(start) if end < 0 else end + len(_BODY_END)) - before

    def _parse(self, part: bytes) -> None:
        collector = self._collector
        collector.silent_size += len(part)
        try:
            self._parser.feed_data(part)
        except httptools.HttpParserError as error:
            raise BadChunks(str(error)) from None
        if collector.silent_size > MAX_FRAMING:
            raise BadChunks("chunk size line too long")
        if collector.trailers_size > MAX_FRAMING:
            raise BadChunks("trailers too long")
