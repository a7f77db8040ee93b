"""A request that came as a stream finds who answers it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from flyball.http.head import is_safe_value, is_target, is_token
from flyball.http.messages import NOT_FOUND, RequestHead, Response, plain_error
from flyball.http.multiplex.asgi import AsgiRequest
from flyball.http.multiplex.wire import MultiplexedStream, StreamWire
from flyball.http.routes import outcome
from flyball.http.streams import StreamingResponse
from flyball.http.timeouts import Deadline

if TYPE_CHECKING:
    from flyball.http.multiplex.service import StreamService
    from flyball.http.multiplex.wire import Fields, MultiplexedConnection
    from flyball.http.routes import Endpoint


_SPOKEN: Final = {"2": ("websocket",), "3": ("websocket", "webtransport")}
"""What an extended CONNECT may ask for, by the version of HTTP."""


class BadFields(ValueError):
    """The header fields make no request."""


def read_head(fields: Fields, *, max_headers: int) -> tuple[RequestHead, str]:
    """A request's head from header fields, and its ``:protocol`` (empty if none).

    What HTTP/1.1 has no words for is refused: requests may be passed on to where it is spoken.

    Raises:
        BadFields: something is missing or malformed, or there are more than ``max_headers`` fields.
    """
    if len(fields) > max_headers:
        raise BadFields(f"more than {max_headers} headers")
    pseudo: dict[bytes, str] = {}
    headers: dict[str, str] = {}
    for name, value in fields:
        text = value.decode("latin-1")
        if not is_safe_value(text):
            raise BadFields(f"a control character in the value of {name!r}")
        if name.startswith(b":"):
            pseudo[name] = text
            continue
        key = name.decode("latin-1")
        if not is_token(key):
            raise BadFields(f"a header called {name!r}")
        if key in headers:
            # Cookies may be split into many fields (RFC 9113, section 8.2.3).
            headers[key] += ("; " if key == "cookie" else ", ") + text
        else:
            headers[key] = text
    path, query = _target(pseudo.get(b":path", ""))
    method = pseudo.get(b":method", "")
    if not is_token(method):
        raise BadFields(f"a method called {method!r}")
    authority = pseudo.get(b":authority")
    if authority is not None:
        headers["host"] = authority
    length = headers.get("content-length", "")
    announced = int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else 0
    head = RequestHead(method, path, query, headers, content_length=announced)
    return head, pseudo.get(b":protocol", "")


def _target(target: str) -> tuple[str, str]:
    """Path and query."""
    if not target:
        raise BadFields("no path")
    if not is_target(target):
        raise BadFields("a path with characters that no URL has")
    path, _, query = target.partition("?")
    return path, query


MAX_HELD: Final = 1024 * 1024
"""Bytes that the requests of strangers on one connection may fill together, unless a single one may
have more."""


def open_stream(
    service: StreamService, connection: MultiplexedConnection, stream_id: int, fields: Fields
) -> StreamWire:
    """Makes the wire of a stream whose request head has come; the caller feeds what follows."""
    request = StreamRequest(service, connection)
    wire = connection.streams[stream_id] = StreamWire(connection, stream_id, request)
    request.begin(wire, fields)
    return wire


class StreamRequest(asyncio.Protocol):
    """Reads a request and hands its wire to a transport, or answers it."""

    __slots__ = (
        "_began",
        "_body",
        "_connection",
        "_deadline",
        "_endpoint",
        "_head",
        "_held",
        "_service",
        "_size",
        "_wire",
    )

    def __init__(self, service: StreamService, connection: MultiplexedConnection) -> None:
        self._service = service
        self._connection = connection
        self._began = 0.0
        self._held = 0  # bytes of the body that count as a stranger's
        self._wire: StreamWire = None  # type: ignore[assignment]  # set by begin()
        self._head: RequestHead | None = None
        self._endpoint: Endpoint | None = None
        self._body: list[bytes] | None = []
        """None: the request is dealt with."""
        self._size = 0
        self._deadline: Deadline | None = None

    def begin(self, wire: StreamWire, fields: Fields) -> None:
        """The head of the request."""
        self._wire = wire
        service = self._service
        try:
            head, protocol = read_head(fields, max_headers=service.limits.max_headers)
        except BadFields as error:
            service.log.refused("a request that is not HTTP", wire, error)
            self._answer(plain_error(400))
            return
        self._head = head
        self._began = service.log.now()
        endpoint = self._endpoint = service.routes.find(head.path)
        if endpoint is None:
            self._begin_without_row(head, protocol)
        elif endpoint.upgrade is not None:
            answer = endpoint.handshake(head, protocol)
            if isinstance(answer, Response):
                self._answer(answer)
                return
            wire.start(200, answer.headers)
            self._tell(200)
            endpoint.upgrade.open(head, answer, wire)
        else:
            refusal = endpoint.refuse(head, service.limits)
            if refusal is None:
                self._deadline = Deadline(service.timers, self._on_deadline)
                self._deadline.set(service.limits.request_timeout)
            else:
                service.log.refused_by(refusal, head, self._wire)
                self._answer(refusal)

    def _begin_without_row(self, head: RequestHead, protocol: str) -> None:
        has_app = self._service.routes.app is not None
        if protocol and (has_app or protocol not in _SPOKEN[self._service.version]):
            # RFC 9220, section 3: a protocol that is not spoken here; ASGI apps get none at all.
            self._answer(plain_error(501))
        elif not has_app:
            self._answer(NOT_FOUND)
        else:
            AsgiRequest(self._service, self._wire, head)

    # -- asyncio's protocol

    def data_received(self, data: bytes) -> None:
        """Bytes of the body."""
        endpoint, head = self._endpoint, self._head
        if self._body is None or endpoint is None or head is None:
            return
        self._body.append(data)
        self._size += len(data)
        limit = endpoint.body_limit(self._service.limits)
        if self._size > limit:
            self._answer(endpoint.too_large(head))
        elif not endpoint.is_admitted:
            self._hold(len(data), max(limit, MAX_HELD))

    def _hold(self, size: int, room: int) -> None:
        """A stranger's body fills the room of its connection, and one that all share."""
        self._held += size
        self._connection.held += size
        if self._connection.held > room:
            self.give_up()
        else:
            self._service.held.hold(self, self._held)

    def give_up(self) -> None:
        """See :meth:`Holder.give_up <flyball.aio.held.Holder.give_up>`."""
        self._answer(plain_error(503))

    def eof_received(self) -> bool:
        """The request is whole."""
        endpoint, head, body = self._endpoint, self._head, self._body
        if endpoint is None or head is None or body is None:
            return True
        self._done()
        answer = endpoint.answer(head, b"".join(body), self._wire)
        if isinstance(answer, Response):
            self._answer(answer)
        elif isinstance(answer, StreamingResponse):
            stream = MultiplexedStream(self._wire, self._service.common.fields)
            stream.tell_status(self._tell)
            answer.take(stream, head)
        else:
            answer.add_done_callback(lambda done: self._answer(outcome(head, done)))
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client took its request back."""
        self._done()

    # -- the end

    def _done(self) -> None:
        self._body = None
        if self._held:
            self._connection.held -= self._held
            self._held = 0
            self._service.held.free(self)
        if self._deadline is not None:
            self._deadline.close()
            self._deadline = None

    def _tell(self, status: int) -> None:
        if self._head is not None:
            self._service.log.answered(self._head, status, self._wire, self._began)

    def _answer(self, response: Response) -> None:
        self._done()
        self._tell(response.status)
        with_body = self._head is None or self._head.method != "HEAD"
        fields = [*response.fields(), *self._service.common.fields]
        self._wire.answer(response.status, fields, response.body if with_body else b"")

    def _on_deadline(self) -> None:
        """The body did not come in time."""
        self._answer(plain_error(408))
