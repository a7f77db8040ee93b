"""Writing JSON messages exactly: any string, any payload, checked and escaped.

msgspec writes most messages in the right form already. This writer is for those that
need other escapes, hold line breaks in payloads, or have empty containers to leave out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from flyball.protocol.codec import EncodeError
from flyball.protocol.fields import FieldKind, FieldTable, MessageField, as_tuple, paths_to
from flyball.protocol.messages import NO_DATA

_UNSAFE: Final = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029\ud800-\udfff]')
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

# One token of JSON with the space after it. The possessive loops never go back, so hostile
# text costs linear time.
_STRING: Final = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_TOKEN: Final = re.compile(
    rb"(?:([{}\[\]:,])|(" + _STRING + rb")|(" + _NUMBER + rb"|true|false|null))[ \t\n\r]*"
)
_SPACE: Final = re.compile(rb"[ \t\n\r]*")

_STRING_OR_SPACE: Final = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_UNSAFE_BYTES: Final = tuple(
    (char.encode(), escaped.encode())
    for char, escaped in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    )
)

_check_fast: Final = msgspec.json.Decoder(Raw).decode


def escape(match: re.Match[str]) -> str:
    """The escaped form of one unsafe character."""
    char = match[0]
    if char in _SHORT:
        return _SHORT[char]
    if "\ud800" <= char <= "\udfff":  # no character at all, like a broken byte
        return "\\ufffd"
    return f"\\u{ord(char):04x}"


def write_string(text: str) -> bytes:
    """``text`` as a JSON string that is safe in HTML too."""
    return b'"' + _UNSAFE.sub(escape, text).encode() + b'"'


def checked_payload(raw: Raw) -> bytes:
    """The text of ``raw`` without line breaks; ``null`` if there is nothing else, as in Go.

    Raises:
        EncodeError: it is not exactly one valid JSON value.
    """
    data = bytes(raw).replace(b"\n", b"") or b"null"
    if not is_json(data):
        raise EncodeError("a payload is not valid JSON; binary data needs Protobuf")
    return data


def compact_payload(raw: Raw) -> bytes:
    """The text of ``raw`` without space between its tokens, and safe in HTML.

    Raises:
        EncodeError: it is not exactly one valid JSON value.
    """
    data = _STRING_OR_SPACE.sub(lambda match: match[1] or b"", checked_payload(raw))
    # Outside of strings none of these occurs in JSON, so the whole text can be searched.
    for unsafe, escaped in _UNSAFE_BYTES:
        if unsafe in data:
            data = data.replace(unsafe, escaped)
    return data


def is_json(data: bytes) -> bool:
    """Whether ``data`` is exactly one JSON value in valid UTF-8, however deep."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
    try:
        _check_fast(data)
    except (msgspec.DecodeError, RecursionError):
        # msgspec refuses escaped lone surrogates and what is deeper than the call stack;
        # such values may come in by other doors and are valid
        return _is_json_slow(data)
    return True


def _is_json_slow(data: bytes) -> bool:
    """:func:`is_json` for UTF-8 text, without recursion: a stack of open brackets."""
    space = _SPACE.match(data)
    assert space is not None
    pos = space.end()
    stack: list[bytes] = []
    # what may come: v value, ] value or end, n name, } name or end, : colon, , comma or end
    state = "v"
    while pos < len(data):
        token = _TOKEN.match(data, pos)
        if token is None:
            return False
        pos = token.end()
        following = _next_state(state, token, stack)
        if not following:
            return False
        state = following
    return state == "," and not stack


def _next_state(state: str, token: re.Match[bytes], stack: list[bytes]) -> str:
    """The state after ``token``, empty if it has no place here."""
    mark, string, _scalar = token.groups()
    if mark in _CLOSERS:
        fits = state in (",", _CLOSERS[mark]) and stack and stack.pop() == mark
        return "," if fits else ""
    if mark == b",":
        if state != "," or not stack:
            return ""
        return "n" if stack[-1] == b"}" else "v"
    if mark == b":":
        return "v" if state == ":" else ""
    if state in "n}":
        return ":" if string is not None else ""
    if state not in "v]":
        return ""
    if mark is None:
        return ","
    stack.append(b"}" if mark == b"{" else b"]")
    return "}" if mark == b"{" else "]"


_CLOSERS: Final = {b"}": "}", b"]": "]"}


_Write: TypeAlias = Callable[[Any, list[bytes]], None]
_Visit: TypeAlias = Callable[[Any, list[Raw]], bool]

