"""What SockJS serves besides sessions: the greeting, ``/info`` and the iframe page."""

from __future__ import annotations

import html
import re
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from flyball.http.messages import Response, empty
from flyball.http.static import entity_tag, is_known
from flyball.transports.sockjs.kinds import HTML

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.http.messages import RequestHead

TEXT: Final = "text/plain; charset=UTF-8"
GREETING: Final = Response(b"Welcome to SockJS!\n", content_type=TEXT)
IFRAME_PATHS: Final = (
    "iframe.html",
    *("iframe" + "*." * dots + "html" for dots in range(1, 6)),
)
"""The page's names: clients may put their version, dots and all, into it."""
YEAR: Final = 365 * 24 * 60 * 60
"""Seconds for which browsers may keep what does not change."""
FOREVER: Final = ("Cache-Control", f"public, max-age={YEAR}")

_IFRAME: Final = """<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="{url}"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"""
"""The protocol's own text."""

_SOURCE: Final = re.compile(r"(?:[a-z][a-z0-9+.\-]*://)?(?:\*\.)?[a-z0-9.\-]+(?::(?:\d+|\*))?/?")
"""A glob for origins that means the same as a source expression of CSP."""


def info() -> Response:
    """What a client asks first; the time this takes tells it how far away we are."""
    body = msgspec.json.encode(
        {
            "websocket": True,
            "cookie_needed": False,
            "origins": ["*:*"],
            "entropy": secrets.randbits(31),
        }
    )
    return Response(body, content_type="application/json; charset=UTF-8")


class IframePage:
    """A page of our origin inside a page of another: old browsers get across origins with it."""

    def __init__(self, url: str, origins: Iterable[str]) -> None:
        """``url`` of the client's script; ``origins`` whose pages may frame this one (globs)."""
        self._body = _IFRAME.format(url=html.escape(url)).encode()
        self._tag = entity_tag(self._body)
        self._headers: tuple[tuple[str, str], ...] = (FOREVER, ("ETag", self._tag))
        ancestors = frame_ancestors(origins)
        if ancestors:
            self._headers += (("Content-Security-Policy", f"frame-ancestors {ancestors}"),)

    def answer(self, head: RequestHead) -> Response:
        """The page, or that it has not changed."""
        if is_known(head, self._tag):
            return empty(304, self._headers)
        return Response(self._body, content_type=HTML, headers=self._headers)


def frame_ancestors(origins: Iterable[str]) -> str:
    """The allowed origins as sources of CSP; empty where that would allow less than the globs."""
    sources = ["'self'"]
    for glob in origins:
        if glob == "null" or not _SOURCE.fullmatch(glob.lower()):
            return ""
        sources.append(glob.rstrip("/"))
    return " ".join(sources)
