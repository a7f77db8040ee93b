"""Where streaming responses begin: one table row for each kind, one endpoint class for all."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qs

from flyball.http.address import remote_address
from flyball.http.head import kept
from flyball.http.messages import STATUS_TEXTS, Response, empty
from flyball.http.messages import TEXT_TYPE as TEXT
from flyball.http.routes import Route
from flyball.http.streams import AS_IT_COMES, StreamingResponse
from flyball.protocol.codec import DecodeError
from flyball.protocol.json_codec import JSON
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.transports.common.origin import cors_headers
from flyball.transports.common.stream_framing import StreamFraming, stream_framing
from flyball.transports.streaming.framing import EventFraming, UniEventFraming, UniStreamFraming
from flyball.transports.streaming.transport import (
    HttpStreamTransport,
    SseTransport,
    Start,
    StreamTransport,
    UniHttpStreamTransport,
    UniSseTransport,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flyball.core.errors import Disconnect
    from flyball.core.node import Node
    from flyball.core.transport import Transport
    from flyball.http.messages import RequestHead
    from flyball.http.streams import ResponseStream
    from flyball.protocol.codec import Codec
    from flyball.protocol.messages import ConnectRequest
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.common.origin import OriginPolicy

logger: Final = logging.getLogger("flyball.transports")

BINARY: Final = "application/octet-stream"
EVENTS: Final = "text/event-stream; charset=utf-8"
MAX_AGE: Final = "300"

_STREAM_HEADERS: Final = (
    ("Cache-Control", "private, no-cache, no-store, no-transform, must-revalidate, max-age=0"),
    ("Expire", "0"),  # sic: clients may know it by this name
    ("Pragma", "no-cache"),
    *AS_IT_COMES,
)


@dataclass(frozen=True, slots=True)
class StreamKind:
    """One kind of streaming endpoint."""

    transport: type[StreamTransport]
    framing: type[StreamFraming]
    methods: tuple[str, ...]
    content_type: str = ""
    """Empty: by the encoding."""
    protobuf: bool = False
    """Clients may choose Protobuf by the type of their request."""
    query: bool = False
    """With GET the request comes in the query as ``cf_connect``."""
    default: bytes | None = None
    """The request where the query has none; None: there must be one."""


HTTP_STREAM: Final = StreamKind(
    HttpStreamTransport, StreamFraming, ("POST", "OPTIONS"), protobuf=True
)
SSE: Final = StreamKind(SseTransport, EventFraming, ("GET", "POST"), EVENTS, query=True)
UNI_HTTP_STREAM: Final = StreamKind(UniHttpStreamTransport, UniStreamFraming, ("POST", "OPTIONS"))
UNI_SSE: Final = StreamKind(
    UniSseTransport, UniEventFraming, ("GET", "POST"), EVENTS, query=True, default=b"{}"
)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Settings of a streaming endpoint."""

    max_request_body_size: int = 65536
    """Bytes."""
    keep_headers: frozenset[str] | None = None
    """Request headers (lower case) that sessions keep; None: all."""
    connect_statuses: dict[int, tuple[int, str]] | None = None
    """Connect error or disconnect code to HTTP status and body (empty: the error's text), for
    unidirectional kinds; codes that are not listed get 500. None: the stream tells."""


class Admission(NamedTuple):
    """A request that becomes a stream."""

    codec: Codec
    body: bytes
    """The first frame of commands."""
    request: ConnectRequest | None
    """The connect request of a unidirectional stream."""


