"""What the listener for http-01 challenges answers."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from flyball.http.messages import NO_SNIFF, TEXT_TYPE, Response, empty
from flyball.http.routes import Route

if TYPE_CHECKING:
    from flyball.http.messages import RequestHead
    from flyball.server.acme.challenges import Challenges

PREFIX: Final = "/.well-known/acme-challenge/"
_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")


def challenge_routes(challenges: Challenges) -> list[Route]:
    """Answers challenges; sends all other reading requests to the same place over HTTPS."""

    async def challenge(head: RequestHead, _body: bytes) -> Response:
        # May read a file.
        text = await asyncio.to_thread(challenges.text_for, head.path.removeprefix(PREFIX))
        return _text(404, "no such challenge") if text is None else _text(200, text)

    def elsewhere(head: RequestHead, _body: bytes) -> Response:
        place = _https(head)
        if head.method not in {"GET", "HEAD"} or place is None:
            return _text(400, "Use HTTPS\n")
        return empty(302, (("Location", place),))

    return [
        Route(PREFIX, challenge, subtree=True),
        Route("/", elsewhere, subtree=True),
    ]


def _text(status: int, text: str) -> Response:
    return Response(text.encode(), status, TEXT_TYPE, (NO_SNIFF,))


def _https(head: RequestHead) -> str | None:
    """The requested URL with the scheme https and its default port."""
    host = _HOST.fullmatch(head.headers.get("host", ""))
    if host is None:
        return None
    return f"https://{host[1]}{head.path}" + (f"?{head.query}" if head.query else "")
