"""Requests from JSON: a fast strict decoder, and the tolerant rules callers may rely on.

What almost all callers send passes the strict decoder. Anything it refuses is read again
by the tolerant rules: names match in any case, unknown names are ignored, ``null`` means
absent (except as a payload, where it is a value).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, TypeVar, get_type_hints

import msgspec
from msgspec import Raw, Struct, inspect

from flyball.server.api.errors import MalformedRequestError

T = TypeVar("T", bound=Struct)

_NULL: Final = b"null"
_raw_items: Final = msgspec.json.Decoder(list[Raw])
_raw_members: Final = msgspec.json.Decoder(dict[str, Raw])
_nullable_texts: Final = msgspec.json.Decoder(list[str | None])
_nullable_text_map: Final = msgspec.json.Decoder(dict[str, str | None])

_SURROGATE_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


class RequestDecoder(Generic[T]):
    """Decodes one type of request."""

    __slots__ = ("_fast", "_type")

    def __init__(self, request: type[T]) -> None:
        self._type = request
        self._fast = msgspec.json.Decoder(request)

    def decode(self, body: bytes) -> T:
        """The request in ``body``.

        Raises:
            MalformedRequestError: ``body`` is not valid JSON or a value has the wrong type.
        """
        try:
            if not body.isascii():
                body.decode()  # payloads are copied unseen, so check them here
            return self._fast.decode(body)
        except msgspec.ValidationError:
            return self._decode_tolerant(body)
        except msgspec.DecodeError as error:
            repaired = replace_lone_surrogates(body)
            if repaired == body:
                raise MalformedRequestError(str(error)) from None
            return self._decode_tolerant(repaired)
        except UnicodeDecodeError:
            raise MalformedRequestError("the text is not valid UTF-8") from None
        except RecursionError:
            raise MalformedRequestError("values are nested too deep") from None

    def _decode_tolerant(self, body: bytes) -> T:
        try:
            return _read_struct(self._type, body)
        except (msgspec.DecodeError, ValueError) as error:
            # ValueError: a string holds what is no UTF-8, or a number is too long
            raise MalformedRequestError(str(error)) from None
        except RecursionError:
            raise MalformedRequestError("values are nested too deep") from None


def replace_lone_surrogates(text: bytes) -> bytes:
    r"""``text`` with ``\ufffd`` for each escaped half of a surrogate pair without its other half."""
    return _SURROGATE_ESCAPE.sub(lambda m: rb"\ufffd" if m[1] else m[0], text)


def split_values(body: bytes) -> Iterator[Raw]:
    """The JSON values in ``body``, one after the other with or without space between.

    Raises:
        MalformedRequestError: when it comes to what is no JSON value.
    """
    try:
        text = replace_lone_surrogates(body).decode()
    except UnicodeDecodeError:
        raise MalformedRequestError("the text is not valid UTF-8") from None
    position = _skip_space(text, 0)
    while position < len(text):
        try:
            _, end = _scan(text, position)
        except (ValueError, RecursionError) as error:
            raise MalformedRequestError(f"malformed JSON: {error}") from None
        yield Raw(text[position:end].encode())
        position = _skip_space(text, end)


# Values are only skipped: numbers are not converted, as long ones would take quadratic time.
_scan: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder(
    parse_int=lambda _: None, parse_float=lambda _: None
).raw_decode
_SPACE: Final = re.compile(r"[ \t\r\n]*")


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    read: Callable[[bytes], Any]
    is_payload: bool


@cache
def _fields(struct: type[Struct]) -> dict[str, _Field]:
    """How to read each field of ``struct``, by its lower-case name."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    hints = get_type_hints(struct, include_extras=True)
    return {
        f.encode_name: _Field(
            f.name, _reader(f.type, hints[f.name]), isinstance(f.type, inspect.RawType)
        )
        for f in info.fields
    }


def _reader(kind: inspect.Type, hint: Any) -> Callable[[bytes], Any]:
    if isinstance(kind, inspect.UnionType):  # ``X | None``: null was handled by the caller
        (kind,) = (t for t in kind.types if not isinstance(t, inspect.NoneType))
    match kind:
        case inspect.StructType(cls=struct):
            return lambda data: _read_struct(struct, data)
        case inspect.ListType(item_type=inspect.StrType()):
            return lambda data: [text or "" for text in _nullable_texts.decode(data)]
        case inspect.ListType(item_type=inspect.StructType(cls=struct)):
            return lambda data: [_read_struct(struct, item) for item in _raw_items.decode(data)]
        case inspect.ListType(item_type=inspect.UnionType(types=types)):
            (inner,) = (t for t in types if isinstance(t, inspect.StructType))
            return lambda data: [
                None if bytes(item) == _NULL else _read_struct(inner.cls, item)
                for item in _raw_items.decode(data)
            ]
        case inspect.DictType():
            return lambda data: {
                name: text or "" for name, text in _nullable_text_map.decode(data).items()
            }
        case _:
            return msgspec.json.Decoder(hint).decode


def _read_struct(struct: type[T], data: bytes | Raw) -> T:
    if bytes(data).strip() == _NULL:
        return struct()
    fields = _fields(struct)
    values: dict[str, Any] = {}
    for name, raw in _raw_members.decode(data).items():
        field = fields.get(name) or fields.get(name.lower())
        if field is not None and (field.is_payload or bytes(raw) != _NULL):
            values[field.name] = raw if field.is_payload else field.read(raw)
    return struct(**values)
