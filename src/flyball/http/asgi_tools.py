"""Small pieces for writing ASGI endpoints without a framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from flyball.http.address import format_address

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")


async def respond(
    send: Send,
    status: int,
    body: bytes = b"",
    *,
    content_type: str = "",
    headers: Headers = (),
) -> None:
    """Sends a whole response."""
    fields = [(b"content-length", b"%d" % len(body))]
    if content_type:
        fields.append((b"content-type", content_type.encode()))
    fields.extend(headers)
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def respond_status(send: Send, status: HTTPStatus, *, headers: Headers = ()) -> None:
    """Answers with a status and its phrase as text."""
    await respond(
        send,
        status,
        f"{status.phrase}\n".encode(),
        content_type=TEXT,
        headers=(NO_SNIFF, *headers),
    )


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found.decode("latin-1")
    return None


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """The request body; None if it is longer than ``limit`` bytes or its sender went away."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def headers_of(scope: Scope) -> dict[str, str]:
    """Request headers with lower-case names; repeated ones joined by commas."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def address_of(scope: Scope) -> str:
    """``host:port`` of the peer as the server tells it, empty if it does not."""
    client = scope.get("client")
    return format_address(tuple(client)) if client else ""


def local_path(scope: Scope) -> str:
    """The path below the place an app is mounted at."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path
