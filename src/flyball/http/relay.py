"""Requests that another process of this machine answers: sent on by a unix socket, as HTTP/1.1.

The answer is written to the client as it comes. It may be whole or a stream without end; where the
client takes nothing, the other process is not read from and sees a full wire itself.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import httptools

from flyball.http.address import remote_address
from flyball.http.messages import Response, plain_error
from flyball.http.streams import StreamingResponse
from flyball.http.timeouts import WriteDeadline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flyball.aio.timers import TimerWheel
    from flyball.http.messages import RequestHead
    from flyball.http.streams import ResponseStream

logger: Final = logging.getLogger("flyball.transports")

PEER_HEADER: Final = "x-flyball-peer"
"""Tells the other process the client's address. Believed on private sockets only."""
CONNECT_TIMEOUT: Final = 5.0
"""Seconds for the other process to take the connection, or a request that fills its wire."""
WRITE_TIMEOUT: Final = 10.0
"""Seconds after which a client that takes no byte of a full wire is given up: nobody else would see
it, as the other process is not read from meanwhile."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds for the client to take the end of an answer."""
UNREACHABLE: Final = plain_error(503)
_OF_ONE_HOP: Final = frozenset(
    (
        *("connection", "content-length", "expect", "http2-settings", "keep-alive"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", PEER_HEADER),
    )
)
"""Header fields that belong to a connection, not to the request (RFC 9110, section 7.6.1)."""
_OWN: Final = frozenset(("content-type", "date", "alt-svc"))
"""Fields of answers that are written anew."""


def relayed(socket: Path, timers: TimerWheel, body: bytes) -> StreamingResponse:
    """The answer that the process listening at ``socket`` gives to a request with that body."""
    return StreamingResponse(partial(_take, socket, timers, body))


def _take(
    socket: Path, timers: TimerWheel, body: bytes, stream: ResponseStream, head: RequestHead
) -> None:
    Relay(stream, timers).begin(socket, encode_request(head, body, remote_address(stream.wire)))


def encode_request(head: RequestHead, body: bytes, peer: str) -> bytes:
    """A request as bytes for the other process."""
    target = f"{head.path}?{head.query}" if head.query else head.path
    fields = {name: value for name, value in head.headers.items() if name not in _OF_ONE_HOP}
    fields.setdefault("host", "")  # HTTP/1.0 and HTTP/2 do without, HTTP/1.1 does not
    fields |= {PEER_HEADER: peer, "connection": "close", "content-length": str(len(body))}
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    return f"{head.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace") + body


def peer_of(headers: Mapping[str, str]) -> str:
    """The client's address as whoever relayed the request tells it."""
    return headers.get(PEER_HEADER, "")


