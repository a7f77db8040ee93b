"""The opening handshake: is this a proper upgrade request, and what is the answer."""

from __future__ import annotations

import binascii
import hashlib
import logging
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl

from flyball.http.head import has_token
from flyball.http.messages import NO_SNIFF, STATUS_TEXTS, TEXT_TYPE, Response
from flyball.transports.common.origin import cors_headers
from flyball.transports.common.websocket.extensions import UNCOMPRESSED, agree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flyball.http.messages import RequestHead
    from flyball.transports.common.origin import OriginPolicy
    from flyball.transports.common.websocket.extensions import Agreement

logger: Final = logging.getLogger("flyball.transports")

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SUBPROTOCOLS: Final = {"centrifuge-json": "json", "centrifuge-protobuf": "protobuf"}
_VERSION: Final = ("Sec-Websocket-Version", "13")


class Acceptance(NamedTuple):
    """The connection is made: the answer and what was agreed on."""

    response: bytes
    """The 101 answer of HTTP/1.1; empty after an extended CONNECT."""
    protobuf: bool
    window_bits: int
    """Logarithm of the window of compressed messages, 0 if they are not compressed."""
    frame_pings: bool
    """Keep-alive by RFC 6455 pings instead of the protocol's (``cf_ws_frame_ping_pong``)."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of the answer to an extended CONNECT."""


def negotiate(
    head: RequestHead,
    origins: OriginPolicy,
    *,
    compression: bool = False,
    subprotocols: bool = True,
) -> Acceptance | Response:
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
    agreed = _agreement(headers, compression=compression)
    if agreed.answer:
        answer += f"Sec-WebSocket-Extensions: {agreed.answer}\r\n"
    return Acceptance((answer + "\r\n").encode(), protobuf, agreed.window_bits, frame_pings)


def negotiate_connect(
    head: RequestHead,
    protocol: str,
    origins: OriginPolicy,
    *,
    compression: bool = False,
    subprotocols: bool = True,
) -> Acceptance | Response:
    """Answers a request to open a WebSocket on a stream of HTTP/2 or HTTP/3 (RFC 8441, 9220).

    Args:
        head: the request.
        protocol: its ``:protocol``, empty if it has none.
        origins: see :func:`negotiate`.
        compression: see :func:`negotiate`.
        subprotocols: see :func:`negotiate`.
    """
    headers = head.headers
    if head.method != "CONNECT":
        return refuse(head, origins, 405)
    if protocol != "websocket" or not has_token(headers.get("sec-websocket-version"), "13"):
        return refuse(head, origins, 400)
    if not origins.allows(headers.get("origin")):
        return refuse(head, origins, 403)
    fields = cors_headers(origins, headers)
    choice = Encoding("", protobuf=False, frame_pings=False)
    if subprotocols:
        offered = headers.get("sec-websocket-protocol")
        choice = choose_encoding(offered.split(",") if offered else (), head.query)
        if choice.subprotocol:
            fields.append(("Sec-WebSocket-Protocol", choice.subprotocol))
    agreed = _agreement(headers, compression=compression)
    if agreed.answer:
        fields.append(("Sec-WebSocket-Extensions", agreed.answer))
    bits = agreed.window_bits
    return Acceptance(b"", choice.protobuf, bits, choice.frame_pings, tuple(fields))


def _agreement(headers: Mapping[str, str], *, compression: bool) -> Agreement:
    offers = headers.get("sec-websocket-extensions") if compression else None
    return (offers and agree(offers)) or UNCOMPRESSED


def refuse(
    head: RequestHead, origins: OriginPolicy, status: int, text: str | None = None
) -> Response:
    """An error answer, with CORS headers if the origin is allowed.

    ``text`` is the body in place of the status text, for errors that are not the handshake's
    own (those alone name the WebSocket version).
    """
    why = text or STATUS_TEXTS[status]
    logger.debug("%s refuses a handshake: %d %s", head.path, status, why)
    fields = cors_headers(origins, head.headers)
    if text is None:
        fields.append(_VERSION)
    # The original sends the fields of its refusals in alphabetical order.
    fields += [NO_SNIFF, ("Content-Type", TEXT_TYPE)]
    return Response(f"{why}\n".encode(), status, "", tuple(sorted(fields)))


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


_JSON: Final = Encoding("", protobuf=False, frame_pings=False)


def choose_encoding(offered: Sequence[str], query: str) -> Encoding:
    """The first subprotocol that we know; it or the query may ask for Protobuf."""
    if not offered and not query:
        return _JSON
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
