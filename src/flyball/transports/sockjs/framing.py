"""SockJS frames: ``o``, ``a["message",...]`` and ``c[code,"reason"]``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import msgspec

from flyball.core.transport import Framing
from flyball.protocol import codes
from flyball.protocol.json_codec import JSON
from flyball.transports.common.websocket.frames import OP_TEXT, build_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.protocol.codec import Codec

OPEN: Final = b"o"
_FRAGILE: Final = re.compile("[\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff]")
"""What browsers lose or refuse on some of the ways (from the protocol's test suite)."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[str]).decode


class BadPayload(ValueError):
    """A client sent something that is no JSON array of strings."""


class SockJsFraming(Framing):
    """Messages as a frame: one string of lines for those that leave together.

    The same frame serves all receivers over HTTP, each of which wraps it in its own way.
    """

    def __init__(self) -> None:
        self.codec: Codec = JSON

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        return b"a[%b]" % quote(JSON.join(messages))


class SockJsSocketFraming(SockJsFraming):
    """The same as WebSocket text frames."""

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        return build_frame(OP_TEXT, super().frame(messages))


FRAMING: Final = SockJsFraming()
SOCKET_FRAMING: Final = SockJsSocketFraming()


def quote(text: bytes) -> bytes:
    """UTF-8 text as a JSON string that arrives whole in every browser."""
    if text.isascii():
        return _encode(text.decode())
    quoted = _encode(text.decode("utf-8", "replace"))
    found = quoted.decode()
    if _FRAGILE.search(found) is None:
        return quoted
    return _FRAGILE.sub(_escape, found).encode()


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def join(frames: Sequence[bytes]) -> bytes:
    """Frames of messages as one frame."""
    if len(frames) == 1:
        return frames[0]
    return b"a[%b]" % b",".join([frame[2:-1] for frame in frames])


def close_frame(code: int, reason: str) -> bytes:
    """The frame that ends a session."""
    return b"c[%d,%b]" % (code, quote(reason.encode("utf-8", "replace")))


SILENT: Final = (codes.DISCONNECT_WRITE_ERROR.code, codes.DISCONNECT_CONNECTION_CLOSED.code)
"""Ends of which a client hears nothing over WebSocket."""
ANOTHER_RECEIVER: Final = close_frame(2010, "Another connection still open")
INTERRUPTED: Final = close_frame(1002, "Connection interrupted")


def read_messages(payload: bytes) -> list[bytes]:
    """The messages that a client sent as a JSON array of strings.

    Raises:
        BadPayload: it is none.
    """
    try:
        return [message.encode() for message in _decode(payload)]
    except ValueError:
        return _read_tolerantly(payload)


def _read_tolerantly(payload: bytes) -> list[bytes]:
    """Takes halves of surrogate pairs, which old browsers send, as unreadable characters."""
    try:
        messages = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise BadPayload(str(error)) from None
    if not isinstance(messages, list) or not all(isinstance(m, str) for m in messages):
        raise BadPayload("not an array of strings")
    return [
        m.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode() for m in messages
    ]