_NEWLINE: Final = 10
# Bytes that msgspec leaves alone in strings but the protocol escapes (``<>&``, and U+2028/9
# by their first byte), and the backslash: msgspec has short forms for \b and \f.
_DOUBTFUL: Final = b"<>&\\\xe2"
_LESS, _GREATER, _AMPERSAND, _BACKSLASH, _SEPARATOR = _DOUBTFUL
_SPACES: Final = re.compile(rb"[ \t\r\n]")
_WATCHED: Final = (
    FieldKind.PAYLOAD,
    FieldKind.MESSAGE_MAP,
    FieldKind.TEXT_MAP,
    FieldKind.DECIMAL,
    FieldKind.DECIMAL_MAP,
)


class JsonWriter:
    """Writes the messages of one family.

    Args:
        table: the family.
        canonical: maps are sorted by name, and payloads written without space and escaped as
            all other text is. Otherwise both stay as they are, but for line breaks in payloads.
    """

    __slots__ = ("_canonical", "_encode", "_paths", "_plans")

    def __init__(self, table: FieldTable, *, canonical: bool = False) -> None:
        self._canonical = canonical
        order = "deterministic" if canonical else None
        self._encode = msgspec.json.Encoder(order=order).encode  # type: ignore[arg-type]
        visits, writers = self._all_visits(), self._all_writers()
        # What is looked up once for each kind of field is not looked up for each message.
        self._paths = {
            message: tuple((f.name, visits[f.kind], f.always) for f in fields)
            for message, fields in paths_to(table, lambda f: f.kind in _WATCHED).items()
        }
        self._plans = {
            message: tuple((_key(f), writers[f.kind], f.always) for f in fields)
            for message, fields in table.items()
        }

    def encode(self, message: Struct) -> bytes:
        """``message`` as a line: by msgspec if that is right, else by :meth:`write`.

        Raises:
            EncodeError: a payload is not one valid JSON value.
        """
        payloads: list[Raw] = []
        if not self.collect(message, payloads):
            return self.write(message)
        return self.encode_with(message, payloads)

    def encode_with(self, message: Struct, payloads: Sequence[Raw]) -> bytes:
        """As :meth:`encode`, where ``payloads`` are known to be all that are in ``message``.

        Raises:
            EncodeError: one of them is not one valid JSON value.
        """
        try:
            line: bytes = self._encode(message)
            for payload in payloads:
                # each by itself: "1},{" would do no harm to the line as a whole
                _check_fast(payload)
        except (UnicodeEncodeError, msgspec.DecodeError, RecursionError):
            return self.write(message)
        if _NEWLINE in line or (_is_doubtful(line) and not self._is_cleared(line, payloads)):
            return self.write(message)
        if self._canonical:
            for payload in payloads:
                if _SPACES.search(payload) is not None:
                    return self.write(message)
        if not line.isascii():
            try:
                line.decode()
            except UnicodeDecodeError:
                raise EncodeError("a payload is not valid UTF-8") from None
        return line

    def write(self, message: Struct) -> bytes:
        """``message`` as a line, exactly, and slower than :meth:`encode`.

        Raises:
            EncodeError: a payload is not one valid JSON value.
        """
        parts: list[bytes] = []
        self._message(message, parts)
        return b"".join(parts)

    def collect(self, message: Struct, payloads: list[Raw]) -> bool:
        """Adds all payloads inside ``message`` to ``payloads``.

        False if msgspec would write something in another form, or what has to be left out: an
        empty payload that is not the default, an empty map, a whole number with a fraction.
        """
        for name, visit, always in self._paths[type(message)]:
            value = getattr(message, name)
            if value is None or value is NO_DATA:
                continue
            if not visit(value, payloads):
                if always and isinstance(value, dict | list) and not value:
                    continue  # it is written, empty as it is
                return False
        return True

    def _is_cleared(self, line: bytes, payloads: Sequence[Raw]) -> bool:
        """Whether all doubtful bytes of ``line`` stand in payloads that are not escaped."""
        if self._canonical:
            return False
        count = _count_doubtful(line)
        for payload in payloads:
            count -= _count_doubtful(bytes(payload))
        return count == 0

    # -- how each kind of field is looked through, and written

    def _all_visits(self) -> dict[FieldKind, _Visit]:
        def messages(values: list[Struct | None], payloads: list[Raw]) -> bool:
            return all(self.collect(v, payloads) for v in values if v is not None)

        def message_map(values: dict[str, Struct], payloads: list[Raw]) -> bool:
            return len(values) > 0 and all(self.collect(v, payloads) for v in values.values())

        def payload(value: Raw, payloads: list[Raw]) -> bool:
            payloads.append(value)
            return len(value) > 0

        def decimal(value: float, _payloads: list[Raw]) -> bool:
            return _is_plain_decimal(value)

        def decimal_map(values: dict[str, float], _payloads: list[Raw]) -> bool:
            return len(values) > 0 and all(map(_is_plain_decimal, values.values()))

        def is_filled(values: dict[str, Any], _payloads: list[Raw]) -> bool:
            return len(values) > 0

        return {
            FieldKind.PAYLOAD: payload,
            FieldKind.MESSAGE: self.collect,
            FieldKind.MESSAGES: messages,
            FieldKind.MESSAGE_MAP: message_map,
            FieldKind.TEXT_MAP: is_filled,
            FieldKind.DECIMAL: decimal,
            FieldKind.DECIMAL_MAP: decimal_map,
        }

    def _all_writers(self) -> dict[FieldKind, _Write]:
        return {
            FieldKind.TEXT: _write_string,
            FieldKind.FLAG: _write_flag,
            FieldKind.NUMBER: _write_number,
            FieldKind.DECIMAL: _write_decimal,
            FieldKind.PAYLOAD: self._payload,
            FieldKind.MESSAGE: self._message,
            FieldKind.TEXTS: _list_of(_write_string),
            FieldKind.MESSAGES: _list_of(self._message),
            FieldKind.TEXT_MAP: self._map_of(_write_string),
            FieldKind.DECIMAL_MAP: self._map_of(_write_decimal),
            FieldKind.MESSAGE_MAP: self._map_of(self._message),
        }

    def _message(self, message: Struct | None, parts: list[bytes]) -> None:
        if message is None:  # a gap in a list
            parts.append(b"null")
            return
        mark = b"{"
        for (key, write, always), value in zip(
            self._plans[type(message)], as_tuple(message), strict=True
        ):
            # Zero values, None, absent payloads and empty containers are all false; a message
            # never is.
            if value or always:
                parts.append(mark)
                parts.append(key)
                write(value, parts)
                mark = b","
        if mark == b"{":
            parts.append(b"{")
        parts.append(b"}")

    def _payload(self, value: Raw, parts: list[bytes]) -> None:
        parts.append(compact_payload(value) if self._canonical else checked_payload(value))

    def _map_of(self, write: _Write) -> _Write:
        def write_map(values: dict[str, Any], parts: list[bytes]) -> None:
            mark = b"{"
            for name, value in sorted(values.items()) if self._canonical else values.items():
                parts.append(mark)
                parts.append(write_string(name) + b":")
                write(value, parts)
                mark = b","
            parts.append(b"}" if values else b"{}")

        return write_map


