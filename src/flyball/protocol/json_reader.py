"""Reading JSON messages by the tolerant rules of the protocol.

The strict decoder of msgspec handles what nearly all clients send. This reader is for
the rest: names in any case, unknown names, ``null`` for an absent value, escaped lone
surrogates. It is slower by far, and accepts everything the fast one accepts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final, NoReturn, TypeVar

from msgspec import Raw, Struct

from flyball.protocol.codec import DecodeError
from flyball.protocol.messages import NO_DATA
from flyball.protocol.schema import FIELDS, Field, Kind

M = TypeVar("M", bound=Struct)

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?![0-9.eE])")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_MAX_DIGITS: Final = 20

_NAMES: Final[dict[type[Struct], dict[str, Field]]] = {
    message: {field.name: field for field in fields} for message, fields in FIELDS.items()
}


def _refuse_constant(text: str) -> NoReturn:
    raise DecodeError(f"{text} is no JSON value")


def _ignore(_text: str) -> None:
    return None


# Values are only skipped, so numbers are not converted (a long one would cost quadratic time).
_skip: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder(
    parse_int=_ignore, parse_float=_ignore, parse_constant=_refuse_constant
).raw_decode


def read_message(message: type[M], data: bytes) -> M:
    """The one ``message`` that ``data`` holds; ``null`` is an empty one.

    Raises:
        DecodeError: ``data`` is not valid JSON, or a value has the wrong type.
    """
    try:
        reader = _Reader(data.decode())
        value = reader.message(message)
        reader.end()
    except RecursionError:
        raise DecodeError("values are nested too deep") from None
    except UnicodeDecodeError:
        raise DecodeError("the text is not valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise DecodeError(f"malformed JSON: {error}") from None
    return value


class _Reader:
    """A cursor over JSON text, just past what was read."""

    __slots__ = ("_pos", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._pos = _end_of_space(text, 0)

    def end(self) -> None:
        if self._pos != len(self._text):
            raise self._error("nothing more")

    def message(self, message: type[M]) -> M:
        names = _NAMES[message]
        values: dict[str, Any] = {}
        if not self._null():
            for name in self._members():
                field = names.get(name) or names.get(name.lower())
                if field is None:
                    self._skip()
                elif field.kind is Kind.PAYLOAD or not self._null():
                    values[field.name] = self._value(field)
        for field in FIELDS[message]:
            if field.always and field.name not in values:
                values[field.name] = _ZERO[field.kind]()
        return message(**values)

    def _value(self, field: Field) -> Any:
        match field.kind:
            case Kind.TEXT:
                return self._string()
            case Kind.FLAG:
                return self._flag()
            case Kind.NUMBER:
                return self._number(field)
            case Kind.MESSAGE:
                return self.message(_inner(field))
            case Kind.TEXTS:
                return [self._text_or_null() for _ in self._items()]
            case Kind.MESSAGES:
                return [self.message(_inner(field)) for _ in self._items()]
            case Kind.TEXT_MAP:
                return {_clean(name): self._text_or_null() for name in self._members()}
            case Kind.MESSAGE_MAP:
                return {_clean(name): self.message(_inner(field)) for name in self._members()}
            case Kind.PAYLOAD:
                return self._payload()

    def _members(self) -> Any:
        """The names of an object's members; the caller reads each value before going on."""
        self._expect("{")
        if self._take("}"):
            return
        while True:
            if not self._text.startswith('"', self._pos):
                raise self._error("a name")
            name, end = scanstring(self._text, self._pos + 1, True)
            self._advance(end)
            self._expect(":")
            yield name
            if self._take("}"):
                return
            self._expect(",")

    def _items(self) -> Any:
        """One turn for each item of an array; the caller reads it before going on."""
        self._expect("[")
        if self._take("]"):
            return
        while True:
            yield None
            if self._take("]"):
                return
            self._expect(",")

    def _payload(self) -> Raw:
        start = self._pos
        _, end = _skip(self._text, start)
        self._advance(end)
        return Raw(self._text[start:end].encode())

    def _skip(self) -> None:
        _, end = _skip(self._text, self._pos)
        self._advance(end)

    def _text_or_null(self) -> str:
        return "" if self._null() else self._string()

    def _string(self) -> str:
        if not self._text.startswith('"', self._pos):
            raise self._error("a string")
        value, end = scanstring(self._text, self._pos + 1, True)
        self._advance(end)
        return _clean(value)

    def _flag(self) -> bool:
        if self._take("true"):
            return True
        if self._take("false"):
            return False
        raise self._error("true or false")

    def _number(self, field: Field) -> int:
        match = _INTEGER.match(self._text, self._pos)
        if match is None or match.end() - match.start() > _MAX_DIGITS:
            raise self._error(f"an integer for {field.name!r}")
        value = int(match[0])
        if not field.low <= value <= field.high:
            raise self._error(f"an integer from {field.low} to {field.high} for {field.name!r}")
        self._advance(match.end())
        return value

    def _null(self) -> bool:
        return self._take("null")

    def _take(self, token: str) -> bool:
        if not self._text.startswith(token, self._pos):
            return False
        self._advance(self._pos + len(token))
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._error(repr(token))

    def _advance(self, pos: int) -> None:
        self._pos = _end_of_space(self._text, pos)

    def _error(self, wanted: str) -> DecodeError:
        return DecodeError(f"malformed message: {wanted} expected at character {self._pos}")


_ZERO: Final[dict[Kind, Callable[[], Any]]] = {
    Kind.TEXT: str,
    Kind.FLAG: bool,
    Kind.NUMBER: int,
    Kind.PAYLOAD: lambda: NO_DATA,
    Kind.MESSAGE: lambda: None,
    Kind.TEXTS: list,
    Kind.MESSAGES: list,
    Kind.TEXT_MAP: dict,
    Kind.MESSAGE_MAP: dict,
}


def _end_of_space(text: str, pos: int) -> int:
    match = _SPACE.match(text, pos)
    assert match is not None
    return match.end()


def _inner(field: Field) -> type[Struct]:
    assert field.message is not None
    return field.message


def _clean(text: str) -> str:
    """``text`` without lone surrogates, which escapes in JSON can bring in."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
