"""The message structs as tables: what the codecs know about each field.

The tables are built once, when the module is imported, from the annotations in
:mod:`flyball.protocol.messages`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import msgspec
from msgspec import Struct, inspect

from flyball.protocol import messages


class Kind(Enum):
    """What a field holds."""

    TEXT = auto()
    FLAG = auto()
    NUMBER = auto()
    PAYLOAD = auto()
    """Raw JSON text or opaque bytes."""
    MESSAGE = auto()
    TEXTS = auto()
    """A list of strings."""
    MESSAGES = auto()
    """A list of messages."""
    TEXT_MAP = auto()
    """String to string."""
    MESSAGE_MAP = auto()
    """String to message."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    name: str
    kind: Kind
    always: bool
    """Written in JSON even when it holds its zero value."""
    message: type[Struct] | None = None
    """The class of the message(s) inside."""
    low: int = 0
    high: int = 0
    """Smallest and largest value of a number."""


_SCALARS: Final[dict[type[inspect.Type], Kind]] = {
    inspect.StrType: Kind.TEXT,
    inspect.BoolType: Kind.FLAG,
    inspect.IntType: Kind.NUMBER,
    inspect.RawType: Kind.PAYLOAD,
    inspect.StructType: Kind.MESSAGE,
}
_LISTS: Final = {Kind.TEXT: Kind.TEXTS, Kind.MESSAGE: Kind.MESSAGES}
_MAPS: Final = {Kind.TEXT: Kind.TEXT_MAP, Kind.MESSAGE: Kind.MESSAGE_MAP}


def _classify(kind: inspect.Type) -> tuple[Kind, inspect.Type]:
    """The kind of a field and the type of its items (the type itself for single values)."""
    if isinstance(kind, inspect.UnionType):  # only "X | None" occurs
        (kind,) = (t for t in kind.types if not isinstance(t, inspect.NoneType))
    if isinstance(kind, inspect.ListType):
        return _LISTS[_SCALARS[type(kind.item_type)]], kind.item_type
    if isinstance(kind, inspect.DictType):
        return _MAPS[_SCALARS[type(kind.value_type)]], kind.value_type
    return _SCALARS[type(kind)], kind


def _field(info: inspect.Field) -> Field:
    kind, item = _classify(info.type)
    if isinstance(item, inspect.StructType):
        return Field(info.name, kind, info.required, message=item.cls)
    if isinstance(item, inspect.IntType):
        # the type's own maximum is left out where it is beyond what msgspec can hold: uint64
        low = item.ge or 0
        high = 2**64 - 1 if item.le is None else item.le
        return Field(info.name, kind, info.required, low=low, high=high)
    return Field(info.name, kind, info.required)


def _fields(message: type[Struct]) -> tuple[Field, ...]:
    info = inspect.type_info(message)
    assert isinstance(info, inspect.StructType)
    return tuple(_field(f) for f in info.fields)


FIELDS: Final[dict[type[Struct], tuple[Field, ...]]] = {
    item: _fields(item)
    for item in vars(messages).values()
    if isinstance(item, type) and issubclass(item, Struct) and item is not Struct
}
"""Every message class and its fields, in schema order."""

as_tuple: Final[Callable[[Any], tuple[Any, ...]]] = msgspec.structs.astuple
"""The values of a message, in the order of its :data:`FIELDS`."""
