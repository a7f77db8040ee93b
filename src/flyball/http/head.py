"""HTTP/1.1 request heads for the paths that this package serves without an ASGI server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools

from flyball.http.messages import RequestHead

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET: Final = re.compile(r"[!-~]+")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class BadRequestHead(ValueError):
    """The head is no acceptable HTTP request; ``status`` is what to answer with."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


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
    version = parser.get_http_version()
    http11 = version == "1.1"
    length = check_head(headers, version)
    target = collector.url.decode("latin-1")
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        path, query = split_target(target)
    return RequestHead(
        parser.get_method().decode("ascii"),
        path,
        query,
        headers,
        http11,
        _keeps_alive(headers.get("connection", ""), http11=http11),
        length,
    )


def check_head(headers: dict[str, str], version: str) -> int:
    """Refuses heads that could be read in two ways; the length of the body, 0 if it is not said.

    Args:
        headers: names in lower case, values of repeated ones joined by ``, ``.
        version: of HTTP, as ``1.1``.

    Raises:
        BadRequestHead: there is no Host, or more than one; two lengths of a body, or one that is
            no number; a version that is not served (RFC 9112, sections 2.3, 3.2 and 6.3).
    """
    if version == "1.1":
        if "host" not in headers:
            raise BadRequestHead(400, "missing required Host header")
    elif version != "1.0":
        raise BadRequestHead(505, f"unsupported protocol version HTTP/{version}")
    if ", " in headers.get("host", ""):
        raise BadRequestHead(400, "too many Host headers")
    return _check_body(headers)


def kept(headers: Mapping[str, str], keep: frozenset[str] | None) -> Mapping[str, str] | None:
    """The headers that a session remembers; ``keep`` (in lower case) None: all."""
    if keep is None:
        return headers
    if not keep:
        return None
    return {name: headers[name] for name in keep if name in headers} or None


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request's target, as sent; that of a proxy has a host before them."""
    path, _, query = target.partition("?")
    if not path.startswith("/") and "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path, query


def path_of(target: bytes) -> str:
    """The path in a request line's target."""
    return split_target(target.decode("latin-1"))[0]


def _keeps_alive(connection: str, *, http11: bool) -> bool:
    """Whether another request may follow; the parser has forgotten it once a message is whole."""
    if not http11:
        return has_token(connection, "keep-alive")
    return not connection or connection == "Upgrade" or not has_token(connection, "close")


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


def is_token(text: str) -> bool:
    """Whether it can be a method, or the name of a field (RFC 9110, section 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def is_target(text: str) -> bool:
    """Whether it can stand in a request line, between two spaces: there are no others in it."""
    return _TARGET.fullmatch(text) is not None


def is_safe_value(value: str) -> bool:
    """Whether it can be the value of a field: no line ends early by it (RFC 9110, section 5.5)."""
    return _CONTROLS.search(value) is None
