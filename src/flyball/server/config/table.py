"""The schema as a table: one row for each option, made by walking the section classes."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, TypeAlias, get_args, get_origin, get_type_hints

from flyball.server.common import worker_place
from flyball.server.common.durations import format_duration
from flyball.server.common.option import META_KEY, Int, Meta, Scalar
from flyball.server.config.schema import Config

OWN_PREFIX: Final = "FLYBALL_"
ENV_PREFIXES: Final = (OWN_PREFIX, "CENTRIFUGO_")
"""Prefixes of environment variables; the first one that is set wins."""

PROCESS_VARIABLES: Final = frozenset(
    {
        *("FLYBALL_ACME_DIRECTORY", "FLYBALL_ACME_CA_FILE"),
        worker_place.VARIABLE,
    }
)
"""Variables that are no options: read where the server is put together."""

NAMED_LISTS: Final = ("channel.namespaces", "rpc.namespaces", "proxies", "consumers")
"""Lists whose items have names and can be set by variables that hold the name."""

SectionClass: TypeAlias = Any
"""A section class; ``type[Any]`` is not ``Hashable`` to mypy, which ``cache`` asks for."""

_SCALARS: Final = {bool: Scalar("bool"), int: Int, str: Scalar("string")}


class Shape(enum.Enum):
    """Shape of an option."""

    SCALAR = "scalar"
    STRINGS = "array<string>"
    MAP = "map<string,string>"
    SECTION = "object"
    SECTIONS = "array<object>"


@dataclass(frozen=True, slots=True)
class OptionField:
    """One field of a section class."""

    name: str
    """As it is written in files."""
    shape: Shape
    """Its shape."""
    meta: Meta
    """What its row says."""
    default: Any
    """Value when nothing is configured."""
    scalar: Scalar | None = None
    """How a scalar is written; None for other kinds."""
    section: type[Any] | None = None
    """Class of the section, or of the items of the list of sections."""

    @property
    def type_name(self) -> str:
        """The ``type`` column of the table."""
        return self.scalar.name if self.scalar is not None else self.shape.value


@dataclass(frozen=True, slots=True)
class Row:
    """One option of the whole configuration."""

    path: str
    """Names of sections and option with dots between; ``[]`` follows the name of a list."""
    field: OptionField
    """The field of its section."""
    default: Any
    """As printed in documents: durations in Go's spelling."""
    env: str | None
    """Name of the variable without its prefix, with ``<NAME>`` for options of named list items;
    None for options that can be written only inside the value of their list."""
    hidden: bool
    """Not to be documented; holds for all that is below a section, as the next two do."""
    note: str
    """What else is to be known."""
    reload: bool
    """A reload puts a new value in force."""

    @property
    def flag(self) -> str:
        """The long flag of the server command, or the empty string."""
        return f"--{self.path}" if self.field.meta.flag else ""


@cache
def fields_of(cls: SectionClass) -> tuple[OptionField, ...]:
    """Returns the fields of a section class, in the order in which documents list them."""
    hints = get_type_hints(cls, include_extras=True)
    made = [_field(item, hints[item.name]) for item in dataclasses.fields(cls)]
    return tuple(sorted(made, key=lambda item: not item.meta.first))


@cache
def field_names(cls: SectionClass) -> dict[str, OptionField]:
    """Returns the fields of a section class by name."""
    return {item.name: item for item in fields_of(cls)}


def _field(item: dataclasses.Field[Any], hint: Any) -> OptionField:
    meta: Meta = item.metadata[META_KEY]
    default = item.default
    if item.default_factory is not dataclasses.MISSING:
        default = item.default_factory()
    origin = get_origin(hint)
    if origin is Annotated:
        return OptionField(item.name, Shape.SCALAR, meta, default, scalar=get_args(hint)[1])
    if origin is dict:
        return OptionField(item.name, Shape.MAP, meta, default)
    if origin is tuple:
        inner = get_args(hint)[0]
        if inner is str:
            return OptionField(item.name, Shape.STRINGS, meta, default)
        return OptionField(item.name, Shape.SECTIONS, meta, default, section=inner)
    if hint in _SCALARS:
        return OptionField(item.name, Shape.SCALAR, meta, default, scalar=_SCALARS[hint])
    return OptionField(item.name, Shape.SECTION, meta, default, section=hint)


@cache
def rows() -> tuple[Row, ...]:
    """Returns all options of the configuration, sections before what is below them."""
    return tuple(_rows(Config, "", hidden=False, note="", reload=False))


def _rows(
    cls: SectionClass, prefix: str, *, hidden: bool, note: str, reload: bool
) -> Iterator[Row]:
    for item in fields_of(cls):
        path = prefix + item.name
        row = Row(
            path,
            item,
            plain(item, item.default),
            None if item.shape is Shape.SECTION else env_name(path),
            hidden or item.meta.hidden,
            item.meta.note or note,
            reload or item.meta.reload,
        )
        yield row
        if item.section is not None:
            below = f"{path}." if item.shape is Shape.SECTION else f"{path}[]."
            yield from _rows(
                item.section, below, hidden=row.hidden, note=row.note, reload=row.reload
            )


def env_name(path: str) -> str | None:
    """Returns the variable of ``path`` without its prefix, None when there is none."""
    for base in NAMED_LISTS:
        if path.startswith(f"{base}[]"):
            path = f"{base}.<name>{path[len(base) + 2 :]}"
            break
    if "[]" in path:
        return None
    return path.upper().replace(".", "_")


def env_item(name: str) -> str:
    """Returns how the name of a list item is spelled inside a variable."""
    return name.upper().replace(".", "_").replace("-", "_")


def plain(item: OptionField, value: Any) -> Any:
    """Returns ``value`` of option ``item`` as JSON can hold it; sections become objects."""
    match item.shape:
        case Shape.SCALAR:
            scalar = item.scalar
            return format_duration(value) if scalar and scalar.name == "duration" else value
        case Shape.STRINGS:
            return list(value)
        case Shape.MAP:
            return dict(value)
        case Shape.SECTION:
            return to_plain(value)
        case Shape.SECTIONS:
            return [to_plain(each) for each in value]


def to_plain(value: Any) -> dict[str, Any]:
    """Returns a section as nested JSON objects that :func:`load_config` reads back."""
    cls: SectionClass = type(value)
    return {item.name: plain(item, getattr(value, item.name)) for item in fields_of(cls)}
