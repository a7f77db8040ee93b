"""HTTP/1.1: the protocol of a connection until something else takes it.

A request that arrives whole in one chunk, with a head that was seen before (clients repeat
themselves), costs one lookup, a call of the handler and one write. Everything else HTTP/1.1
allows is served too, by longer ways.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from flyball.aio.states import State
from flyball.http.body import BadChunks, ChunkedBody
from flyball.http.encoding import encode_response
from flyball.http.head import HEAD_END, BadRequestHead, parse_head, path_of
from flyball.http.messages import JSON_TYPE, NOT_FOUND, Response, plain_error
from flyball.http.routes import outcome
from flyball.http.streams import Http1Stream, StreamingResponse
from flyball.http.timeouts import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.held import HeldBytes
    from flyball.aio.timers import TimerWheel
    from flyball.http.common_headers import CommonHeaders
    from flyball.http.messages import HttpLimits, RequestHead
    from flyball.http.request_log import RequestLog
    from flyball.http.routes import Endpoint, Routes

logger: Final = logging.getLogger("flyball.transports")

MAX_SKIPPED: Final = 262_144
"""Bytes of the body of a refused request that are read and dropped, so that the connection can
go on; it ends before a longer one."""
_JOINED_SIZE: Final = 65536
"""Bytes of answers to pipelined requests that are written together."""
STEPS_A_TURN: Final = 32
"""Requests, or pieces of a body in chunks, of one connection that are worked off before the others
have their turn."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\n"
"""What clients of HTTP/2 begin with (RFC 9113, section 3.4), up to its blank line."""


class ConnectionState(State):
    """How far a connection is with its current request."""

    HEAD = "head"  # a head has begun; a new connection waits for its first one
    BODY = "body"  # the head is whole
    HANDLING = "handling"  # the handler answers later
    IDLE = "idle"  # answered: between two requests
    ENDING = "ending"  # the last answer is written; nothing more is read
    GONE = "gone"  # lost, or another protocol has the wire


# A connection goes round: a head begins with its first byte and ends with a blank line; then
# comes the body, of no bytes where there is none; its request is answered at once or later; the
# next head may begin. An answer that says "close", and a request that cannot be read, end it.
# Another protocol takes the wire at a head (an upgrade, an ASGI app, HTTP/2), or after a body (a
# stream); the client may be gone at any time.
_TRANSITIONS: Final = {
    ConnectionState.HEAD: {ConnectionState.BODY, ConnectionState.ENDING, ConnectionState.GONE},
    ConnectionState.BODY: {
        ConnectionState.HANDLING,
        ConnectionState.IDLE,
        ConnectionState.ENDING,
        ConnectionState.GONE,
    },
    ConnectionState.HANDLING: {ConnectionState.IDLE, ConnectionState.GONE},
    ConnectionState.IDLE: {
        ConnectionState.HEAD,
        ConnectionState.ENDING,
        ConnectionState.GONE,
    },
    ConnectionState.ENDING: {ConnectionState.GONE},
    ConnectionState.GONE: {ConnectionState.GONE},
}
_HEAD, _BODY, _IDLE = ConnectionState.HEAD, ConnectionState.BODY, ConnectionState.IDLE
_HANDLING, _ENDING, _GONE = ConnectionState.HANDLING, ConnectionState.ENDING, ConnectionState.GONE


class HeadCache:
    """Parsed heads and who serves them, by their bytes: clients send the same ones again and again.

    Only such as fit their endpoint; whether it admits them is asked each time. Bounded by :attr:`MAX_ENTRIES` heads of :attr:`MAX_SIZE` bytes.
    """

    __slots__ = ("_heads", "get")

    MAX_ENTRIES: Final = 512
    MAX_SIZE: Final = 2048

    def __init__(self) -> None:
        self._heads: dict[bytes, tuple[RequestHead, Endpoint]] = {}
        self.get: Callable[[bytes], tuple[RequestHead, Endpoint] | None] = self._heads.get

    def add(self, raw: bytes, head: RequestHead, endpoint: Endpoint) -> None:
        """Remembers ``head`` unless it is large."""
        if len(raw) > self.MAX_SIZE:
            return
        if len(self._heads) >= self.MAX_ENTRIES:
            self._heads.clear()  # heads that never repeat; the others come back at once
        self._heads[raw] = (head, endpoint)


