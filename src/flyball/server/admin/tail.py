"""The live tail of a channel: its publications as lines of JSON, as long as somebody reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from flyball.core.errors import Error, FlyballError
from flyball.http.messages import plain_error
from flyball.http.streams import AS_IT_COMES, StreamingResponse
from flyball.protocol.codec import UNREADABLE
from flyball.server.admin.guard import ANSWER_HEADERS

if TYPE_CHECKING:
    from flyball.core.listen import ChannelReader
    from flyball.core.node import Node
    from flyball.core.received import Publication
    from flyball.http.messages import RequestHead, Response
    from flyball.http.streams import ResponseStream

__all__ = ["MAX_TAILS", "Tails"]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.admin")

MAX_TAILS: Final = 32
"""Tails that may be open on a node at the same time."""
BEAT: Final = 20.0
"""Seconds between two signs of life: an empty line."""
MAX_CHANNEL: Final = 1024
"""Bytes of a channel's name."""


class TailRequest(msgspec.Struct, frozen=True):
    """Which channel is followed."""

    channel: str


class Tails:
    """Opens tails, a bounded number of them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._decoder = msgspec.json.Decoder(TailRequest)
        self._open: set[_Tail] = set()

    def answer(self, _head: RequestHead, body: bytes) -> Response | StreamingResponse:
        """A stream of lines: ``{"data", "offset", "info", "tags"}``, or an empty one now and then.

        A line ``{"lost": n}`` tells of publications that the reader was too slow for.
        """
        try:
            channel = self._decoder.decode(body).channel
        except UNREADABLE:
            return plain_error(400, headers=ANSWER_HEADERS)
        if not channel or len(channel.encode()) > MAX_CHANNEL:
            return plain_error(400, headers=ANSWER_HEADERS)
        if len(self._open) >= MAX_TAILS:
            return plain_error(429, f"{MAX_TAILS} live tails are open already", ANSWER_HEADERS)
        tail = _Tail(self._node, channel, self._open)
        self._open.add(tail)
        return StreamingResponse(tail.take)


class _Tail(asyncio.Protocol):
    """One tail: the protocol of its wire, and a listener of its channel."""

    def __init__(self, node: Node, channel: str, among: set[_Tail]) -> None:
        self._node = node
        self._channel = channel
        self._among = among
        self._is_full = False
        self._lost = 0
        self._beat: Any = None
        self._reader: ChannelReader | None = None
        self._stream: ResponseStream | None = None

    def take(self, stream: ResponseStream, _head: RequestHead) -> None:
        self._stream = stream
        stream.wire.set_protocol(self)
        headers = (*ANSWER_HEADERS, *AS_IT_COMES, ("Content-Type", "application/x-ndjson"))
        stream.start(200, headers)
        self._tick()
        self._node.tasks.spawn(self._follow(stream), "live tail of a channel")

    async def _follow(self, stream: ResponseStream) -> None:
        """Writes what comes until the wire or the channel ends."""
        self._reader = reader = self._node.subscribe(self._channel)
        try:
            async with reader:
                async for publication in reader:
                    self._tell(publication)
        except (Error, FlyballError) as error:
            logger.warning("live tail ended", channel=self._channel, reason=str(error))
        finally:
            self._end(stream)

    def _tell(self, publication: Publication) -> None:
        if self._is_full:
            self._lost += 1
            return
        if self._lost:
            self._write(b'{"lost":%d}\n' % self._lost)
            self._lost = 0
        self._write(_line(publication))

    def _write(self, line: bytes) -> None:
        assert self._stream is not None
        if not self._stream.wire.is_closing():
            chunk = b"%x\r\n%s\r\n" % (len(line), line) if self._stream.chunked else line
            self._stream.wire.write(chunk)

    def _tick(self) -> None:
        self._write(b"\n")
        self._beat = self._node.clock.call_later(BEAT, self._tick)

    def _end(self, stream: ResponseStream) -> None:
        self._among.discard(self)
        self._beat.cancel()
        if not stream.wire.is_closing():
            stream.finish()
            stream.wire.close()

    # -- the wire

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    def connection_lost(self, _error: Exception | None) -> None:
        self._among.discard(self)
        self._beat.cancel()
        if self._reader is not None:
            self._node.tasks.spawn(self._reader.close(), "end of a live tail")


def _line(publication: Publication) -> bytes:
    """A publication as a line; data that is no JSON is shown as text."""
    raw = bytes(publication.raw)
    try:
        data: Any = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(raw)))
    except UNREADABLE:
        data = raw.decode("utf-8", "backslashreplace")
    shown: dict[str, Any] = {"data": data, "offset": publication.offset}
    if publication.info is not None:
        shown["user"], shown["client"] = publication.info.user, publication.info.client
    if publication.tags:
        shown["tags"] = dict(publication.tags)
    return msgspec.json.encode(shown) + b"\n"
