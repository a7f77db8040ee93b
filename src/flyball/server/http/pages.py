"""Headers of the pages that the server has itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from flyball.http.messages import NO_SNIFF

if TYPE_CHECKING:
    from flyball.http.messages import RequestHead

PAGE_HEADERS: Final = (
    NO_SNIFF,
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)
"""Of every answer that a page is made of."""
_HOST: Final = re.compile(r"[\w.-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")


def content_policy(head: RequestHead, styles: str = "", *, images: str = "") -> tuple[str, str]:
    """The ``Content-Security-Policy`` of a page that loads nothing from elsewhere.

    Args:
        head: the request. Older browsers do not take ``'self'`` to mean WebSockets of its host.
        styles: another source of styles, such as ``'nonce-...'``.
        images: another source of images, such as ``data:``.
    """
    host = head.headers.get("host", "")
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    policy = (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self'{styles and ' '}{styles}",
        f"img-src 'self'{images and ' '}{images}",
        f"connect-src 'self'{sockets}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return ("Content-Security-Policy", "; ".join(policy))
