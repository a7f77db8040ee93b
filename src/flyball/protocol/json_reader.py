"""Reading JSON messages by the tolerant rules of the protocol.

The strict decoder of msgspec handles what nearly all clients send. This reader is for
the rest: names in any case, unknown names, names that come twice, ``null`` for an absent value,
escaped lone surrogates. It is slower by far, and accepts everything the fast one accepts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from json.decoder import scanstring  # type: ignore[attr-defined]
from math import inf, isinf
from typing import Any, Final, Generic, NoReturn, TypeVar

import msgspec
from msgspec import Raw, Struct

from flyball.protocol.codec import DecodeError
from flyball.protocol.fields import (
    GROWN,
    MAX_U64,
    ZEROS,
    FieldKind,
    FieldTable,
    MessageField,
    Paths,
    inner,
)

M = TypeVar("M", bound=Struct)

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?![0-9.eE])")
_DECIMAL: Final = re.compile(
    r"-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,4})?"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_MAX_DIGITS: Final = 20


def _refuse_constant(text: str) -> NoReturn:
    raise DecodeError(f"{text} is no JSON value")


def _ignore(_text: str) -> None:
    return None


# Values are only skipped, so numbers are not converted (a long one would cost quadratic time).
_skip: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder(
    parse_int=_ignore, parse_float=_ignore, parse_constant=_refuse_constant
).raw_decode


class JsonReader:
    """Reads the messages of one family.

    Args:
        table: the family.
    """

    __slots__ = ("_names", "_table")

    def __init__(self, table: FieldTable) -> None:
        self._table = table
        self._names = {m: {field.name: field for field in fields} for m, fields in table.items()}

    def read(self, message: type[M], data: bytes) -> M:
        """The one ``message`` that ``data`` holds; ``null`` is an empty one.

        Raises:
            DecodeError: ``data`` is not valid JSON, or a value has the wrong type.
        """
        try:
            cursor = _Cursor(data.decode(), self._table, self._names)
            value = cursor.message(message)
            cursor.end()
        except RecursionError:
            raise DecodeError("values are nested too deep") from None
        except UnicodeDecodeError:
            raise DecodeError("the text is not valid UTF-8") from None
        except json.JSONDecodeError as error:
            raise DecodeError(f"malformed JSON: {error}") from None
        return value


class JsonDecoder(Generic[M]):
    """Reads one type of message: by msgspec if that takes it, else by the tolerant rules.

    Payloads of what it returns may be views into the data, and keep all of it alive.

    Args:
        message: the type.
        reader: the tolerant rules.
        wide: where in messages there are unsigned numbers of 64 bits; msgspec does not
            know their upper bound.
        grown: where in messages there is what adds to a twin before it; msgspec takes the last.
    """

    __slots__ = ("_grown", "_message", "_quoted", "_reader", "_strict", "_wide")

    def __init__(self, message: type[M], reader: JsonReader, wide: Paths, grown: Paths) -> None:
        self._message = message
        self._reader = reader
        self._strict = msgspec.json.Decoder(message).decode
        self._wide = wide if wide[message] else None
        self._grown = grown
        self._quoted = tuple(map(_quoted, sorted(_names_in(message, grown))))

    def decode(self, data: bytes) -> M:
        """The message that is all of ``data``.

        Raises:
            DecodeError: ``data`` is not valid JSON, or a value has the wrong type.
        """
        try:
            if not data.isascii():
                data.decode()  # the strict decoder does not look into payloads
            message = self._strict(data)
        except RecursionError:
            raise DecodeError("values are nested too deep") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._reader.read(self._message, data)
        if self._wide is not None and (b"-0" in data or not _fits(message, self._wide)):
            return self._reader.read(self._message, data)
        for quoted in self._quoted:
            if data.count(quoted) > 1 and self._has_twins(message, data):
                return self._reader.read(self._message, data)
        return message

    def _has_twins(self, message: Struct, data: bytes) -> bool:
        """Whether something may be there twice that is to be merged.

        The text of a payload may look like it: then the tolerant reader is asked for nothing.
        """
        counts = Counter(_given(message, self._grown))
        return any(data.count(quoted) > max(counts[quoted], 1) for quoted in self._quoted)


def _names_in(message: type[Struct], paths: Paths) -> set[str]:
    """The names on ``paths`` in a message and in those inside it.

    Not those inside of lists: in a batch of a thousand commands all names come a thousand times.
    """
    names: set[str] = set()
    waiting, seen = [message], {message}
    while waiting:
        for field in paths[waiting.pop()]:
            names.add(field.name)
            if field.message in seen or field.message is None or field.kind in _LISTS:
                continue
            seen.add(field.message)
            waiting.append(field.message)
    return names


@cache
def _quoted(name: str) -> bytes:
    return f'"{name}"'.encode()


def _given(message: Struct, paths: Paths) -> Iterator[bytes]:
    """The name of each value on ``paths`` that ``message`` and those inside it have."""
    for field in paths[type(message)]:
        value = getattr(message, field.name)
        if value is None:
            continue
        yield _quoted(field.name)
        if field.kind is FieldKind.MESSAGE:
            yield from _given(value, paths)
        elif field.kind is FieldKind.MESSAGE_MAP:
            yield from chain.from_iterable(_given(v, paths) for v in value.values())


def _fits(message: Struct, wide: Paths) -> bool:
    """Whether no number in ``message`` is above its bound."""
    for field in wide[type(message)]:
        value = getattr(message, field.name)
        if not value:
            continue
        match field.kind:
            case FieldKind.NUMBER:
                fits = value <= field.high
            case FieldKind.MESSAGE:
                fits = _fits(value, wide)
            case FieldKind.MESSAGES:
                fits = all(_fits(item, wide) for item in value if item is not None)
            case _:
                fits = all(_fits(item, wide) for item in value.values())
        if not fits:
            return False
    return True


def split_values(data: bytes) -> Iterator[bytes]:
    """The JSON values in ``data``, one after the other with or without space between.

    Raises:
        DecodeError: when it comes to what is no JSON value.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise DecodeError("the text is not valid UTF-8") from None
    pos = _end_of_space(text, 0)
    while pos < len(text):
        try:
            _, end = _skip(text, pos)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"malformed JSON: {error}") from None
        yield text[pos:end].encode()
        pos = _end_of_space(text, end)


