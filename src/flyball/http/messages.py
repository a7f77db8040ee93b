"""Requests, answers, and who answers: the same values in every version of HTTP.

A request is its head and its body. Whoever answers gets both, and gives one :class:`Response`,
now or later, or a :class:`StreamingResponse`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

if TYPE_CHECKING:
    import asyncio

    from flyball.http.streams import ResponseStream

JSON_TYPE: Final = "application/json"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
NO_SNIFF: Final = ("X-Content-Type-Options", "nosniff")

STATUS_TEXTS: Final = {
    100: "Continue",
    101: "Switching Protocols",
    200: "OK",
    204: "No Content",
    302: "Found",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
"""The original's words, which newer Pythons no longer have all of."""

Headers = tuple[tuple[str, str], ...]
"""Names and values of header fields."""


class RequestHead(msgspec.Struct, frozen=True):
    """A request line with headers. May be shared between equal requests."""

    method: str
    path: str
    """As sent: not percent-decoded."""
    query: str = ""
    """What follows ``?``, as sent."""
    headers: dict[str, str] = {}
    """Names in lower case; values as Latin-1 text, repeated ones joined by ``, ``. Only to be
    read."""
    http11: bool = True
    """HTTP/1.1 or newer (otherwise 1.0)."""
    keep_alive: bool = True
    """The connection goes on with another request (HTTP/1)."""
    content_length: int = 0
    """Bytes of the body as announced, 0 if it has none or does not say."""

    @property
    def chunked(self) -> bool:
        """The body comes in chunks."""
        return "transfer-encoding" in self.headers

    @property
    def has_body(self) -> bool:
        """Something follows the head that belongs to the request (HTTP/1)."""
        return self.content_length > 0 or self.chunked

    @property
    def is_plain(self) -> bool:
        """A body of known length, nothing to be told before it: the common request."""
        return not self.chunked and "expect" not in self.headers


class Response(msgspec.Struct, frozen=True):
    """A whole answer to a request."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON_TYPE
    """Empty for none."""
    headers: Headers = ()
    """More headers; values must be clean of control characters."""
    close: bool = False
    """The connection does not go on (HTTP/1)."""

    def fields(self) -> list[tuple[str, str]]:
        """All headers but those of the connection."""
        found = [("Content-Type", self.content_type)] if self.content_type else []
        found += self.headers
        if self.status not in (204, 304):
            found.append(("Content-Length", str(len(self.body))))
        return found


def empty(status: int, headers: Headers = ()) -> Response:
    """An answer without a body."""
    return Response(status=status, content_type="", headers=headers)


def plain_error(
    status: int, text: str | None = None, headers: Headers = (), *, close: bool = False
) -> Response:
    """An answer with the status' own words, or ``text``, as a line in its body."""
    line = f"{STATUS_TEXTS[status] if text is None else text}\n".encode("latin-1", "replace")
    return Response(line, status, TEXT_TYPE, (*headers, NO_SNIFF), close)


NOT_FOUND: Final = plain_error(404, "404 page not found")
"""The answer where nothing is."""
FAILED: Final = plain_error(500)
"""The answer when a handler raised."""
CANCELLED: Final = plain_error(503)
"""The answer when a handler was cancelled."""


class StreamingResponse(msgspec.Struct, frozen=True):
    """An answer that does not end: whoever gives it takes the connection."""

    take: Callable[[ResponseStream, RequestHead], None]
    """Called with the answering side and the request's head; answers by itself from then on."""


Answer = Response | StreamingResponse
Handler = Callable[[RequestHead, bytes], "Answer | Awaitable[Response]"]
"""Called with a request's head and body. Answers at once or later."""
Admit = Callable[[RequestHead], Response | None]
"""Called with a request's head, before its body is read: why it is refused, or None."""


class UpgradeEndpoint(Protocol):
    """Answers a handshake, and then has the wire for a protocol of its own."""

    def answer(self, head: RequestHead, protocol: str | None = None) -> Any:
        """Decides on one request; nothing is sent.

        Args:
            head: the request.
            protocol: its ``:protocol`` if it came over HTTP/2 or HTTP/3, empty if it has none;
                None for the upgrade of HTTP/1.1.

        Returns:
            A :class:`Response` that refuses, or a value of the endpoint's own for :meth:`open`,
            whose ``headers`` are those of the answer to an extended CONNECT.
        """

    def open(self, head: RequestHead, acceptance: Any, wire: asyncio.Transport) -> object:
        """Takes ``wire``. The 101 answer of HTTP/1.1 is sent here, that of an extended CONNECT
        has been.
        """


@dataclass(frozen=True, slots=True)
class Route:
    """Who serves a path: a row of the route table. Has a ``handler`` or an ``upgrade``."""

    path: str
    """Matches exactly, as sent. ``*`` stands for one segment, or the rest of one, without dots."""
    handler: Handler | None = None
    upgrade: UpgradeEndpoint | None = None
    """Serves connections of another protocol, WebSocket."""
    methods: tuple[str, ...] = ()
    """Those that are served, others get 405. Empty: the handler looks at the method."""
    admit: Admit | None = None
    """Asked before the body is read."""
    max_body_size: int = 0
    """Bytes; 0: what :class:`HttpLimits` says."""
    too_large: Callable[[RequestHead], Response] | None = None
    """The answer to a longer body; a plain 413 if not given."""
    subtree: bool = False
    """All paths below belong to it too, where no other row has them."""
    internal: bool = False
    """For operators and backends: may move to a port of its own."""
    option: str = ""
    """What sets the path, for messages."""


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
