"""What the listener for http-01 challenges answers."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from flyball.http.asgi_tools import NO_SNIFF, TEXT, header, respond

if TYPE_CHECKING:
    from flyball.http.asgi_tools import AsgiApp, Receive, Scope, Send
    from flyball.server.acme.challenges import Challenges

PREFIX: Final = "/.well-known/acme-challenge/"
_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")


def challenge_app(challenges: Challenges) -> AsgiApp:
    """Answers challenges; sends all other reading requests to the same place over HTTPS."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path.startswith(PREFIX):
            # May read a file.
            token = path.removeprefix(PREFIX)
            text = await asyncio.to_thread(challenges.text_for, token)
            if text is None:
                await _text(send, 404, "no such challenge")
            else:
                await _text(send, 200, text)
            return
        place = _https(scope)
        if scope["method"] not in {"GET", "HEAD"} or place is None:
            await _text(send, 400, "Use HTTPS\n")
            return
        await respond(send, 302, headers=((b"location", place),))

    return app


async def _text(send: Send, status: int, text: str) -> None:
    await respond(send, status, text.encode(), content_type=TEXT, headers=(NO_SNIFF,))


def _https(scope: Scope) -> bytes | None:
    """The requested URL with the scheme https and its default port."""
    host = _HOST.fullmatch(header(scope, b"host") or "")
    if host is None:
        return None
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return b"https://" + host[1].encode() + raw + (b"?" + query if query else b"")
