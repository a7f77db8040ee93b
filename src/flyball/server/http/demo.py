"""The demo page: a chat in two windows that drop and recover, on centrifuge-js.

It is a page for trying the server: served only when asked for, and its token endpoint makes
tokens for users whose id starts with ``demo-`` only.
"""

from __future__ import annotations

import html
import re
import time
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from flyball.http.messages import Response, plain_error
from flyball.http.routes import Route
from flyball.http.static import METHODS, content_type, static_route
from flyball.protocol.codec import UNREADABLE
from flyball.server.auth.make import sign
from flyball.server.http.endpoints import JSON
from flyball.server.http.pages import PAGE_HEADERS, content_policy

if TYPE_CHECKING:
    from flyball.http.messages import RequestHead
    from flyball.http.routes import Handler

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.demo")

CENTRIFUGE_JS: Final = "vendor/centrifuge-5.8.0/centrifuge.js"
"""The browser build of centrifuge-js inside the package; see scripts/vendor.py."""
USER_PREFIX: Final = "demo-"
TOKEN_TTL: Final = 3600
"""Seconds."""
MAX_BODY: Final = 1024

_FILES: Final = {
    "app.js": "demo/app.js",
    "style.css": "demo/style.css",
    "icon.svg": "demo/icon.svg",
    "centrifuge.js": CENTRIFUGE_JS,
}
"""Names below the page to files of the package."""
_OPTION: Final = "the demo page"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the page is told."""

    path: str = "/demo"
    websocket_path: str = "/connection/websocket"
    http_stream_path: str = ""
    """Empty if the transport is off, as the two below."""
    sse_path: str = ""
    emulation_path: str = ""
    api_path: str = "/api"
    """Shown in the example for backends."""
    token_secret: str = ""
    """HMAC secret for connection tokens that carry a name; without one, users are anonymous."""
    token_user_claim: str = "sub"  # noqa: S105 - a claim's name


class TokenRequest(msgspec.Struct, frozen=True):
    """Who wants to chat."""

    user: str
    name: str


def demo_routes(options: DemoOptions = DemoOptions()) -> list[Route]:
    """The page, its files and its token endpoint. They are read once, here."""
    logger.warning("the demo page is on; it is for trying only", path=options.path)
    routes = [Route(options.path, _page(options), methods=METHODS, option=_OPTION)]
    for name, file in _FILES.items():
        routes.append(
            static_route(
                f"{options.path}/{name}",
                _read(file),
                content_type(name),
                headers=PAGE_HEADERS,
                option=_OPTION,
            )
        )
    if options.token_secret:
        path = f"{options.path}/token"
        routes.append(
            Route(
                path,
                _tokens(options),
                methods=("POST",),
                max_body_size=MAX_BODY,
                too_large=lambda _head: plain_error(400),
                option=_OPTION,
            )
        )
    return routes


def _read(name: str) -> bytes:
    return files(__package__).joinpath("static", *name.split("/")).read_bytes()


def _page(options: DemoOptions) -> Handler:
    text = _read("demo/index.html").decode()
    values = {
        "base": options.path,
        "websocket": options.websocket_path,
        "http_stream": options.http_stream_path,
        "sse": options.sse_path,
        "emulation": options.emulation_path,
        "api": options.api_path,
        "tokens": f"{options.path}/token" if options.token_secret else "",
    }
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", html.escape(value, quote=True))
    body = text.encode()

    def page(head: RequestHead, _body: bytes) -> Response:
        headers = (
            *PAGE_HEADERS,
            content_policy(head),
            ("Cache-Control", "no-store"),
        )
        return Response(body, content_type="text/html; charset=utf-8", headers=headers)

    return page


def _tokens(options: DemoOptions) -> Handler:
    decoder = msgspec.json.Decoder(TokenRequest)

    def token(head: RequestHead, body: bytes) -> Response:
        # Other sites cannot send this type without asking first, and nobody says yes.
        if head.headers.get("content-type", "").partition(";")[0] != "application/json":
            return plain_error(415)
        try:
            asked = decoder.decode(body)
        except UNREADABLE:
            return plain_error(400)
        if not re.fullmatch(r"[\w-]{1,40}", asked.user) or not 0 < len(asked.name.strip()) <= 32:
            return plain_error(400)
        claims = {
            options.token_user_claim: USER_PREFIX + asked.user,
            "exp": int(time.time()) + TOKEN_TTL,
            "info": {"name": asked.name.strip()},
        }
        signed = sign(claims, options.token_secret)
        answer = msgspec.json.encode({"token": signed, "user": USER_PREFIX + asked.user})
        headers = (*PAGE_HEADERS, ("Cache-Control", "no-store"))
        return Response(answer, content_type=JSON, headers=headers)

    return token