@dataclass(slots=True)
class Http1Service:
    """What the connections of a listener are served with."""

    routes: Routes
    limits: HttpLimits
    timers: TimerWheel
    common: CommonHeaders
    take_back: Callable[[asyncio.Transport, bytes], None]
    """Takes a connection again after a stream that had it for itself."""
    held: HeldBytes
    """What requests of strangers fill together while they are not whole."""
    log: RequestLog
    switch_to_app: Callable[[asyncio.Transport, bytes], None] | None = None
    """Takes a connection with a request that no row of the table is for; None: 404."""
    switch_to_http2: Callable[[asyncio.Transport, bytes], None] | None = None
    """Takes a connection whose client speaks HTTP/2; there if ``alpn`` or ``h2c`` says so."""
    alpn: bool = False
    """TLS clients may choose HTTP/2."""
    h2c: bool = False
    """Clients may begin with HTTP/2 unasked (prior knowledge)."""
    heads: HeadCache = field(default_factory=HeadCache)
    connections: set[Http1Connection] = field(default_factory=set)
    """Those that no other protocol has; each adds and discards itself."""

    @property
    def shares(self) -> bool:
        """There are others for whom a request may be."""
        return self.h2c or self.switch_to_app is not None


class _Incoming:
    """A request whose body is on its way. Has an endpoint, or a refusal."""

    __slots__ = ("chunks", "endpoint", "head", "refusal")

    def __init__(
        self, head: RequestHead, endpoint: Endpoint | None, refusal: Response | None
    ) -> None:
        self.head = head
        self.endpoint = endpoint
        self.refusal = refusal
        self.chunks = ChunkedBody() if head.chunked else None


