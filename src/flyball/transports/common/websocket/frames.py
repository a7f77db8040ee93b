"""RFC 6455 frames to and from bytes, the server's side. No I/O.

Violations carry the texts that the original sends in its close frames, so that clients and
their tests see the same reasons.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flyball.transports.common.websocket.deflate import Inflater
from flyball.transports.common.websocket.violations import CloseCode, Violation

OP_CONTINUATION: Final = 0x0
OP_TEXT: Final = 0x1
OP_BINARY: Final = 0x2
OP_CLOSE: Final = 0x8
OP_PING: Final = 0x9
OP_PONG: Final = 0xA

FIN: Final = 0x80
RSV1: Final = 0x40
MASKED: Final = 0x80
MAX_CONTROL_PAYLOAD: Final = 125
MAX_CLOSE_REASON: Final = MAX_CONTROL_PAYLOAD - 2
"""Bytes of a reason in a close frame."""
FRAMES_A_TURN: Final = 128
"""Frames that :meth:`FrameParser.feed` takes before it leaves the rest for later."""
INFLATED_A_TURN: Final = 256 * 1024
"""Bytes of inflated messages after which it does the same."""
FREE_FRAGMENTS: Final = 1024
FRAGMENT_SIZE: Final = 64
"""A message may come in ``FREE_FRAGMENTS`` fragments of any size; if it has more, they must have so
many bytes on average."""


class Event(NamedTuple):
    """A message (opcode text or binary) or a control frame, unmasked and inflated."""

    opcode: int
    payload: bytes


# -- building


def build_frame(opcode: int, payload: bytes, rsv1: bool = False) -> bytes:
    """One whole frame as a server sends it (final, not masked)."""
    first = FIN | opcode | (RSV1 if rsv1 else 0)
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return b"%c\x7e%b%b" % (first, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (first, size.to_bytes(8, "big"), payload)


def build_close(code: int, reason: str = "") -> bytes:
    """A close frame. ``reason`` is cut to what fits; code 1005 gives an empty frame."""
    if code == CloseCode.NO_STATUS:
        return build_frame(OP_CLOSE, b"")
    text = reason.encode("utf-8", "replace")
    if len(text) > MAX_CLOSE_REASON:
        text = text[:MAX_CLOSE_REASON].decode("utf-8", "ignore").encode()
    return build_frame(OP_CLOSE, code.to_bytes(2, "big") + text)


PING_FRAME: Final = build_frame(OP_PING, b"")


# -- unmasking

_LANE_THRESHOLD: Final = 1000
"""Bytes from which four table translations beat one big XOR (1.0 against 1.0 us at 1000,
71 against 183 us at 65536)."""
_XOR_TABLES: Final = tuple(bytes(i ^ key for i in range(256)) for key in range(256))


def unmask(payload: bytes, mask: bytes) -> bytes:
    """``payload`` with the four bytes of ``mask`` applied (its own inverse)."""
    size = len(payload)
    if size < _LANE_THRESHOLD:
        key = int.from_bytes((mask * ((size + 3) >> 2))[:size], "little")
        return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")
    out = bytearray(size)
    for lane in range(4):
        out[lane::4] = payload[lane::4].translate(_XOR_TABLES[mask[lane]])
    return bytes(out)


# -- parsing

_FINE_CLOSE_CODES: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1014)))


def is_valid_close_code(code: int) -> bool:
    """Whether a peer may send ``code`` in a close frame."""
    return code in _FINE_CLOSE_CODES or 3000 <= code <= 4999


def read_close(payload: bytes) -> int | Violation:
    """The code of a client's close frame (1005 if it has none), or what is wrong with it."""
    if not payload:
        return CloseCode.NO_STATUS
    if len(payload) == 1:
        return Violation(CloseCode.PROTOCOL_ERROR, "bad close payload")
    code = int.from_bytes(payload[:2], "big")
    if not is_valid_close_code(code):
        return Violation(CloseCode.PROTOCOL_ERROR, f"bad close code {code}")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return Violation(CloseCode.PROTOCOL_ERROR, "invalid utf8 payload in close frame")
    return code


