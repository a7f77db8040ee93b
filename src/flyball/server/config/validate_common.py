"""What the rules of :mod:`flyball.server.config.validate` share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flyball.server.channels.options import ChannelOptions
from flyball.server.config.problems import Problem
from flyball.server.config.schema import Config
from flyball.server.config.table import SectionClass, Shape, field_names, fields_of

NAME: Final = re.compile(r"[-a-zA-Z0-9_.]{2,}")
"""Names of namespaces and proxies."""

NAME_RULE: Final = "use letters, digits and - _ . only, at least two characters"

MAX_REASON: Final = 123
"""Most bytes of a close reason: a WebSocket control frame holds 125 with the code."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Channel options and where they stand."""

    key: str
    """Path of the section."""
    name: str
    """Of the namespace; empty for channels without one."""
    options: ChannelOptions
    """What is set."""

    def problem(self, option: str, text: str) -> Problem:
        """Makes a problem of one of these options."""
        return Problem(f"{self.key}.{option}", text, self.label)

    @property
    def label(self) -> str:
        """Name for messages."""
        return f'namespace "{self.name}"' if self.name else "channels without namespace"


def scopes(config: Config) -> Iterator[Scope]:
    """Yields all sets of channel options."""
    yield Scope("channel.without_namespace", "", config.channel.without_namespace)
    for index, namespace in enumerate(config.channel.namespaces):
        yield Scope(f"channel.namespaces[{index}]", namespace.name, namespace)


def one_of(allowed: Sequence[str]) -> str:
    """Says what is allowed."""
    words = ", ".join(word for word in allowed if word)
    return f"allowed are {words}" + (" and empty" if "" in allowed else "")


def choices(key: str, section: Any, *names: str, source: str = "") -> Iterator[Problem]:
    """Yields a problem for each value that its option does not allow.

    Args:
        key: Path of the section.
        section: Holds the options.
        names: Which options to look at; if none, all of the section and of those below it.
        source: Whose options they are, for messages.
    """
    cls: SectionClass = type(section)
    for item in fields_of(cls):
        value = getattr(section, item.name)
        if item.meta.allowed and (not names or item.name in names):
            for each in value if item.shape is Shape.STRINGS else (value,):
                if each not in item.meta.allowed:
                    text = f'"{each}" is not allowed; {one_of(item.meta.allowed)}'
                    yield Problem(f"{key}.{item.name}", text, source)
        elif item.shape is Shape.SECTION and not names:
            yield from choices(f"{key}.{item.name}", value, source=source)


def allowed(section: SectionClass, name: str) -> tuple[str, ...]:
    """Returns the values that option ``name`` of a section may take."""
    return field_names(section)[name].meta.allowed


def repeated(key: str, names: Sequence[str]) -> Iterator[Problem]:
    """Yields a problem for each name that occurs twice."""
    for name, count in Counter(names).items():
        if count > 1:
            yield Problem(
                key, f'the name "{name}" is used {count} times; names must differ from each other'
            )
