"""Writing JSON messages exactly: any string, any payload, checked and escaped.

msgspec writes most messages in the right form already. This writer is for those that
need other escapes, hold line breaks in payloads, or have empty containers to leave out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from flyball.protocol.codec import EncodeError
from flyball.protocol.schema import FIELDS, Field, Kind, as_tuple

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


def write_message(message: Struct) -> bytes:
    """``message`` as one line of JSON.

    Raises:
        EncodeError: a payload is not one valid JSON value.
    """
    parts: list[bytes] = []
    _write_message(message, parts)
    return b"".join(parts)


def checked_payload(raw: Raw) -> bytes:
    """The text of ``raw`` without line breaks.

    Raises:
        EncodeError: it is not exactly one valid JSON value.
    """
    data = bytes(raw).replace(b"\n", b"")
    if not is_json(data):
        raise EncodeError("a payload is not valid JSON; binary data needs a Protobuf client")
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


def _write_message(message: Struct, parts: list[bytes]) -> None:
    mark = b"{"
    for key, field, value in zip(
        _KEYS[type(message)], FIELDS[type(message)], as_tuple(message), strict=True
    ):
        # zero values, None, absent payloads and empty containers are all false
        if value or field.always:
            parts.append(mark)
            parts.append(key)
            _WRITERS[field.kind](value, parts)
            mark = b","
    if mark == b"{":
        parts.append(b"{")
    parts.append(b"}")


def _write_string(value: str, parts: list[bytes]) -> None:
    parts.append(write_string(value))


def _write_flag(value: bool, parts: list[bytes]) -> None:
    parts.append(b"true" if value else b"false")


def _write_number(value: int, parts: list[bytes]) -> None:
    parts.append(b"%d" % value)


def _write_payload(value: Raw, parts: list[bytes]) -> None:
    parts.append(checked_payload(value))


def _write_list(write: Callable[[Any, list[bytes]], None]) -> Callable[[Any, list[bytes]], None]:
    def write_list(values: list[Any], parts: list[bytes]) -> None:
        mark = b"["
        for value in values:
            parts.append(mark)
            write(value, parts)
            mark = b","
        parts.append(b"]" if values else b"[]")

    return write_list


def _write_map(write: Callable[[Any, list[bytes]], None]) -> Callable[[Any, list[bytes]], None]:
    def write_map(values: dict[str, Any], parts: list[bytes]) -> None:
        mark = b"{"
        for name, value in values.items():
            parts.append(mark)
            parts.append(write_string(name) + b":")
            write(value, parts)
            mark = b","
        parts.append(b"}" if values else b"{}")

    return write_map


_WRITERS: Final[dict[Kind, Callable[[Any, list[bytes]], None]]] = {
    Kind.TEXT: _write_string,
    Kind.FLAG: _write_flag,
    Kind.NUMBER: _write_number,
    Kind.PAYLOAD: _write_payload,
    Kind.MESSAGE: _write_message,
    Kind.TEXTS: _write_list(_write_string),
    Kind.MESSAGES: _write_list(_write_message),
    Kind.TEXT_MAP: _write_map(_write_string),
    Kind.MESSAGE_MAP: _write_map(_write_message),
}


def _key(field: Field) -> bytes:
    return b'"%s":' % field.name.encode()


_KEYS: Final = {message: tuple(map(_key, fields)) for message, fields in FIELDS.items()}
