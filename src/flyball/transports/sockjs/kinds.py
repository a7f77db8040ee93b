"""The receivers over HTTP: one row for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from flyball.transports.sockjs.framing import quote

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT: Final = "application/javascript; charset=UTF-8"
EVENTS: Final = "text/event-stream; charset=UTF-8"
HTML: Final = "text/html; charset=UTF-8"

RESPONSE_LIMIT: Final = 128 * 1024
"""Bytes after which a stream ends and the client asks for the next: browsers keep all of it."""


@dataclass(frozen=True, slots=True)
class ReceiverKind:
    """One kind of receiver."""

    name: str
    """The last part of its path."""
    method: str
    content_type: str
    wrap: Callable[[bytes, bytes], bytes]
    """A frame, and the callback's name, as bytes of the body."""
    streaming: bool = True
    """It takes many frames; else one, and the request is answered."""
    opening: Callable[[bytes], bytes] | None = None
    """What a stream begins with, given the callback's name."""
    callback: bool = False
    """The query has to name a function of the page (``c``)."""
    preflight: bool = False
    """Browsers may ask first whether they may (OPTIONS)."""


def _line(frame: bytes, _callback: bytes) -> bytes:
    return frame + b"\n"


def _event(frame: bytes, _callback: bytes) -> bytes:
    # Frames have no control characters. A client reads the escapes of the percent sign back.
    return b"data: %b\r\n\r\n" % frame.replace(b"%", b"%25")


def _string(frame: bytes) -> bytes:
    """A frame as a string in JavaScript that cannot end the script it stands in."""
    return quote(frame).replace(b"<", b"\\u003c")


def _script(frame: bytes, _callback: bytes) -> bytes:
    return b"<script>\np(%b);\n</script>\r\n" % _string(frame)


def _call(frame: bytes, callback: bytes) -> bytes:
    # The comment keeps a chosen name from being the first bytes of a file of another type.
    return b"/**/%b(%b);\r\n" % (callback, _string(frame))


_PAGE: Final = b"""<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.%b;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>
"""
"""The protocol's own text. ``htmlfile`` is for old browsers."""
_PAGE_SIZE: Final = 1024
"""Bytes that those browsers want to see before they run anything."""


def _page(callback: bytes) -> bytes:
    return (_PAGE % callback).ljust(_PAGE_SIZE) + b"\r\n\r\n"


KINDS: Final = (
    ReceiverKind("xhr", "POST", SCRIPT, _line, streaming=False, preflight=True),
    ReceiverKind(
        "xhr_streaming",
        "POST",
        SCRIPT,
        _line,
        opening=lambda _: b"h" * 2048 + b"\n",
        preflight=True,
    ),
    ReceiverKind("eventsource", "GET", EVENTS, _event, opening=lambda _: b"\r\n"),
    ReceiverKind("htmlfile", "GET", HTML, _script, opening=_page, callback=True),
    ReceiverKind("jsonp", "GET", SCRIPT, _call, streaming=False, callback=True),
)


class Form:
    """How frames stand on the wire of one kind of stream.

    Shared, and keeps its last answer: the frame of a broadcast is wrapped once for all
    subscribers.
    """

    __slots__ = ("_chunked", "_kind", "frame", "wrapped")

    def __init__(self, kind: ReceiverKind, *, chunked: bool) -> None:
        self._kind = kind
        self._chunked = chunked
        self.frame: bytes = b""
        """The last one."""
        self.wrapped: bytes = b""
        """What became of it."""

    def wrap(self, frame: bytes) -> bytes:
        """A frame as bytes for the wire."""
        if frame is not self.frame:
            self.wrapped = self.chunk(self._kind.wrap(frame, b""))
            self.frame = frame
        return self.wrapped

    def chunk(self, body: bytes) -> bytes:
        """Part of the body as bytes for the wire."""
        return b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body


@lru_cache
def form_of(kind: ReceiverKind, *, chunked: bool) -> Form:
    """The shared form."""
    return Form(kind, chunked=chunked)
