"""Requests that another process of this machine answers: sent on by a unix socket, as HTTP/1.1.

The answer is written to the client as it comes. It may be whole or a stream without end; where the
client takes nothing, the other process is not read from and sees a full wire itself.

A process that lives answers at once, or says at once that it has the request (:func:`had_at_once`):
one that stands still is told from one that waits for something to answer with.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httptools

from flyball.http.address import remote_address
from flyball.http.head import is_safe_value, is_target, is_token
from flyball.http.messages import Response, plain_error
from flyball.http.streams import StreamingResponse
from flyball.http.timeouts import WriteDeadline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flyball.aio.lines import RepeatedLines
    from flyball.aio.timers import TimerWheel
    from flyball.http.messages import RequestHead
    from flyball.http.streams import ResponseStream

logger: Final = logging.getLogger("flyball.transports")

PEER_HEADER: Final = "x-flyball-peer"
"""Tells the other process the client's address. Believed on private sockets only."""
ANSWER_TIMEOUT: Final = 10.0
"""Seconds for the other process to take the request and to give a sign of life."""
WRITE_TIMEOUT: Final = 10.0
"""Seconds after which a client that takes no byte of a full wire is given up: nobody else would see
it, as the other process is not read from meanwhile."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds for the client to take the end of an answer."""
UNREACHABLE: Final = plain_error(503)
SILENT: Final = plain_error(504)
UNSENDABLE: Final = plain_error(400)
HAD: Final = b"HTTP/1.1 102 Processing\r\n\r\n"
"""Says that the request is in the hands of its process, and that its answer may take long."""
_OF_ONE_HOP: Final = frozenset(
    (
        *("connection", "content-length", "expect", "http2-settings", "keep-alive"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", PEER_HEADER),
    )
)
"""Header fields that belong to a connection, not to the request (RFC 9110, section 7.6.1)."""
_OWN: Final = frozenset(("content-type", "date", "alt-svc"))
"""Fields of answers that are written anew."""


@dataclass(frozen=True, slots=True)
class OtherProcess:
    """Who answers a request in place of this process."""

    name: str
    """What the log calls it: ``worker 2``."""
    socket: Path
    """Where it listens."""


def relayed(
    process: OtherProcess, timers: TimerWheel, lines: RepeatedLines, body: bytes
) -> StreamingResponse:
    """The answer that another process gives to a request with that body.

    Args:
        process: who answers.
        timers: for its time limit.
        lines: where the log hears of processes that do not answer.
        body: of the request.
    """

    def take(stream: ResponseStream, head: RequestHead) -> None:
        relay = Relay(stream, process, timers, lines)
        try:
            request = encode_request(head, body, remote_address(stream.wire))
        except ValueError:
            relay.refuse(UNSENDABLE)
        else:
            relay.begin(request)

    return StreamingResponse(take)


def had_at_once(answer: StreamingResponse) -> StreamingResponse:
    """The same answer, of the process that a request is relayed to: who relays it knows at once
    that it is in good hands, however long it takes.
    """

    def take(stream: ResponseStream, head: RequestHead) -> None:
        statuses: list[int] = []
        stream.tell_status(statuses.append)
        answer.take(stream, head)
        if not statuses and not stream.wire.is_closing():
            stream.wire.write(HAD)

    return StreamingResponse(take)


def encode_request(head: RequestHead, body: bytes, peer: str) -> bytes:
    """A request as bytes for the other process.

    Raises:
        ValueError: something in the head would end a line of it: a second request could be
            hidden behind that.
    """
    target = f"{head.path}?{head.query}" if head.query else head.path
    fields = {name: value for name, value in head.headers.items() if name not in _OF_ONE_HOP}
    fields.setdefault("host", "")  # HTTP/1.0 and HTTP/2 do without, HTTP/1.1 does not
    fields |= {PEER_HEADER: peer, "connection": "close", "content-length": str(len(body))}
    if not (
        is_token(head.method)
        and is_target(target)
        and all(is_token(name) and is_safe_value(value) for name, value in fields.items())
    ):
        raise ValueError("no head of HTTP/1.1")
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return (
        "\r\n".join([f"{head.method} {target} HTTP/1.1", *lines, "", ""]).encode(
            "latin-1", "replace"
        )
        + body
    )


def peer_of(headers: Mapping[str, str]) -> str:
    """The client's address as whoever relayed the request tells it."""
    return headers.get(PEER_HEADER, "")


class Relay(asyncio.Protocol):
    """Has the client's wire while another process answers."""

    def __init__(
        self,
        stream: ResponseStream,
        process: OtherProcess,
        timers: TimerWheel,
        lines: RepeatedLines,
    ) -> None:
        self._stream = stream
        self._process = process
        self._lines = lines
        self._wire = stream.wire
        self._source = _Source(self)
        self._deadline = WriteDeadline(timers, self._on_deadline, self._wire.get_write_buffer_size)
        self._write_timeout = max(WRITE_TIMEOUT, stream.min_write_timeout)
        self._is_full = False
        self._is_begun = False  # something of the answer is written
        self._is_over = False  # all of it is, or nothing more can be
        self._is_had = False  # the answer may take as long as it likes
        self._is_half_closed = False  # the client sends no more
        self._connecting: asyncio.Task[None] | None = None
        self._wire.set_protocol(self)

    def begin(self, request: bytes) -> None:
        """Sends the request on."""
        self._deadline.set(ANSWER_TIMEOUT)
        work = self._connect(request)
        self._connecting = asyncio.get_running_loop().create_task(work, name="flyball relay")

    def refuse(self, response: Response) -> None:
        """Answers in place of the other process, which does not hear of the request any more."""
        self._answer(response)
        if self._connecting is not None:
            self._connecting.cancel()
        self._source.abort()

    async def _connect(self, request: bytes) -> None:
        loop, socket = asyncio.get_running_loop(), str(self._process.socket)
        try:
            await loop.create_unix_connection(lambda: self._source, socket)
        except OSError as error:
            self.tell(f"cannot be reached: {error.strerror or error}")
            self._answer(UNREACHABLE)
        else:
            self._source.send(request)

    # -- what the other process says

    def tell(self, what: str) -> None:
        """The log is told of the process, once a second for all requests to it."""
        name = self._process.name
        self._lines.log(logger, logging.WARNING, f"{name} {what}", "%s %s", name, what)

    def had(self) -> None:
        """It has the request, and takes its time to answer."""
        if not self._is_over:
            self._is_had = True
            self._deadline.clear()

    def said(self) -> None:
        """It said something, which has been dealt with."""
        # As where nothing is relayed: who sends no more gets what is there, and waits for nothing.
        if self._is_half_closed and (self._is_had or self._is_begun) and not self._is_over:
            self._wire.close()

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

    def source_lost(self, what: str) -> None:
        """The other process ended before its answer did; ``what`` the log is told."""
        if self._is_begun and not self._is_over:
            self._is_over = True
            self._wire.abort()
        elif not self._is_over:
            self.tell(what)
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
        if self._is_begun or self._is_over or self._is_had:
            self._wire.abort()
        else:
            self.tell(f"does not answer a request within {ANSWER_TIMEOUT:g} s")
            self.refuse(SILENT)

    # -- asyncio's protocol, of the client's wire

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        """Nothing may come before the answer: what did is lost, and the connection with it."""
        self._stream.disable_keep_alive()

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for what is answered at once."""
        self._is_half_closed = True
        self._stream.disable_keep_alive()
        # TLS connections cannot stay half open. Who waits for something to come has left.
        return not (self._is_had or self._is_begun) and self._wire.can_write_eof()

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
            self._relay.source_lost(f"gives an answer that cannot be read: {error}")
            self.abort()
        else:
            self._relay.said()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._relay.source_lost("ended before it answered a request")

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

    @property
    def _is_interim(self) -> bool:
        return bool(self._parser.get_status_code() < 200)

    def on_headers_complete(self) -> None:
        if self._is_interim:
            return
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
        if self._is_interim:
            self._fields.clear()
            self._relay.had()
            return
        response = None
        if self._has_end:
            status, fields = self._parser.get_status_code(), tuple(self._fields)
            response = Response(self._body, status, self._content_type, fields)
        self._relay.complete(response)
