"""HTTP/1.1 request heads for the paths that this package serves without an ASGI server."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import httptools

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HEAD_END: Final = b"\r\n\r\n"

_COMMON_NAMES: Final = (
    *("Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control"),
    *("Connection", "Content-Length", "Content-Type", "Cookie", "Expect", "Host", "Origin"),
    *("Pragma", "Referer", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site"),
    *("Sec-WebSocket-Extensions", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol"),
    *("Sec-WebSocket-Version", "Transfer-Encoding", "Upgrade", "User-Agent", "X-API-Key"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-Ip", "X-Request-Id"),
)
# Shared strings for the names that nearly all requests have: faster, and less memory kept.
_NAMES: Final = {
    spelling.encode(): name.lower()
    for name in _COMMON_NAMES
    for spelling in (name, name.lower(), name.title())
}
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class BadRequestHead(ValueError):
    """The head is no acceptable HTTP request; ``status`` is what to answer with."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class RequestHead:
    """A parsed request line with headers."""

    __slots__ = ("content_length", "headers", "http11", "keep_alive", "method", "path", "query")

    method: str
    path: str
    """As sent: not percent-decoded."""
    query: str
    """What follows ``?``, as sent."""
    http11: bool
    """HTTP/1.1 (otherwise 1.0)."""
    keep_alive: bool
    headers: dict[str, str]
    """Names in lower case; values as Latin-1 text, repeated ones joined by ``, ``."""
    content_length: int
    """Bytes of the body, 0 if it has none or is chunked."""

    @property
    def chunked(self) -> bool:
        """The body comes in chunks."""
        return "transfer-encoding" in self.headers

    @property
    def has_body(self) -> bool:
        """Something follows the head that belongs to the request."""
        return self.chunked or self.content_length > 0

    @property
    def is_plain(self) -> bool:
        """A body of known length, nothing to be told before it: the common request."""
        return not self.chunked and "expect" not in self.headers


class _Collector:
    """What httptools calls."""

    __slots__ = ("headers", "repeated", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.repeated = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = _NAMES.get(name)
        if key is None:
            key = name.decode("latin-1").lower()
        headers = self.headers
        if key in headers:
            headers[key] += ", " + value.decode("latin-1")
            self.repeated += 1
        else:
            headers[key] = value.decode("latin-1")


def parse_head(data: bytes, *, max_headers: int = 200) -> RequestHead:
    """Parses a head, the closing blank line included.

    Raises:
        BadRequestHead: it is malformed, ambiguous about its body, or has too many headers.
    """
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadRequestHead(400, str(error)) from None
    headers = collector.headers
    if len(headers) + collector.repeated > max_headers:
        raise BadRequestHead(431, f"more than {max_headers} headers")
    head = RequestHead()
    url = collector.url.decode("latin-1")
    head.path, _, head.query = url.partition("?")
    head.method = parser.get_method().decode("ascii")
    version = parser.get_http_version()
    head.http11 = version == "1.1"
    head.headers = headers
    head.keep_alive = parser.should_keep_alive()
    if collector.repeated:
        _check_repeated(headers)
    if head.http11:
        if "host" not in headers:
            raise BadRequestHead(400, "missing required Host header")
    elif version != "1.0":
        raise BadRequestHead(505, f"unsupported protocol version HTTP/{version}")
    head.content_length = _check_body(headers)
    return head


def kept(headers: Mapping[str, str], keep: frozenset[str] | None) -> Mapping[str, str] | None:
    """The headers that a session remembers; ``keep`` (in lower case) None: all."""
    if keep is None:
        return headers
    return {name: headers[name] for name in keep if name in headers} or None


def path_of(target: bytes) -> str:
    """The path in a request line's target, as sent."""
    return target.partition(b"?")[0].decode("latin-1")


def _check_repeated(headers: dict[str, str]) -> None:
    if ", " in headers.get("host", ""):
        raise BadRequestHead(400, "too many Host headers")


def _check_body(headers: dict[str, str]) -> int:
    length = headers.get("content-length")
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise BadRequestHead(400, "both Content-Length and Transfer-Encoding")
        if coding.lower() != "chunked":
            raise BadRequestHead(501, f"unsupported transfer encoding {coding!r}")
        return 0
    if length is None:
        return 0
    if not (length.isascii() and length.isdecimal() and len(length) < 20):
        raise BadRequestHead(400, f"bad Content-Length {length!r}")
    return int(length)


def has_token(value: str | None, token: str) -> bool:
    """Whether a comma-separated header has ``token`` (given in lower case)."""
    if value is None:
        return False
    value = value.lower()
    # Most clients send the token alone; browsers send two in Connection.
    return value == token or ("," in value and token in [t.strip() for t in value.split(",")])


@lru_cache(maxsize=64)
def status_line(status: int) -> str:
    """``HTTP/1.1 404 Not Found`` and the like, with the line's end."""
    return f"HTTP/1.1 {status} {STATUS_TEXTS.get(status, 'Status')}\r\n"


_PLAIN_FIELDS: Final = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("X-Content-Type-Options", "nosniff"),
)
"""Headers of plain errors."""

STATUS_TEXTS: Final = {
    100: "Continue",
    101: "Switching Protocols",
    200: "OK",
    204: "No Content",
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


class PlainAnswer(NamedTuple):
    """A whole answer with a line of text in its body, or nothing."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    close: bool = False
    """The connection does not go on (HTTP/1)."""

    def fields(self) -> list[tuple[str, str]]:
        """All headers but those of the connection, in the original's order."""
        fields = [*self.headers]
        if self.body:
            fields += _PLAIN_FIELDS
        fields.sort()
        fields.append(("Content-Length", str(len(self.body))))
        return fields

    def encode(self, common: str = "", *, with_body: bool = True) -> bytes:
        """The answer in HTTP/1.1.

        Args:
            common: lines of headers that all answers have.
            with_body: False for HEAD requests.
        """
        closing = "Connection: close\r\n" if self.close else ""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.fields()])
        head = f"{status_line(self.status)}{common}{closing}{lines}\r\n"
        return head.encode("latin-1", "replace") + (self.body if with_body else b"")


def plain_error(
    status: int,
    text: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    *,
    close: bool = False,
) -> PlainAnswer:
    """The answer with the status text, or ``text``, in its body."""
    body = f"{STATUS_TEXTS[status] if text is None else text}\n"
    return PlainAnswer(status, tuple(headers), body.encode("latin-1", "replace"), close)


def is_safe_value(value: str) -> bool:
    """Whether ``value`` may be put into a header line of an answer."""
    return _CONTROLS.search(value) is None