def members(data: bytes) -> Iterator[tuple[str, Raw]]:
    """The members of the JSON object ``data``, as they come and as they are written; of ``null`` none.

    Raises:
        DecodeError: when it comes to what is not right.
    """
    try:
        cursor = _Cursor(data.decode(), {}, {})
        if not cursor.null():
            for name in cursor.members():
                yield name, cursor.payload()
        cursor.end()
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"malformed JSON: {error}") from None


def clean_text(text: str) -> str:
    """``text`` without lone surrogates, which escapes in JSON can bring in."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


class _Cursor:
    """A place in JSON text, just past what was read."""

    __slots__ = ("_names", "_pos", "_table", "_text")

    def __init__(
        self,
        text: str,
        table: FieldTable,
        names: Mapping[type[Struct], Mapping[str, MessageField]],
    ) -> None:
        self._text = text
        self._table = table
        self._names = names
        self._pos = _end_of_space(text, 0)

    def end(self) -> None:
        if self._pos != len(self._text):
            raise self._error("nothing more")

    def message(self, message: type[M], before: Struct | None = None) -> M:
        """Reads a message; ``before`` is what the same name had before, and is added to."""
        names = self._names[message]
        values: dict[str, Any] = {} if before is None else msgspec.structs.asdict(before)
        if not self.null():
            for name in self.members():
                field = names.get(name) or names.get(name.lower())
                if field is None:
                    self._skip()
                elif field.kind is FieldKind.PAYLOAD or not self.null():
                    values[field.name] = self._value(field, values.get(field.name))
                elif field.kind in _HOLDERS:  # texts and numbers keep what was there before
                    values.pop(field.name, None)
        for field in self._table[message]:
            if field.always and field.name not in values:
                values[field.name] = ZEROS[field.kind]()
        return message(**values)

    def _value(self, field: MessageField, before: Any) -> Any:
        """A value. Objects with the same name as one before are merged, of others the last wins."""
        if field.kind is FieldKind.MESSAGE:
            return self.message(inner(field), before)
        if field.kind is FieldKind.MESSAGES:
            return self.messages(field, before or ())
        if field.kind is FieldKind.TEXTS:
            return self.texts(before or ())
        value = _VALUES[field.kind](self, field)
        if before and field.kind in _MAPS:
            before.update(value)  # in place: thousands of them may come in one frame
            return before
        return value

    def messages(self, field: MessageField, before: Sequence[Struct | None]) -> list[Struct | None]:
        """A list; each item adds to the one in its place in the list before."""
        found: list[Struct | None] = []
        for _ in self._items():
            is_gap = field.gaps and self.null()
            old = before[len(found)] if len(found) < len(before) else None
            found.append(None if is_gap else self.message(inner(field), old))
        return found

    def message_map(self, field: MessageField) -> dict[str, Struct]:
        return {clean_text(name): self.message(inner(field)) for name in self.members()}

    def texts(self, before: Sequence[str]) -> list[str]:
        """A list; ``null`` leaves what stood in its place in the list before."""
        found: list[str] = []
        for _ in self._items():
            old = before[len(found)] if len(found) < len(before) else ""
            found.append(old if self.null() else self.text())
        return found

    def text_map(self) -> dict[str, str]:
        return {clean_text(name): self._text_or_null() for name in self.members()}

    def decimal_map(self, field: MessageField) -> dict[str, float]:
        return {clean_text(name): self.decimal(field) for name in self.members()}

    def members(self) -> Any:
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

    def payload(self) -> Raw:
        start = self._pos
        _, end = _skip(self._text, start)
        self._advance(end)
        return Raw(self._text[start:end].encode())

    def _skip(self) -> None:
        _, end = _skip(self._text, self._pos)
        self._advance(end)

    def _text_or_null(self) -> str:
        return "" if self.null() else self.text()

    def text(self) -> str:
        if not self._text.startswith('"', self._pos):
            raise self._error("a string")
        value, end = scanstring(self._text, self._pos + 1, True)
        self._advance(end)
        return clean_text(value)

    def flag(self) -> bool:
        if self._take("true"):
            return True
        if self._take("false"):
            return False
        raise self._error("true or false")

    def number(self, field: MessageField) -> int:
        match = _INTEGER.match(self._text, self._pos)
        if match is None or match.end() - match.start() > _MAX_DIGITS:
            raise self._error(f"an integer for {field.name!r}")
        value = int(match[0])
        if field.high == MAX_U64 and match[0] == "-0":
            raise self._error(f"an integer from 0 for {field.name!r}")
        if not field.low <= value <= field.high:
            raise self._error(f"an integer from {field.low} to {field.high} for {field.name!r}")
        self._advance(match.end())
        return value

    def decimal(self, field: MessageField) -> float:
        match = _DECIMAL.match(self._text, self._pos)
        value = float(match[0]) if match is not None else inf
        if match is None or isinf(value):
            raise self._error(f"a number for {field.name!r}")
        self._advance(match.end())
        return value

    def null(self) -> bool:
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


def _same(payload: Raw) -> Raw:
    return payload


_VALUES: Final[dict[FieldKind, Callable[[_Cursor, MessageField], Any]]] = {
    FieldKind.TEXT: lambda cursor, _: cursor.text(),
    FieldKind.FLAG: lambda cursor, _: cursor.flag(),
    FieldKind.NUMBER: _Cursor.number,
    FieldKind.DECIMAL: _Cursor.decimal,
    FieldKind.PAYLOAD: lambda cursor, field: (field.made or _same)(cursor.payload()),
    FieldKind.TEXT_MAP: lambda cursor, _: cursor.text_map(),
    FieldKind.DECIMAL_MAP: _Cursor.decimal_map,
    FieldKind.MESSAGE_MAP: _Cursor.message_map,
}
"""How each kind of value is read, but for messages and lists."""
_LISTS: Final = (FieldKind.TEXTS, FieldKind.MESSAGES)
_HOLDERS: Final = (*GROWN, FieldKind.TEXTS)
_MAPS: Final = (FieldKind.TEXT_MAP, FieldKind.DECIMAL_MAP, FieldKind.MESSAGE_MAP)


def _end_of_space(text: str, pos: int) -> int:
    match = _SPACE.match(text, pos)
    assert match is not None
    return match.end()
