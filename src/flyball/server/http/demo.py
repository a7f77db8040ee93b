"""The demo page: a chat in two windows that drop and recover, on centrifuge-js.

It is a page for trying the server: served only when asked for, and its token endpoint makes
tokens for users whose id starts with ``demo-`` only.
"""

from __future__ import annotations

import hashlib
import html
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from joserfc import jwt
from joserfc.jwk import OctKey

from flyball.http.asgi_tools import JSON, NO_SNIFF, header, read_body, respond, respond_status

from .router import Route

if TYPE_CHECKING:
    from flyball.http.asgi_tools import AsgiApp, Receive, Scope, Send

logger = structlog.get_logger("flyball.server.demo")

CENTRIFUGE_JS: Final = "vendor/centrifuge-5.8.0/centrifuge.js"
"""The browser build of centrifuge-js inside the package; see scripts/vendor_centrifuge.py."""
USER_PREFIX: Final = "demo-"
TOKEN_TTL: Final = 3600
"""Seconds."""
MAX_BODY: Final = 1024

_CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self' {sockets}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_PAGE_HEADERS: Final = (
    NO_SNIFF,
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_HOST: Final = re.compile(r"[\w.-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")
_ASSETS: Final = {
    "/app.js": ("demo/app.js", "text/javascript; charset=utf-8"),
    "/style.css": ("demo/style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("demo/icon.svg", "image/svg+xml"),
    "/centrifuge.js": (CENTRIFUGE_JS, "text/javascript; charset=utf-8"),
}


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
    routes = [_external(options.path, _page(options))]
    for path, (name, content_type) in _ASSETS.items():
        routes.append(_external(options.path + path, _file(_read(name), content_type)))
    if options.token_secret:
        routes.append(_external(f"{options.path}/token", _tokens(options)))
    return routes


def _external(path: str, app: AsgiApp) -> Route:
    return Route(path, app, external=True, option="the demo page")


def _read(name: str) -> bytes:
    return files(__package__).joinpath("static", *name.split("/")).read_bytes()


def _page(options: DemoOptions) -> AsgiApp:
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

    async def page(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            allow = [(b"allow", b"GET, HEAD")]
            await respond_status(send, HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)
            return
        headers = (
            *_PAGE_HEADERS,
            (b"content-security-policy", _policy(scope).encode()),
            (b"cache-control", b"no-store"),
        )
        await respond(send, 200, body, content_type="text/html; charset=utf-8", headers=headers)

    return page


def _policy(scope: Scope) -> str:
    """The page's policy. Older browsers do not take ``'self'`` to mean WebSockets of the host."""
    host = header(scope, b"host") or ""
    sockets = f"ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return _CSP.format(sockets=sockets).replace(" ;", ";")


def _file(body: bytes, content_type: str) -> AsgiApp:
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = (*_PAGE_HEADERS, (b"cache-control", b"no-cache"), (b"etag", tag.encode()))

    async def asset(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            allow = [(b"allow", b"GET, HEAD")]
            await respond_status(send, HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)
        elif header(scope, b"if-none-match") == tag:
            await respond(send, 304, headers=headers)
        else:
            await respond(send, 200, body, content_type=content_type, headers=headers)

    return asset


def _tokens(options: DemoOptions) -> AsgiApp:
    key = OctKey.import_key(options.token_secret)
    decoder = msgspec.json.Decoder(TokenRequest)

    async def token(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            allow = [(b"allow", b"POST")]
            await respond_status(send, HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)
            return
        # Other sites cannot send this type without asking first, and nobody says yes.
        if (header(scope, b"content-type") or "").partition(";")[0] != "application/json":
            await respond_status(send, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            return
        body = await read_body(receive, MAX_BODY)
        try:
            asked = decoder.decode(body or b"")
        except msgspec.DecodeError:
            await respond_status(send, HTTPStatus.BAD_REQUEST)
            return
        if not re.fullmatch(r"[\w-]{1,40}", asked.user) or not 0 < len(asked.name.strip()) <= 32:
            await respond_status(send, HTTPStatus.BAD_REQUEST)
            return
        claims = {
            options.token_user_claim: USER_PREFIX + asked.user,
            "exp": int(time.time()) + TOKEN_TTL,
            "info": {"name": asked.name.strip()},
        }
        signed = jwt.encode({"alg": "HS256"}, claims, key)
        answer = msgspec.json.encode({"token": signed, "user": USER_PREFIX + asked.user})
        headers = (*_PAGE_HEADERS, (b"cache-control", b"no-store"))
        await respond(send, 200, answer, content_type=JSON, headers=headers)

    return token
