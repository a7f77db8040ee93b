"""The server API as an ASGI application, to be mounted or served by any ASGI server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from flyball.http.http1 import HttpResponse

if TYPE_CHECKING:
    from flyball.server.api.http import ApiHandler

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def asgi_app(handler: ApiHandler) -> AsgiApp:
    """``handler`` as an ASGI application for HTTP requests.

    Paths are looked up below the ``root_path`` it is mounted at.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            response = await _respond(handler, scope, receive)
            if response is not None:
                await _send(response, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    return app


async def _respond(handler: ApiHandler, scope: Scope, receive: Receive) -> HttpResponse | None:
    """The answer to a request; None if its sender went away."""
    path, root = scope["path"], scope.get("root_path", "")
    if root and path.startswith(root):
        path = path[len(root) :]
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    query = scope.get("query_string", b"").decode("latin-1")
    refusal = handler.admit(scope["method"], path, query, headers)
    if refusal is not None:
        return refusal
    body = await _body(receive)
    if body is None:
        return None
    response = handler.answer(path, headers, body)
    return response if isinstance(response, HttpResponse) else await response


async def _body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _send(response: HttpResponse, send: Send) -> None:
    headers = [(b"content-length", b"%d" % len(response.body))]
    if response.content_type:
        headers.append((b"content-type", response.content_type.encode()))
    headers += [(name.lower().encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
