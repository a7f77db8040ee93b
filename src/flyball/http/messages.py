"""Requests, answers and their limits: the same values in every version of HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

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
    504: "Gateway Timeout",
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
    why: str = ""
    """Why it refuses, for the log alone; empty if nobody need know."""

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


NOT_FOUND_TEXT: Final = "404 page not found"
NOT_FOUND: Final = plain_error(404, NOT_FOUND_TEXT)
"""The answer where nothing is."""
FAILED: Final = plain_error(500)
"""The answer when a handler raised."""
CANCELLED: Final = plain_error(503)
"""The answer when a handler was cancelled."""


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
