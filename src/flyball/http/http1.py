"""HTTP/1.1 for many small requests: what the server API is served with.

A request that arrives whole in one chunk, with a head that was seen before (clients repeat
themselves), costs one lookup, a call of the handler and one write. Everything else HTTP/1.1 allows is served too, by longer ways.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flyball.aio.eager import start_eagerly
from flyball.http.body import BadChunks, ChunkedBody
from flyball.http.head import (
    HEAD_END,
    BadRequestHead,
    RequestHead,
    parse_head,
    path_of,
    plain_error,
    status_line,
)
from flyball.http.streams import Exchange, Http1Exchange

if TYPE_CHECKING:
    from flyball.http.routes import Site
    from flyball.http.watch import Watch

logger = logging.getLogger("flyball.transports")

JSON_TYPE: Final = "application/json"
_JOINED_SIZE: Final = 65536
"""Bytes of answers to pipelined requests that are written together."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpResponse(msgspec.Struct, frozen=True):
    """An answer to a request."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON_TYPE
    """Empty for none."""
    headers: tuple[tuple[str, str], ...] = ()
    """More headers; values must be clean of control characters."""

    def fields(self) -> list[tuple[str, str]]:
        """All headers but those of the connection."""
        found = [*self.headers]
        if self.content_type:
            found.append(("Content-Type", self.content_type))
        if self.status not in (204, 304):
            found.append(("Content-Length", str(len(self.body))))
        return found


class Takeover(msgspec.Struct, frozen=True):
    """An answer that does not end: whoever gives it takes the connection."""

    take: Callable[[Exchange, RequestHead], None]
    """Called with the exchange and the request's head; answers by itself from then on."""


Handler = Callable[
    [str, str, str, Mapping[str, str], bytes],
    "HttpResponse | Takeover | Awaitable[HttpResponse]",
]
"""Called with method, path, query (as sent), headers (lower-case names; shared between
requests, so only to be read) and body. Answers at once or later."""


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """Who serves a path."""

    handler: Handler
    max_body_size: int = 0
    """Bytes; 0: what :class:`HttpLimits` says."""
    too_large: Callable[[Mapping[str, str]], HttpResponse] | None = None
    """The answer to a longer body, given the request's headers; a plain 413 if not given."""
    subtree: bool = False
    """All paths below belong to it too."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds for requests. Sizes in bytes, times in seconds."""

    max_head_size: int = 65536
    max_headers: int = 200
    max_body_size: int = 64 * 1024 * 1024
    head_timeout: float = 10.0
    """For a request's head to arrive."""
    request_timeout: float = 30.0
    """For a whole request to arrive."""
    write_timeout: float = 10.0
    """For the client to read answers that do not fit into the socket's buffer."""
    keep_alive_timeout: float = 60.0
    """For the next request on an idle connection."""


class _Phase(Enum):
    HEAD = "head"  # between requests, or in a head
    BODY = "body"
    HANDLING = "handling"  # the handler answers later
    CLOSED = "closed"


class KnownHeads:
    """Parsed heads by their bytes: clients send the same ones again and again."""

    __slots__ = ("_heads", "get")

    MAX_ENTRIES: Final = 512
    MAX_SIZE: Final = 2048

    def __init__(self) -> None:
        self._heads: dict[bytes, RequestHead] = {}
        self.get = self._heads.get

    def add(self, raw: bytes, head: RequestHead) -> None:
        """Remembers ``head`` unless it is large."""
        if len(raw) > self.MAX_SIZE:
            return
        if len(self._heads) >= self.MAX_ENTRIES:
            self._heads.clear()  # heads that never repeat; the others come back at once
        self._heads[raw] = head


