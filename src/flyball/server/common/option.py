"""The vocabulary in which the configuration is written down.

Every section of the configuration is a frozen dataclass; every option is a field made by
:func:`opt` (a value) or :func:`nested` (a section or a list of sections). The field carries what
files, environment variables, flags and the documentation need to know, so that each option is
described in one place only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar, dataclass_transform

T = TypeVar("T")

META_KEY: Final = "flyball"


@dataclass(frozen=True, slots=True)
class Scalar:
    """How the value of an option is written: the ``type`` column of the option table."""

    name: str
    """In documents."""
    low: int | None = None
    """Least number; None: not a number, or any."""
    high: int | None = None
    """Greatest number."""


Int: Final = Scalar("int", -(2**63), 2**63 - 1)
"""Default of plain ``int`` fields."""

Int32 = Annotated[int, Scalar("int32", -(2**31), 2**31 - 1)]
Int64 = Annotated[int, Scalar("int64", -(2**63), 2**63 - 1)]
UInt32 = Annotated[int, Scalar("uint32", 0, 2**32 - 1)]

Duration = Annotated[float, Scalar("duration")]
"""A span of time in seconds. Files and variables spell it in Go's way, ``1h30m``."""

JsonSchema = Annotated[str, Scalar("schema")]
"""A JSON Schema as text, in files also as an object, or the path of a file that holds one."""

Pem = Annotated[str, Scalar("pem")]
"""PEM text, base64 of PEM text, or the path of a file that holds PEM text."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known about an option beside its name, type and default."""

    doc: str
    """One line that says what the option does."""
    allowed: tuple[str, ...] = ()
    """The values it may take; empty when anything of the type is fine."""
    flag: bool = False
    """The server command has a flag for it."""
    short: str = ""
    """One-letter form of the flag, with its dash."""
    hidden: bool = False
    """Not to be documented."""
    note: str = ""
    """What else is to be known."""
    first: bool = False
    """Listed before the inherited options of the section."""
    secret: bool = False
    """The value is never shown, neither in messages nor in the log."""
    insecure: bool = False
    """On, it takes protection away: loud at start, visible in metrics."""
    reload: bool = False
    """A reload puts a new value in force; others wait for the next start."""


def opt(
    default: T,
    doc: str,
    *,
    allowed: tuple[str, ...] = (),
    flag: bool = False,
    short: str = "",
    first: bool = False,
    secret: bool = False,
    insecure: bool = False,
    reload: bool = False,
) -> T:
    """Declares a value option.

    Args:
        default: Value when nothing is configured.
        doc: One line that says what the option does.
        allowed: See :class:`Meta`, as for all that follows.
        flag: Whether the server command has a flag for it.
        short: One-letter form of the flag.
        first: Whether to list it before the inherited options.
        secret: Whether the value is never shown.
        insecure: Whether it takes protection away.
        reload: Whether a reload puts it in force.
    """
    meta = Meta(
        doc,
        allowed,
        flag=flag,
        short=short,
        first=first,
        secret=secret,
        insecure=insecure,
        reload=reload,
    )
    value: T = field(default=default, repr=not secret, metadata={META_KEY: meta})
    return value


def mapping(doc: str, *, secret: bool = False) -> dict[str, str]:
    """Declares an option that maps strings to strings, empty by default."""
    meta = Meta(doc, secret=secret)
    value: dict[str, str] = field(default_factory=dict, repr=not secret, metadata={META_KEY: meta})
    return value


def nested(
    kind: type[T], doc: str, *, hidden: bool = False, note: str = "", reload: bool = False
) -> T:
    """Declares a section inside a section; all of it is hidden, noted or reloaded with it."""
    meta = Meta(doc, hidden=hidden, note=note, reload=reload)
    value: T = field(default_factory=kind, metadata={META_KEY: meta})
    return value


def many(kind: type[T], doc: str) -> tuple[T, ...]:  # noqa: ARG001 - gives the field its type
    """Declare a list of sections, empty by default."""
    value: tuple[T, ...] = field(default=(), metadata={META_KEY: Meta(doc)})
    return value


@dataclass_transform(kw_only_default=True, frozen_default=True)
def section(cls: type[T]) -> type[T]:
    """Makes a class a section: frozen, slotted, keyword arguments only."""
    made: Any = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    result: type[T] = made
    return result