class Http1Connection(asyncio.Protocol):
    """Serves one connection by the route table.

    Requests are handled one after the other; answers are in order. Upgrades, streams, and what
    belongs to an ASGI app take the connection over.
    """

    __slots__ = (
        "_began",
        "_buffer",
        "_deadline",
        "_incoming",
        "_is_blocked",
        "_later",
        "_pipelined",
        "_pipelined_size",
        "_service",
        "_state",
        "_stopping",
        "_wire",
    )

    def __init__(self, service: Http1Service, state: ConnectionState = _HEAD) -> None:
        """``state`` is ``IDLE`` for a connection that had requests before."""
        self._service = service
        self._wire: asyncio.Transport = None  # type: ignore[assignment]  # set when made
        self._buffer = bytearray()
        self._state = state
        self._deadline = Deadline(service.timers, self._on_deadline)
        self._incoming: _Incoming | None = None
        self._is_blocked = False
        self._later = False  # another turn takes up what the buffer has left
        self._began = 0.0  # the request, where the log wants to know
        self._stopping = False
        self._pipelined: list[bytes] | None = None  # answers of this chunk, not written yet
        self._pipelined_size = 0

    def _enter(self, state: ConnectionState) -> None:
        assert state in _TRANSITIONS[self._state], (self._state, state)
        self._state = state
        self._limit_time()

    # -- asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection."""
        self._wire = wire = transport  # type: ignore[assignment]  # uvloop's are no asyncio.Transport
        service = self._service
        service.connections.add(self)
        self._limit_time()
        if service.alpn and service.switch_to_http2 is not None:
            tls = wire.get_extra_info("ssl_object")
            if tls is not None and tls.selected_alpn_protocol() == "h2":
                self._leave()
                service.switch_to_http2(wire, b"")  # type: ignore[arg-type]  # as above

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is gone; an answer under way will be thrown away."""
        self._enter(_GONE)
        self._service.connections.discard(self)
        self._forget_input()

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for an answer."""
        self._stopping = True
        # TLS connections cannot stay half open.
        return self._state is _HANDLING and self._wire.can_write_eof()

    def pause_writing(self) -> None:
        """The client does not read its answers: no more requests are read."""
        self._is_blocked = True
        self._limit_time()
        self._wire.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._is_blocked = False
        self._limit_time()
        self._wire.resume_reading()
        if not self._later:
            self._advance()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        state = self._state
        if (state is _IDLE or state is _HEAD) and not self._buffer and not self._is_blocked:
            size = data.find(HEAD_END) + 4
            known = self._service.heads.get(data[:size])
            if known is not None:
                head, endpoint = known
                if len(data) == size + head.content_length:
                    self._began = self._service.log.now()
                    self._state = _BODY  # the common request: without a look at the table above
                    refusal = endpoint.admit(head)
                    if refusal is None:
                        self._handle(head, endpoint, data[size:])
                    else:
                        self._service.log.refused_by(refusal, head, self._wire)
                        self._respond(head, refusal)
                    return
            elif len(data) == size > 3 and not data.startswith(b"\r\n"):
                if state is _IDLE:
                    self._enter(_HEAD)
                self._read_head(data)
                return
        if state is _ENDING or state is _GONE:
            return
        self._buffer += data
        if state is _HANDLING or self._is_blocked or self._later:
            if len(self._buffer) > self._service.limits.max_head_size:
                self._wire.pause_reading()
        else:
            self._advance()
        self._count_held()

    # -- reading

    def _advance(self) -> None:
        """Handles the whole requests in the buffer, but no more than one turn's share."""
        if self._pipelined is not None:
            return  # called back from a write below
        self._pipelined = []
        steps = STEPS_A_TURN
        try:
            while self._buffer and not self._is_blocked and self._step():
                steps -= 1
                if not steps and self._buffer:
                    self._go_on_later()
                    break
                if self._pipelined_size > _JOINED_SIZE:
                    self._flush()
        finally:
            self._flush()
            self._pipelined = None
        if self._stopping and self._state is _IDLE and not self._buffer:
            self._end()

    def _go_on_later(self) -> None:
        """Leaves the rest of what came to another turn: the other connections come first."""
        self._later = True
        self._wire.pause_reading()
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._later = False
        if self._state is _GONE or self._state is _ENDING or self._is_blocked:
            return
        self._wire.resume_reading()
        if self._state is not _HANDLING:
            self._advance()
            self._count_held()

    def _count_held(self) -> None:
        """What a stranger leaves unfinished fills a room that all strangers share."""
        size, incoming = len(self._buffer), self._incoming
        if incoming is not None:
            if incoming.endpoint is not None and incoming.endpoint.is_admitted:
                size = 0
            elif incoming.chunks is not None:
                size += len(incoming.chunks.content)
        self._service.held.hold(self, size)

    def give_up(self) -> None:
        """See :meth:`Holder.give_up <flyball.aio.held.Holder.give_up>`."""
        self._forget_input()
        self._wire.abort()

    def _step(self) -> bool:
        """One head or one body; False if more bytes, or an answer, must be waited for."""
        if self._state is _IDLE or self._state is _HEAD:
            return self._cut_head()
        if self._state is _BODY:
            return self._read_body()
        return False

    def _cut_head(self) -> bool:
        """Takes a whole head out of the buffer."""
        buffer, limit = self._buffer, self._service.limits.max_head_size
        while buffer.startswith(b"\r\n"):  # some clients send one after a body
            del buffer[:2]
        if not buffer:
            return False
        if self._state is _IDLE:
            self._enter(_HEAD)
        size = buffer.find(HEAD_END, 0, limit + 4) + 4
        if size < 4:
            if len(buffer) > limit:
                self._refuse(431)
            return False
        raw = bytes(buffer[:size])
        del buffer[:size]
        known = self._service.heads.get(raw)
        if known is None:
            return self._read_head(raw)
        head, endpoint = known
        self._began = self._service.log.now()
        return self._begin_body(head, endpoint, endpoint.admit(head))

    def _read_head(self, raw: bytes) -> bool:
        """Finds out whose a request is; True if the connection is ready for its next one."""
        service = self._service
        if service.shares and self._is_for_another(raw):
            return False
        if len(raw) > service.limits.max_head_size:
            self._refuse(431)
            return False
        try:
            head = parse_head(raw, max_headers=service.limits.max_headers)
        except BadRequestHead as error:
            service.log.refused("a request that is not HTTP", self._wire, error)
            self._refuse(error.status)
            return False
        self._began = service.log.now()
        found = service.routes.find(head.path)
        if found is None:
            return self._begin_body(head, None, NOT_FOUND)
        if found.upgrade is not None:
            return self._upgrade(raw, head, found)
        misfit = found.misfit(head, service.limits)
        if misfit is None and head.is_plain:
            service.heads.add(raw, head, found)
        return self._begin_body(head, found, misfit or found.admit(head))

    def _begin_body(
        self, head: RequestHead, endpoint: Endpoint | None, refusal: Response | None
    ) -> bool:
        """The head is dealt with; a request is refused once its body is skipped, if it can be."""
        self._enter(_BODY)
        expects = head.headers.get("expect")
        if refusal is not None:
            self._service.log.refused_by(refusal, head, self._wire)
            if refusal.close or expects is not None or head.content_length > MAX_SKIPPED:
                self._respond(head, refusal, close=head.has_body)
                return self._state is _IDLE
        elif expects is not None:
            if expects.lower() != "100-continue":
                self._refuse(417)
                return False
            if head.has_body and len(self._buffer) < max(head.content_length, 1):
                self._write(_CONTINUE)
        self._incoming = _Incoming(head, endpoint, refusal)
        return self._read_body()

    def _read_body(self) -> bool:
        incoming = self._incoming
        assert incoming is not None
        head, chunks = incoming.head, incoming.chunks
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
            if self._is_too_long(incoming, len(chunks.content)):
                return False
            if not is_complete:
                return bool(self._buffer)  # another piece, perhaps in another turn
            body = bytes(chunks.content)
        self._incoming = None
        if incoming.refusal is not None:
            self._respond(head, incoming.refusal)
        elif incoming.endpoint is not None:
            self._handle(head, incoming.endpoint, body)
        return self._state is _IDLE

    def _is_too_long(self, incoming: _Incoming, size: int) -> bool:
        """Answers a body of chunks that has grown over its limit."""
        head, endpoint, answer = incoming.head, incoming.endpoint, incoming.refusal
        if answer is not None:
            if size <= MAX_SKIPPED:
                return False
        else:
            assert endpoint is not None
            if size <= endpoint.body_limit(self._service.limits):
                return False
            answer = endpoint.too_large(head)
        self._respond(head, answer, close=True)
        return True

    # -- to other protocols

    def _is_for_another(self, raw: bytes) -> bool:
        """A request that no row of the table is for: HTTP/2, or the ASGI app, takes it if it can."""
        service = self._service
        target = raw[: raw.find(b"\r\n")].split(b" ", 2)
        switch = None
        if raw == _HTTP2_PREFACE and service.h2c:
            switch = service.switch_to_http2
        elif len(target) == 3 and service.routes.find(path_of(target[1])) is None:
            switch = service.switch_to_app
        if switch is None:
            return False
        self._flush()
        if self._is_blocked:
            # No protocol takes a wire over that was full before: it would not be told.
            self._buffer[:0] = raw
            return True
        data = raw + self._buffer
        self._leave()
        switch(self._wire, data)
        return True

    def _upgrade(self, raw: bytes, head: RequestHead, endpoint: Endpoint) -> bool:
        self._flush()
        if self._is_blocked:
            self._buffer[:0] = raw  # as above
            return False
        answer = endpoint.handshake(head)
        if type(answer) is Response:
            return self._begin_body(head, endpoint, answer)
        unread = bool(self._buffer)
        if self._began:
            self._tell(head, 101)
        self._leave()
        if unread:
            # Frames before the 101 answer could be a smuggled request: not answered at all.
            self._wire.abort()
        else:
            assert endpoint.upgrade is not None
            endpoint.upgrade.open(head, answer, self._wire)
        return False

    def _stream(self, head: RequestHead, answer: StreamingResponse) -> None:
        """The connection goes to the giver of the answer; unread bytes are its client's fault."""
        self._flush()
        is_blocked, unread = self._is_blocked, bool(self._buffer)
        self._leave()
        if self._wire.is_closing():
            return
        if is_blocked:
            # The client sends request after request and does not read. The next owner would not
            # be told that the wire is full, and fill it without bounds.
            self._wire.abort()
            return
        service = self._service
        stream = Http1Stream(self._wire, head, service.take_back, service.common.lines)
        if unread:
            stream.disable_keep_alive()
        if self._began:
            stream.tell_status(partial(self._tell, head))
        answer.take(stream, head)

    def _leave(self) -> None:
        """The wire is somebody else's from now on."""
        self._enter(_GONE)
        self._service.connections.discard(self)
        self._forget_input()

    def _forget_input(self) -> None:
        self._buffer.clear()
        self._incoming = None
        self._service.held.free(self)

    # -- answering

    def _handle(self, head: RequestHead, endpoint: Endpoint, body: bytes) -> None:
        answer = endpoint.answer(head, body, self._wire)
        if type(answer) is Response:
            self._respond(head, answer)
        elif type(answer) is StreamingResponse:
            self._stream(head, answer)
        else:
            self._wait_for(head, answer)  # type: ignore[arg-type]  # what is left

    def _wait_for(self, head: RequestHead, future: asyncio.Future[Response]) -> None:
        self._enter(_HANDLING)

        def finished(done: asyncio.Future[Response]) -> None:
            self._finish(head, done)

        future.add_done_callback(finished)

    def _finish(self, head: RequestHead, done: asyncio.Future[Response]) -> None:
        answer = outcome(head, done)
        if self._state is _GONE:
            return
        self._respond(head, answer)
        if not self._is_blocked and self._state is _IDLE and not self._later:
            self._wire.resume_reading()
            self._advance()

    def _tell(self, head: RequestHead, status: int) -> None:
        self._service.log.answered(head, status, self._wire, self._began)

    def _respond(self, head: RequestHead, answer: Response, *, close: bool = False) -> None:
        """Answers the current request; ``close``: no other follows it."""
        self._enter(_IDLE)
        if self._began:
            self._tell(head, answer.status)
        keep = head.keep_alive and not (self._stopping or close or answer.close)
        if (
            keep
            and head.http11
            and answer.status == 200
            and answer.content_type is JSON_TYPE
            and not answer.headers
            and head.method == "POST"
        ):
            body = answer.body
            self._write(b"%b%d\r\n\r\n%b" % (self._service.common.json_head, len(body), body))
            return
        data = encode_response(
            answer,
            self._service.common.lines,
            keep_alive=keep,
            http11=head.http11,
            with_body=head.method != "HEAD",
        )
        self._write(data)
        if not keep:
            self._end()

    def _refuse(self, status: int) -> None:
        """Answers a request that cannot be read; the connection is of no use after it."""
        answer = plain_error(status, close=True)
        self._write(encode_response(answer, self._service.common.lines))
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
        if self._state in (_ENDING, _GONE):
            return
        self._flush()
        self._enter(_ENDING)
        self._forget_input()
        close_gently(self._wire)

    # -- time limits, and the end by the listener

    def _limit_time(self) -> None:
        """Sets how long this state may last; bytes that drip do not prolong it."""
        limits, state, deadline = self._service.limits, self._state, self._deadline
        if state is _GONE:
            deadline.close()
        elif self._is_blocked or state is _ENDING:
            deadline.set(limits.write_timeout)
        elif state is _IDLE:
            deadline.extend(limits.keep_alive_timeout)
        elif state is _HEAD:
            deadline.set(limits.head_timeout)
        elif state is _BODY:
            deadline.set(limits.request_timeout)
        else:
            deadline.clear()

    def _on_deadline(self) -> None:
        if self._state is _BODY and not self._is_blocked:
            self._refuse(408)
        elif self._state is _IDLE and not self._is_blocked:
            self._wire.close()
        else:
            self._wire.abort()

    def abort(self) -> None:
        """Drops the connection."""
        self._wire.abort()

    def shutdown(self) -> None:
        """Ends a connection without a whole request, or the current one after its answer."""
        self._stopping = True
        if self._state is _IDLE or self._state is _HEAD:
            # Nothing of it is under way: not for its sake does the port's end wait.
            self._enter(_ENDING)
            self._forget_input()
            self._wire.close()


def close_gently(wire: asyncio.Transport) -> None:
    """Closes so that the peer still gets what was written, even if it is sending.

    Closing a socket with unread input resets the connection and may destroy answers that the
    peer has not read. Where possible only our direction is ended; the owner must abort a
    peer that does not end its own in time.
    """
    if wire.can_write_eof():
        wire.write_eof()
    else:
        wire.close()