class HttpFastPath(asyncio.Protocol):
    """Serves one connection with the handler functions of a site.

    Requests are handled one after the other; answers are in order. A request for which the site
    has no route is handed to ``hand_over`` with all unread bytes, together with the connection.
    """

    __slots__ = (
        "_age",
        "_body",
        "_buffer",
        "_date",
        "_hand_over",
        "_head",
        "_is_blocked",
        "_known_heads",
        "_limits",
        "_phase",
        "_pipelined",
        "_pipelined_size",
        "_site",
        "_stopping",
        "_watch",
        "_wire",
        "_work",
    )

    def __init__(
        self,
        site: Site,
        limits: HttpLimits,
        watch: Watch,
        hand_over: Callable[[asyncio.Transport, bytes], None],
        known_heads: KnownHeads,
    ) -> None:
        self._site = site
        self._limits = limits
        self._watch = watch
        self._hand_over = hand_over
        self._known_heads = known_heads
        self._wire: asyncio.Transport = None  # type: ignore[assignment]  # set when made
        self._buffer = bytearray()
        self._phase = _Phase.HEAD
        self._age = 0.0  # seconds in this phase: bytes that drip do not prolong it
        self._head: RequestHead | None = None
        self._body: ChunkedBody | None = None
        self._work: asyncio.Future[HttpResponse] | None = None
        self._is_blocked = False
        self._stopping = False
        self._pipelined: list[bytes] | None = None  # answers of this chunk, not written yet
        self._pipelined_size = 0

    # -- asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection."""
        self._wire = transport  # type: ignore[assignment]  # uvloop's are no asyncio.Transport
        self._watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is gone; an answer under way will be thrown away."""
        self._phase = _Phase.CLOSED
        self._watch.discard(self)
        self._buffer.clear()

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for an answer."""
        self._stopping = True
        # TLS connections cannot stay half open.
        return self._phase is _Phase.HANDLING and self._wire.can_write_eof()

    def pause_writing(self) -> None:
        """The client does not read its answers: no more requests are read."""
        self._is_blocked = True
        self._age = 0.0
        self._wire.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_blocked = False
        self._age = 0.0
        self._wire.resume_reading()
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._phase is _Phase.HEAD and not self._buffer:
            self._age = 0.0
            size = data.find(HEAD_END) + 4
            head = self._known_heads.get(data[:size])
            if head is not None and len(data) == size + head.content_length:
                self._handle(head, data[size:])
                return
        if self._phase is _Phase.CLOSED:
            return
        self._buffer += data
        if self._phase is _Phase.HANDLING or self._is_blocked:
            if len(self._buffer) > self._limits.max_head_size:
                self._wire.pause_reading()
            return
        self._advance()

    # -- reading

    def _advance(self) -> None:
        """Handles all whole requests in the buffer."""
        if self._pipelined is not None:
            return  # called back from a write below
        self._pipelined = []
        try:
            while self._buffer and not self._is_blocked and self._step():
                if self._pipelined_size > _JOINED_SIZE:
                    self._flush()
        finally:
            self._flush()
            self._pipelined = None
        if self._stopping and self._phase is _Phase.HEAD and not self._buffer:
            self._end()

    def _step(self) -> bool:
        """One head or one body; False if more bytes, or an answer, must be waited for."""
        if self._phase is _Phase.HEAD:
            return self._read_head()
        if self._phase is _Phase.BODY:
            return self._read_body()
        return False

    def _read_head(self) -> bool:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # some clients send one after a body
            del buffer[:2]
        end = buffer.find(HEAD_END, 0, self._limits.max_head_size + 4)
        if end < 0:
            if len(buffer) > self._limits.max_head_size:
                self._refuse(431)
            return False
        size = end + 4
        raw = bytes(buffer[:size])
        head = self._known_heads.get(raw)
        if head is None:
            target = raw[: raw.find(b"\r\n")].split(b" ", 2)
            if len(target) == 3 and self._site.route(path_of(target[1])) is None:
                self._give_away()
                return False
            try:
                head = parse_head(raw, max_headers=self._limits.max_headers)
            except BadRequestHead as error:
                self._refuse(error.status)
                return False
            if head.is_plain:
                self._known_heads.add(raw, head)
        del buffer[:size]
        self._head = head
        self._age = 0.0
        return self._expect_body(head)

    def _expect_body(self, head: RequestHead) -> bool:
        self._phase = _Phase.BODY
        if head.content_length > self._max_body_size(head):
            self._refuse_body(head)
            return False
        expects = head.headers.get("expect")
        if expects is not None:
            if expects.lower() != "100-continue":
                self._refuse(417)
                return False
            if head.has_body and len(self._buffer) < max(head.content_length, 1):
                self._write(_CONTINUE)
        self._body = ChunkedBody() if head.chunked else None
        return self._read_body()

    def _read_body(self) -> bool:
        head, chunks = self._head, self._body
        assert head is not None
        if chunks is None:
            length = head.content_length
            if len(self._buffer) < length:
                return False
            body = bytes(self._buffer[:length])
            del self._buffer[:length]
        else:
            try:
                is_complete = chunks.feed(self._buffer)
            except BadChunks:
                self._refuse(400)
                return False
            if len(chunks.content) > self._max_body_size(head):
                self._refuse_body(head)
                return False
            if not is_complete:
                return False
            body = bytes(chunks.content)
            self._body = None
        self._phase = _Phase.HEAD
        self._age = 0.0
        self._head = None
        self._handle(head, body)
        return self._phase is _Phase.HEAD

    def _max_body_size(self, head: RequestHead) -> int:
        return self._route(head).max_body_size or self._limits.max_body_size

    def _route(self, head: RequestHead) -> HttpRoute:
        route = self._site.route(head.path)
        assert route is not None  # only requests with a route come so far
        return route

    def _refuse_body(self, head: RequestHead) -> None:
        too_large = self._route(head).too_large
        if too_large is None:
            self._refuse(413)
            return
        self._stopping = True  # the body is not read: nothing can follow it
        self._respond(head, too_large(head.headers))

    def _give_away(self) -> None:
        """The next request belongs to somebody else, and so do the connection's later ones."""
        self._flush()
        if self._is_blocked:
            return  # earlier answers must be taken first: the next owner knows nothing of them
        data = bytes(self._buffer)
        self._buffer.clear()
        self._phase = _Phase.CLOSED
        self._watch.discard(self)
        self._hand_over(self._wire, data)

    # -- answering

    def _handle(self, head: RequestHead, body: bytes) -> None:
        answer = call_handler(self._route(head).handler, head, body)
        if type(answer) is HttpResponse:
            self._respond(head, answer)
        elif type(answer) is Takeover:
            self._surrender(head, answer)
        else:
            self._wait_for(head, answer)  # type: ignore[arg-type]  # what is left

    def _surrender(self, head: RequestHead, answer: Takeover) -> None:
        """The connection goes to the giver of the answer; unread bytes are its client's fault."""
        self._flush()
        self._phase = _Phase.CLOSED
        self._watch.discard(self)
        if self._wire.is_closing():
            return
        if self._is_blocked:
            # The client sends request after request and does not read. The next owner would not
            # be told that the wire is full, and fill it without bounds.
            self._wire.abort()
            return
        exchange = Http1Exchange(self._wire, head, self._hand_over, self._watch.common_lines)
        if self._buffer:
            self._buffer.clear()
            exchange.spoil()
        answer.take(exchange, head)

    def _wait_for(self, head: RequestHead, future: asyncio.Future[HttpResponse]) -> None:
        self._phase = _Phase.HANDLING
        self._work = future

        def finished(done: asyncio.Future[HttpResponse]) -> None:
            self._finish(head, done)

        future.add_done_callback(finished)

    def _finish(self, head: RequestHead, done: asyncio.Future[HttpResponse]) -> None:
        self._work = None
        answer = outcome(head, done)
        if self._phase is _Phase.CLOSED:
            return
        self._phase = _Phase.HEAD
        self._age = 0.0
        self._respond(head, answer)
        if not self._is_blocked and self._phase is _Phase.HEAD:
            self._wire.resume_reading()
            self._advance()

    def _respond(self, head: RequestHead, answer: HttpResponse) -> None:
        body = answer.body
        keep = head.keep_alive and not self._stopping
        if (
            keep
            and head.http11
            and answer.status == 200
            and answer.content_type is JSON_TYPE
            and not answer.headers
            and head.method == "POST"
        ):
            self._write(b"%b%d\r\n\r\n%b" % (self._watch.json_head, len(body), body))
            return
        lines = [status_line(answer.status)]
        lines.extend(f"{name}: {value}\r\n" for name, value in answer.fields())
        lines.append(self._watch.common_lines)
        if not keep:
            lines.append("Connection: close\r\n")
        elif not head.http11:
            lines.append("Connection: keep-alive\r\n")
        lines.append("\r\n")
        if head.method == "HEAD" or answer.status in (204, 304):
            body = b""
        self._write("".join(lines).encode("latin-1") + body)
        if not keep:
            self._end()

    def _refuse(self, status: int) -> None:
        """Answers a request that cannot be read; the connection is of no use after it."""
        self._write(plain_error(status, close=True).encode(self._watch.common_lines))
        self._end()

    def _write(self, data: bytes) -> None:
        if self._pipelined is not None:
            self._pipelined.append(data)
            self._pipelined_size += len(data)
        else:
            self._wire.write(data)

    def _flush(self) -> None:
        """Writes the answers that were held back to leave together."""
        if self._pipelined:
            answers, self._pipelined = self._pipelined, []
            self._pipelined_size = 0
            if not self._wire.is_closing():
                self._wire.write(b"".join(answers))

    def _end(self) -> None:
        """Closes after everything written so far."""
        if self._phase is _Phase.CLOSED:
            return
        self._flush()
        self._phase = _Phase.CLOSED
        self._age = 0.0
        self._buffer.clear()
        close_gently(self._wire)

    # -- upkeep, by the listener

    def tick(self, seconds: float) -> None:
        """Called every ``seconds``: ends what takes too long."""
        self._age += seconds
        limits = self._limits
        if self._is_blocked:
            if self._age > limits.write_timeout:
                self._wire.abort()
        elif self._phase is _Phase.HEAD:
            if self._age > (limits.head_timeout if self._buffer else limits.keep_alive_timeout):
                self._wire.close()
        elif self._phase is _Phase.BODY:
            if self._age > limits.request_timeout:
                self._refuse(408)
        elif self._phase is _Phase.CLOSED and self._age > limits.write_timeout:
            self._wire.abort()

    def abort(self) -> None:
        """Drops the connection."""
        self._wire.abort()

    def shutdown(self) -> None:
        """Ends an idle connection, or the current request's after its answer."""
        self._stopping = True
        if self._phase is _Phase.HEAD and not self._buffer:
            self._end()


