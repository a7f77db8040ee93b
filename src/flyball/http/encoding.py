"""Answers as bytes of HTTP/1.1.

All are written here, but the two whose time counts: the one of the server API (see
:class:`~flyball.http.http1.Http1Connection`), and the 101 of a WebSocket handshake.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from flyball.http.messages import STATUS_TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.http.messages import Response

BODILESS = (204, 304)
"""Statuses whose answers have no body, whatever a handler gives."""


@lru_cache(maxsize=64)
def status_line(status: int) -> str:
    """``HTTP/1.1 404 Not Found`` and the like, with the line's end."""
    return f"HTTP/1.1 {status} {STATUS_TEXTS.get(status, 'Status')}\r\n"


def encode_head(status: int, fields: Iterable[tuple[str, str]], lines: str = "") -> bytes:
    """A head: status line, header fields, more ``lines`` of them, and the blank line."""
    own = "".join([f"{name}: {value}\r\n" for name, value in fields])
    return f"{status_line(status)}{own}{lines}\r\n".encode("latin-1", "replace")


def encode_response(
    response: Response,
    common: str = "",
    *,
    keep_alive: bool = True,
    http11: bool = True,
    with_body: bool = True,
) -> bytes:
    """A whole answer.

    Args:
        response: the answer.
        common: lines of headers that all answers have.
        keep_alive: the connection goes on, unless the answer itself says no.
        http11: the client speaks HTTP/1.1; older ones have to be told that it goes on.
        with_body: False for HEAD requests.
    """
    if not keep_alive or response.close:
        common += "Connection: close\r\n"
    elif not http11:
        common += "Connection: keep-alive\r\n"
    head = encode_head(response.status, response.fields(), common)
    return head + response.body if with_body and response.status not in BODILESS else head