class FrameParser:
    """Cuts a client's bytes into messages and control frames.

    Call :meth:`feed` with every chunk and handle the events it returns; then look at
    :attr:`violation`: once it is set, send a close frame with it and feed no more (further
    bytes are ignored). If it left some of the chunk for a later turn of the event loop
    (:attr:`has_more`), call it then, with nothing new. Between messages a parser with :attr:`idle`
    holds nothing and may be thrown away, as a connection at rest does to save memory.
    """

    __slots__ = (
        "_buffer",
        "_compressed",
        "_fragments",
        "_inflated",
        "_inflater",
        "_limit",
        "_num_fragments",
        "_opcode",
        "has_more",
        "ignored",
        "violation",
    )

    def __init__(self, message_size_limit: int, inflater: Inflater | None = None) -> None:
        """``message_size_limit``: bytes on the wire, all fragments together; 0 = no limit.

        ``inflater``: given if permessage-deflate was negotiated.
        """
        self._limit = message_size_limit
        self._inflater = inflater
        self._buffer = bytearray()
        self._fragments: bytearray | None = None
        self._num_fragments = 0
        self._inflated = 0  # bytes, by this call
        self._opcode = 0  # of the message whose fragments are collected
        self._compressed = False
        self.has_more: bool = False
        """The buffer may hold whole frames: their turn comes with the next call."""
        self.ignored = 0
        """Bytes that came after our close frame; counted by the owner."""
        self.violation: Violation | None = None

    @property
    def idle(self) -> bool:
        """At the boundary of a message, nothing kept."""
        return not self._buffer and self._fragments is None and self.violation is None

    @property
    def size(self) -> int:
        """Bytes kept."""
        return len(self._buffer) + len(self._fragments or b"")

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes, in order; no more than one turn's share."""
        events: list[Event] = []
        if self.violation is not None:
            return events
        buffer = self._buffer
        if buffer:
            buffer += data
            data = bytes(buffer) if self.has_more or self._is_complete(buffer) else b""
            if not data:
                return events
            buffer.clear()
        self.has_more = False
        self._inflated = 0
        position, end, turns = 0, len(data), FRAMES_A_TURN
        while position < end:
            if not turns or self._inflated > INFLATED_A_TURN:
                self.has_more = True
                buffer += data[position:]
                break
            turns -= 1
            position = self._frame(data, position, events)
            if position < 0:
                if self.violation is None:
                    buffer += data[-position - 1 :]
                break
        return events

    def _is_complete(self, buffer: bytearray) -> bool:
        # Spares the copying of a long message's start with each of its chunks: looks at the
        # header of the first frame only. A frame with a fault counts as complete.
        size = len(buffer)
        if size < 2:
            return False
        length = buffer[1] & 0x7F
        if self._faults(buffer[0], buffer[1]):
            return True
        header = 6
        if length == 126:
            if size < 4:
                return False
            header, length = 8, int.from_bytes(buffer[2:4], "big")
        elif length == 127:
            if size < 10:
                return False
            header, length = 14, int.from_bytes(buffer[2:10], "big")
        return size >= header + length or self._is_too_big(buffer[0], length)

    def _is_too_big(self, first: int, length: int) -> bool:
        if first & 0x08 or not self._limit:
            return length >> 63 != 0
        return len(self._fragments or b"") + length > self._limit

    def _frame(self, data: bytes, start: int, events: list[Event]) -> int:
        """Takes the frame at ``start``; the position after it.

        Negative if the frame is not whole yet (``-start - 1``) or the peer is at fault.
        """
        size = len(data) - start
        if size < 2:
            return -start - 1
        first, second = data[start], data[start + 1]
        faults = self._faults(first, second)
        if faults:
            return self._fail(CloseCode.PROTOCOL_ERROR, ", ".join(faults))
        length = second & 0x7F
        header = start + 6
        if length == 126:
            if size < 4:
                return -start - 1
            header, length = start + 8, int.from_bytes(data[start + 2 : start + 4], "big")
        elif length == 127:
            if size < 10:
                return -start - 1
            header, length = start + 14, int.from_bytes(data[start + 2 : start + 10], "big")
        if self._is_too_big(first, length):
            return self._fail(CloseCode.TOO_BIG, "")
        end = header + length
        if end > len(data):
            return -start - 1
        payload = unmask(data[header:end], data[header - 4 : header]) if length else b""
        if first & 0x08:
            events.append(Event(first & 0x0F, payload))
        elif not self._data(first, payload, events):
            return -1
        return end

    def _faults(self, first: int, second: int) -> list[str]:
        """What the two first bytes of a frame violate, in the order the original reports."""
        opcode = first & 0x0F
        # The common case in one comparison each: a masked, whole, plain data frame.
        if (first == 0x81 or first == 0x82) and second & MASKED and self._fragments is None:  # noqa: PLR1714 - faster
            return []
        faults = []
        # Only the first frame of a compressed message carries RSV1 (RFC 7692, 6.1).
        if first & RSV1 and (self._inflater is None or opcode not in (OP_TEXT, OP_BINARY)):
            faults.append("RSV1 set")
        if first & 0x20:
            faults.append("RSV2 set")
        if first & 0x10:
            faults.append("RSV3 set")
        faults += self._opcode_faults(first, second)
        if not second & MASKED:
            faults.append("bad MASK")
        return faults

    def _opcode_faults(self, first: int, second: int) -> list[str]:
        opcode = first & 0x0F
        if opcode in (OP_CLOSE, OP_PING, OP_PONG):
            faults = []
            if second & 0x7F > MAX_CONTROL_PAYLOAD:
                faults.append("len > 125 for control")
            if not first & FIN:
                faults.append("FIN not set on control")
            return faults
        if opcode in (OP_TEXT, OP_BINARY):
            return ["data before FIN"] if self._fragments is not None else []
        if opcode == OP_CONTINUATION:
            return ["continuation after FIN"] if self._fragments is None else []
        return [f"bad opcode {opcode}"]

    def _data(self, first: int, payload: bytes, events: list[Event]) -> bool:
        fragments = self._fragments
        if fragments is None:
            self._opcode = first & 0x0F
            self._compressed = first & RSV1 != 0
            if not first & FIN:
                self._fragments = bytearray(payload)
                self._num_fragments = 1
                return True
        else:
            fragments += payload
            self._num_fragments += 1
            if self._num_fragments > FREE_FRAGMENTS + len(fragments) // FRAGMENT_SIZE:
                self._fail(CloseCode.POLICY_VIOLATION, "too many fragments")
                return False
            if not first & FIN:
                return True
            payload = bytes(fragments)
            self._fragments = None
        if self._compressed and self._inflater is not None:
            inflated = self._inflater.inflate(payload)
            if isinstance(inflated, Violation):
                self.violation = inflated
                return False
            payload = inflated
            self._inflated += len(payload)
        events.append(Event(self._opcode, payload))
        return True

    def _fail(self, code: CloseCode, reason: str) -> int:
        self.violation = Violation(code, reason)
        self._buffer.clear()
        self._fragments = None
        return -1