@dataclass(slots=True)
class StreamEndpoint:
    """Accepts streaming connections of one kind."""

    node: Node
    kind: StreamKind
    origins: OriginPolicy
    options: StreamOptions = field(default_factory=StreamOptions)
    limits: ConnectionLimits | None = None

    def route(self, path: str, option: str = "") -> Route:
        """This endpoint at ``path``, which ``option`` sets."""
        return Route(
            path,
            self.handle,
            max_body_size=self.options.max_request_body_size,
            too_large=self.too_large,
            option=option,
        )

    def handle(self, head: RequestHead, body: bytes) -> Response | StreamingResponse:
        """Answers one request: by a stream, or by why there is none."""
        answer = self.check(head, body)
        if isinstance(answer, Response):
            return answer
        admission = answer

        def take(stream: ResponseStream, head: RequestHead) -> None:
            self._open(stream, head.headers, admission)

        return StreamingResponse(take)

    def check(self, head: RequestHead, body: bytes) -> Response | Admission:
        """Decides on one request."""
        if self.limits is not None and not self.limits.admits():
            return empty(503)
        kind, method, headers = self.kind, head.method, head.headers
        if method not in kind.methods:
            return self._refuse(405, headers)
        if method == "OPTIONS":
            return preflight(self.origins, headers)
        if len(body) > self.options.max_request_body_size:
            return self.too_large(head)
        if kind.query and method == "GET":
            given = parse_qs(head.query, keep_blank_values=True).get("cf_connect")
            asked = given[0].encode("utf-8", "surrogateescape") if given else kind.default
            if not asked:
                return self._refuse(400, headers, "no cf_connect in the URL")
            body = asked
        request: ConnectRequest | None = None
        if kind.framing.unidirectional:
            try:
                request = JSON.decode_connect(body)
            except DecodeError as error:
                return self._refuse(400, headers, error)
        binary = kind.protobuf and headers.get("content-type") == BINARY
        return Admission(PROTOBUF if binary else JSON, body, request)

    def begin(
        self,
        transport: Transport,
        admission: Admission,
        headers: Mapping[str, str],
        address: str,
    ) -> None:
        """Opens the session of an admitted request on its transport."""
        remembered = kept(headers, self.options.keep_headers)
        session = self.node.open_session(transport, remembered, address)
        transport.cork()
        if admission.request is None:
            session.receive(admission.body)
        else:
            session.connect_unidirectional(admission.request)
        transport.uncork()

    def stream_headers(
        self, headers: Mapping[str, str], admission: Admission
    ) -> list[tuple[str, str]]:
        """Headers of the stream that answers a request with ``headers``."""
        cors = cors_headers(self.origins, headers)
        content_type = self.kind.content_type or (TEXT if admission.codec is JSON else BINARY)
        return [*cors, *_STREAM_HEADERS, ("Content-Type", content_type)]

    def refusal(self, headers: Mapping[str, str]) -> Callable[[Disconnect], Response] | None:
        """What answers a refused connect in place of the stream; None: the stream tells."""
        statuses = self.options.connect_statuses
        if statuses is None or not self.kind.framing.unidirectional:
            return None

        def refuse(disconnect: Disconnect) -> Response:
            error = disconnect.error
            code = error.code if error is not None else disconnect.code
            text = error.message if error is not None else disconnect.reason
            status, body = statuses.get(code, (500, "Internal Server Error"))
            answer = (body or text).encode()
            return Response(answer, status, TEXT, tuple(cors_headers(self.origins, headers)))

        return refuse

    def _open(
        self, stream: ResponseStream, headers: Mapping[str, str], admission: Admission
    ) -> None:
        kind = self.kind
        framing = stream_framing(kind.framing, admission.codec, chunked=stream.chunked)
        start = Start(self.stream_headers(headers, admission), self.refusal(headers))
        transport = kind.transport(self.node, stream, framing, start)
        self.begin(transport, admission, headers, remote_address(stream.wire))

    def too_large(self, head: RequestHead) -> Response:
        """The answer to a body over the limit."""
        return self._refuse(413, head.headers)

    def _refuse(self, status: int, headers: Mapping[str, str], why: object = "") -> Response:
        name = self.kind.transport.name
        logger.debug("%s refuses a request: %d %s", name, status, why or STATUS_TEXTS[status])
        return empty(status, tuple(cors_headers(self.origins, headers)))


def preflight(origins: OriginPolicy, headers: Mapping[str, str]) -> Response:
    """The answer to a browser that asks whether it may POST."""
    found = cors_headers(origins, headers)
    if found:
        found += [("Access-Control-Allow-Methods", "POST, OPTIONS")]
        found += [("Access-Control-Max-Age", MAX_AGE)]
    return empty(204, tuple(found))
