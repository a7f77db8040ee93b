"""The opening handshake: is this a proper upgrade request, and what is the answer."""

from __future__ import annotations

import binascii
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl

from flyball.transports.http_head import has_token, plain_error
from flyball.transports.origin import cors_headers
from flyball.transports.websocket import deflate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.transports.http_head import RequestHead
    from flyball.transports.origin import OriginPolicy

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SUBPROTOCOLS: Final = {"centrifuge-json": "json", "centrifuge-protobuf": "protobuf"}
_VERSION_LINE: Final = "Sec-Websocket-Version: 13\r\n"


class Refusal(NamedTuple):
    """The upgrade is not made: a whole HTTP answer. The connection may go on with HTTP."""

    status: int
    response: bytes


class Acceptance(NamedTuple):
    """The upgrade is made: the 101 answer and what was agreed on."""

    response: bytes
    protobuf: bool
    compressed: bool
    frame_pings: bool
    """Keep-alive by RFC 6455 pings instead of the protocol's (``cf_ws_frame_ping_pong``)."""


def negotiate(
    head: RequestHead,
    origins: OriginPolicy,
    *,
    compression: bool = False,
    subprotocols: bool = True,
) -> Acceptance | Refusal:
    """Answers an upgrade request.

    Args:
        head: the parsed request.
        origins: allowed origins.
        compression: permessage-deflate may be accepted.
        subprotocols: ``centrifuge-*`` subprotocols and query parameters choose the encoding
            (not on unidirectional connections).
    """
    headers = head.headers
    status = _check(head)
    if status == 0 and not origins.allows(headers.get("origin")):
        status = 403
    if status:
        return refuse(head, origins, status)
    key = headers["sec-websocket-key"].encode("latin-1")
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    accept = binascii.b2a_base64(digest, newline=False).decode()
    protobuf = frame_pings = False
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n"
    )
    if subprotocols:
        offered = headers.get("sec-websocket-protocol")
        choice = choose_encoding(offered.split(",") if offered else (), head.query)
        protobuf, frame_pings = choice.protobuf, choice.frame_pings
        if choice.subprotocol:
            answer += f"Sec-WebSocket-Protocol: {choice.subprotocol}\r\n"
    compressed = compression and deflate.is_offered(headers.get("sec-websocket-extensions", ""))
    if compressed:
        answer += deflate.ANSWER
    return Acceptance((answer + "\r\n").encode(), protobuf, compressed, frame_pings)


def refuse(
    head: RequestHead,
    origins: OriginPolicy,
    status: int,
    text: str | None = None,
    *,
    close: bool = False,
) -> Refusal:
    """An error answer, with CORS headers if the origin is allowed.

    ``text`` is the body in place of the status text, for errors that are not the handshake's
    own (those alone name the WebSocket version).
    """
    lines = _cors_lines(head, origins) + (_VERSION_LINE if text is None else "")
    return Refusal(status, plain_error(status, text, lines, close=close))


def _cors_lines(head: RequestHead, origins: OriginPolicy) -> str:
    return "".join(f"{n}: {v}\r\n" for n, v in cors_headers(origins, head.headers))


def _check(head: RequestHead) -> int:
    """The status of the first check that fails, 0 if none does. The order is the original's."""
    headers = head.headers
    if not has_token(headers.get("connection"), "upgrade"):
        return 400
    if not has_token(headers.get("upgrade"), "websocket"):
        return 400
    if head.method != "GET":
        return 405
    if not has_token(headers.get("sec-websocket-version"), "13"):
        return 400
    if not _is_key(headers.get("sec-websocket-key", "")):
        return 400
    return 0 if head.http11 else 400


def _is_key(key: str) -> bool:
    if len(key) != 24:
        return False
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        return False


class Encoding(NamedTuple):
    """What a client asked for."""

    subprotocol: str
    """To be confirmed; empty for none."""
    protobuf: bool
    frame_pings: bool


def choose_encoding(offered: Iterable[str], query: str) -> Encoding:
    """The first subprotocol that we know; it or the query may ask for Protobuf."""
    names = (name.strip() for name in offered)
    chosen = next((name for name in names if name in _SUBPROTOCOLS), "")
    protobuf, frame_pings = _read_query(query) if query else (False, False)
    return Encoding(chosen, protobuf or _SUBPROTOCOLS.get(chosen) == "protobuf", frame_pings)


def _read_query(query: str) -> tuple[bool, bool]:
    """Whether Protobuf and whether frame pings are asked for; the first value of a name counts."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        values.setdefault(name, value)
    protobuf = values.get("format") == "protobuf" or values.get("cf_protocol") == "protobuf"
    return protobuf, values.get("cf_ws_frame_ping_pong") == "true"