class Relay(asyncio.Protocol):
    """Has the client's wire while another process answers."""

    def __init__(self, stream: ResponseStream, timers: TimerWheel) -> None:
        self._stream = stream
        self._wire = stream.wire
        self._source = _Source(self)
        self._deadline = WriteDeadline(timers, self._on_deadline, self._wire.get_write_buffer_size)
        self._write_timeout = max(WRITE_TIMEOUT, stream.min_write_timeout)
        self._is_full = False
        self._is_begun = False  # something of the answer is written
        self._is_over = False  # all of it is, or nothing more can be
        self._connecting: asyncio.Task[None] | None = None
        self._wire.set_protocol(self)

    def begin(self, socket: Path, request: bytes) -> None:
        """Sends the request on."""
        work = self._connect(socket, request)
        self._connecting = asyncio.get_running_loop().create_task(work, name="flyball relay")

    async def _connect(self, socket: Path, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.create_unix_connection(lambda: self._source, str(socket))
        except OSError as error:
            logger.warning("a request for another worker cannot be sent on: %s", error)
            self._answer(UNREACHABLE)
        else:
            self._source.send(request)

    # -- what the other process says

    def sending(self, *, is_full: bool) -> None:
        """Whether it leaves so much of the request untaken that it must take some soon."""
        if self._is_begun or self._is_over:
            return  # the time limit is the client's
        if is_full:
            self._deadline.set(CONNECT_TIMEOUT)
        else:
            self._deadline.clear()

    def answered(self, status: int, fields: list[tuple[str, str]], length: int | None) -> None:
        """The head of its answer is there; ``length`` bytes follow, None: a stream."""
        if length is None and not self._is_over:
            self._is_begun = True
            self._deadline.clear()
            self._stream.start(status, fields)

    def part(self, data: bytes) -> None:
        """Part of a stream."""
        if not self._is_over:
            self._wire.write(b"%x\r\n%b\r\n" % (len(data), data) if self._stream.chunked else data)
            if self._is_full:  # what was read at once goes on
                self._deadline.expect_progress(self._write_timeout)

    def complete(self, response: Response | None) -> None:
        """The answer is complete: a whole one, or the end of a stream."""
        if response is not None:
            self._answer(response)
        elif not self._is_over:
            self._is_over = True
            self._stream.finish()
            self._leave()
        self._source.abort()  # it may be paused, and would never see the other end

    def source_lost(self) -> None:
        """The other process ended before its answer did."""
        if self._is_begun and not self._is_over:
            self._is_over = True
            self._wire.abort()
        else:
            self._answer(UNREACHABLE)

    def _answer(self, response: Response) -> None:
        if not self._is_over:
            self._is_over = True
            self._stream.answer(response)
            self._leave()

    def _leave(self) -> None:
        """The connection goes on without us once the client has taken all."""
        if self._is_full:
            self._deadline.set(CLOSE_TIMEOUT)
            return
        self._deadline.close()
        if self._wire.is_closing() or not self._stream.release():
            self._deadline.set(CLOSE_TIMEOUT)
            self._wire.close()

    def _on_deadline(self) -> None:
        if self._is_begun or self._is_over:
            self._wire.abort()
        else:
            self._source.abort()

    # -- asyncio's protocol, of the client's wire

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        """Nothing may come before the answer: what did is lost, and the connection with it."""
        self._stream.disable_keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone."""
        self._is_over = True
        self._deadline.close()
        if self._connecting is not None:
            self._connecting.cancel()
        self._source.abort()

    def pause_writing(self) -> None:
        """The client does not take everything."""
        self._is_full = True
        self._source.pause()
        self._deadline.expect_progress(self._write_timeout)

    def resume_writing(self) -> None:
        """The client took everything."""
        self._is_full = False
        if self._is_over:
            self._leave()
        else:
            self._deadline.clear()
            self._source.resume()


class _Source(asyncio.Protocol):
    """Reads the other process' answer."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._wire: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._fields: list[tuple[str, str]] = []
        self._content_type = ""
        self._length: int | None = None
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = transport  # type: ignore[assignment]  # uvloop's are no asyncio.Transport

    def pause_writing(self) -> None:
        self._relay.sending(is_full=True)

    def resume_writing(self) -> None:
        self._relay.sending(is_full=False)

    def send(self, data: bytes) -> None:
        if self._wire is not None:
            self._wire.write(data)

    def abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()

    def pause(self) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.pause_reading()

    def resume(self) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.resume_reading()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            logger.error("another worker's answer cannot be read: %s", error)  # noqa: TRY400 - it is no failure of this code
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._relay.source_lost()

    # -- what httptools calls

    def on_header(self, name: bytes, value: bytes) -> None:
        field, text = name.decode("latin-1"), value.decode("latin-1")
        key = field.lower()
        if key == "content-length":
            self._length = int(text)
        if key == "content-type":
            self._content_type = text
        if key not in _OF_ONE_HOP and key not in _OWN:
            self._fields.append((field, text))

    @property
    def _has_end(self) -> bool:
        return self._length is not None or self._parser.get_status_code() in (204, 304)

    def on_headers_complete(self) -> None:
        fields = self._fields
        if self._content_type and not self._has_end:
            fields = [*fields, ("Content-Type", self._content_type)]
        length = (self._length or 0) if self._has_end else None
        self._relay.answered(self._parser.get_status_code(), fields, length)

    def on_body(self, data: bytes) -> None:
        if self._has_end:
            self._body += data
        else:
            self._relay.part(data)

    def on_message_complete(self) -> None:
        response = None
        if self._has_end:
            status, fields = self._parser.get_status_code(), tuple(self._fields)
            response = Response(self._body, status, self._content_type, fields)
        self._relay.complete(response)