def call_handler(
    handler: Handler, head: RequestHead, body: bytes
) -> HttpResponse | Takeover | asyncio.Future[HttpResponse]:
    """What a handler says to a whole request; a failure is logged and answered with 500."""
    try:
        answer: Any = handler(head.method, head.path, head.query, head.headers, body)
        if type(answer) is not HttpResponse and type(answer) is not Takeover:
            if asyncio.iscoroutine(answer):
                answer = start_eagerly(answer)
            if not isinstance(answer, HttpResponse):
                answer = asyncio.ensure_future(answer)
    except Exception:
        logger.exception("the handler of %s %s failed", head.method, head.path)
        answer = HttpResponse(b"Internal Server Error\n", 500, "text/plain; charset=utf-8")
    return answer  # type: ignore[no-any-return]  # one of the three


def outcome(head: RequestHead, done: asyncio.Future[HttpResponse]) -> HttpResponse:
    """The answer that a handler came to; a failure is logged and answered with 500."""
    text = "text/plain; charset=utf-8"
    if done.cancelled():
        return HttpResponse(b"Service Unavailable\n", 503, text)
    error = done.exception()
    if error is None:
        return done.result()
    logger.error("the handler of %s %s failed", head.method, head.path, exc_info=error)
    return HttpResponse(b"Internal Server Error\n", 500, text)


def close_gently(wire: asyncio.Transport) -> None:
    """Closes so that the peer still gets what was written, even if it is sending.

    Closing a socket with unread input resets the connection and may destroy answers that the
    peer has not read. Where possible only our direction is ended; the owner's ``tick`` must
    abort a peer that does not end its own.
    """
    if wire.can_write_eof():
        wire.write_eof()
    else:
        wire.close()
