"""Message structs as tables: what readers and writers know about each field.

The tables are built once, when a schema is made, from the annotations of the structs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import ModuleType
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw, Struct, inspect

from flyball.protocol.messages import NO_DATA

MAX_U64: Final = 2**64 - 1


class FieldKind(Enum):
    """What a field holds."""

    TEXT = auto()
    FLAG = auto()
    NUMBER = auto()
    DECIMAL = auto()
    """A number with a fraction, or a whole one."""
    PAYLOAD = auto()
    """Raw JSON text or opaque bytes."""
    MESSAGE = auto()
    TEXTS = auto()
    """A list of strings."""
    MESSAGES = auto()
    """A list of messages."""
    TEXT_MAP = auto()
    """String to string."""
    DECIMAL_MAP = auto()
    """String to number."""
    MESSAGE_MAP = auto()
    """String to message."""


@dataclass(frozen=True, slots=True)
class MessageField:
    """One field of a message."""

    name: str
    kind: FieldKind
    always: bool
    """Written in JSON even when it holds its zero value."""
    message: type[Struct] | None = None
    """The class of the message(s) inside."""
    low: int = 0
    high: int = 0
    """Smallest and largest value of a number."""
    gaps: bool = False
    """``null`` in a list of messages stays None, and is no empty message."""
    made: Callable[[Raw], Any] | None = None
    """What a payload becomes where JSON is read by the tolerant rules; None: it stays one."""


GROWN: Final = (
    *(FieldKind.MESSAGE, FieldKind.MESSAGES),
    *(FieldKind.TEXT_MAP, FieldKind.DECIMAL_MAP, FieldKind.MESSAGE_MAP),
)
"""Kinds of which a second value under the same name in JSON adds to the first."""

FieldTable: TypeAlias = Mapping[type[Struct], tuple[MessageField, ...]]
"""Every message of a family and its fields, in schema order."""

as_tuple: Final[Callable[[Any], tuple[Any, ...]]] = msgspec.structs.astuple
"""The values of a message, in the order of its fields."""

_SCALARS: Final[dict[type[inspect.Type], FieldKind]] = {
    inspect.StrType: FieldKind.TEXT,
    inspect.BoolType: FieldKind.FLAG,
    inspect.IntType: FieldKind.NUMBER,
    inspect.FloatType: FieldKind.DECIMAL,
    inspect.RawType: FieldKind.PAYLOAD,
    inspect.StructType: FieldKind.MESSAGE,
}
_LISTS: Final = {FieldKind.TEXT: FieldKind.TEXTS, FieldKind.MESSAGE: FieldKind.MESSAGES}
_MAPS: Final = {
    FieldKind.TEXT: FieldKind.TEXT_MAP,
    FieldKind.DECIMAL: FieldKind.DECIMAL_MAP,
    FieldKind.MESSAGE: FieldKind.MESSAGE_MAP,
}


def structs_in(module: ModuleType) -> tuple[type[Struct], ...]:
    """The messages that ``module`` has names for; those that others of it derive from are none."""
    named = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Struct)]
    bases = {base for struct in named for base in struct.__mro__[1:]}
    return tuple(struct for struct in named if struct not in bases)


def field_table(structs: Iterable[type[Struct]]) -> FieldTable:
    """The fields of all ``structs``, and of the messages inside them."""
    table: dict[type[Struct], tuple[MessageField, ...]] = {}
    waiting = list(structs)[::-1]
    while waiting:
        struct = waiting.pop()
        if struct not in table:
            table[struct] = _fields(struct)
            waiting += [f.message for f in table[struct] if f.message is not None]
    return table


def _fields(struct: type[Struct]) -> tuple[MessageField, ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return tuple(_field(f) for f in info.fields)


def _field(info: inspect.Field) -> MessageField:
    name, always = info.encode_name, info.required
    kind, item, gaps = _classify(info.type)
    if isinstance(item, inspect.StructType):
        return MessageField(name, kind, always, message=item.cls, gaps=gaps)
    if isinstance(item, inspect.IntType):
        # The type's own maximum is left out where it is beyond what msgspec can hold: uint64.
        high = MAX_U64 if item.le is None else item.le
        return MessageField(name, kind, always, low=item.ge or 0, high=high)
    return MessageField(name, kind, always)


def _classify(kind: inspect.Type) -> tuple[FieldKind, inspect.Type, bool]:
    """The kind of a field, the type of its items, and whether those may be absent."""
    kind, _ = _without_none(kind)
    if isinstance(kind, inspect.ListType):
        item, gaps = _without_none(kind.item_type)
        return _LISTS[_SCALARS[type(item)]], item, gaps
    if isinstance(kind, inspect.DictType):
        item, _ = _without_none(kind.value_type)
        return _MAPS[_SCALARS[type(item)]], item, False
    return _SCALARS[type(kind)], kind, False


def _without_none(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    """``X`` of ``X | None``, and whether None was there; ``float`` of ``float | int``."""
    if not isinstance(kind, inspect.UnionType):
        return kind, False
    types = [t for t in kind.types if not isinstance(t, inspect.NoneType)]
    found = next((t for t in types if isinstance(t, inspect.FloatType)), types[0])
    return found, len(types) < len(kind.types)


Paths: TypeAlias = Mapping[type[Struct], tuple[MessageField, ...]]
"""For each message the fields that hold what is looked for, at any depth."""


def paths_to(table: FieldTable, wanted: Callable[[MessageField], bool]) -> Paths:
    """Which fields of each message are ``wanted``, or have messages with wanted ones inside."""
    paths: Paths = dict.fromkeys(table, ())
    while True:
        found = {
            struct: tuple(
                f for f in fields if wanted(f) or (f.message is not None and paths[f.message])
            )
            for struct, fields in table.items()
        }
        if found == paths:
            return paths
        paths = found


def inner(field: MessageField) -> type[Struct]:
    """The class of the messages in a field that has some."""
    assert field.message is not None
    return field.message


ZEROS: Final[Mapping[FieldKind, Callable[[], Any]]] = {
    FieldKind.TEXT: str,
    FieldKind.FLAG: bool,
    FieldKind.NUMBER: int,
    FieldKind.DECIMAL: float,
    FieldKind.PAYLOAD: lambda: NO_DATA,
    FieldKind.MESSAGE: lambda: None,
    FieldKind.TEXTS: list,
    FieldKind.MESSAGES: list,
    FieldKind.TEXT_MAP: dict,
    FieldKind.DECIMAL_MAP: dict,
    FieldKind.MESSAGE_MAP: dict,
}
"""Makes the value of a field that is always there and was not given."""