def _list_of(write: _Write) -> _Write:
    def write_list(values: list[Any], parts: list[bytes]) -> None:
        mark = b"["
        for value in values:
            parts.append(mark)
            write(value, parts)
            mark = b","
        parts.append(b"]" if values else b"[]")

    return write_list


def _write_string(value: str, parts: list[bytes]) -> None:
    parts.append(write_string(value))


def _write_flag(value: bool, parts: list[bytes]) -> None:
    parts.append(b"true" if value else b"false")


def _write_number(value: int, parts: list[bytes]) -> None:
    parts.append(b"%d" % value)


def _write_decimal(value: float, parts: list[bytes]) -> None:
    parts.append(write_decimal(value))


def write_decimal(value: float) -> bytes:
    """A finite number as the original writes it: Go's format ``g`` with the fewest digits."""
    exponent = Decimal(repr(value)).adjusted() if value else 0
    if _LOWEST_PLAIN <= exponent < _LOWEST_LARGE:
        text = repr(value).removesuffix(".0")
    else:
        digits = format(Decimal(repr(value)).normalize(), "e").partition("e")[0]
        text = f"{digits}e{exponent:+03d}"
    return text.encode()


_LOWEST_PLAIN: Final = -4
_LOWEST_LARGE: Final = 6
"""Powers of ten between which numbers are written without an exponent."""


def _is_plain_decimal(value: float) -> bool:
    """Whether msgspec writes ``value`` as :func:`write_decimal` does."""
    return value != int(value) and 1e-4 <= abs(value) < 1e6


def _key(field: MessageField) -> bytes:
    return b'"%s":' % field.name.encode()


def _is_doubtful(line: bytes) -> bool:
    """Whether a string in ``line`` may need other escapes than msgspec's."""
    return (
        _LESS in line
        or _BACKSLASH in line
        or _GREATER in line
        or _AMPERSAND in line
        or _SEPARATOR in line
    )


def _count_doubtful(data: bytes) -> int:
    return len(data) - len(data.translate(None, _DOUBTFUL))
