"""What is said about a configuration: problems that stop the server, notices that do not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from flyball.core.errors import ConfigError
from flyball.server.config.table import OWN_PREFIX, rows

_USERINFO: Final = re.compile(r"//[^/@\s]*@")
_SHOWN: Final = 80
_INDEX: Final = re.compile(r"\[\d+\]")
_QUOTED: Final = re.compile(r"""(["'])(?:(?!\1)[^\\]|\\.){81,}\1""")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TOLD: Final = re.compile(r"([a-z0-9_]+(?:\.[a-z0-9_]+|\[\d+\])*)(?:: | (?=(?:is|has) ))")
_VALUE: Final = re.compile(r"is ([^;]+); ")


def variable_of(key: str) -> str:
    """The variable that sets ``key``; empty if there is none. ``<NAME>`` is that of a list's item."""
    found = (_variables().get(_path(each).removesuffix("[]")) for each in key.split(", "))
    return ", ".join(f"{OWN_PREFIX}{name}" for name in found if name)


def _path(key: str) -> str:
    return _INDEX.sub("[]", key)


@cache
def _paths() -> frozenset[str]:
    return frozenset(row.path for row in rows())


def _is_option(key: str) -> bool:
    return _path(key) in _paths() or _path(key).removesuffix("[]") in _paths()


@cache
def _variables() -> dict[str, str]:
    return {row.path: row.env for row in rows() if row.env}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    key: str
    """Path of the option, as it is written in files; several with a comma and a space between."""
    text: str
    """What is wrong, what is allowed and what to do."""
    source: str = ""
    """Where the value came from; empty when that does not matter."""

    def __str__(self) -> str:
        """One line, whatever stands in the value that it is about."""
        return _CONTROL.sub(_escaped, self._line())

    def _line(self) -> str:
        text = _QUOTED.sub(_cut, _USERINFO.sub("//***@", self.text))
        if not self.key:
            return f"{text} ({self.source})" if self.source else text
        variable = variable_of(self.key) if "variable" not in self.source else ""
        told = ", ".join(filter(None, (self.source, variable)))
        return f"{self.key} ({told}): {text}" if told else f"{self.key}: {text}"


def _escaped(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def _cut(found: re.Match[str]) -> str:
    return f"{found[0][: _SHOWN + 1]}...{found[1]}"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the operator should know, which does not stop the server."""

    event: str
    """What happened; the same text for all notices of a kind."""
    key: str
    """The key, variable or file it is about."""
    hint: str = ""
    """What to do, empty when nothing is known."""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.event}: {self.key}{hint}"


class ConfigProblems(ConfigError):
    """All problems of a configuration in one report."""

    def __init__(self, problems: Sequence[Problem], notices: Sequence[Notice] = ()) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.notices: tuple[Notice, ...] = tuple(notices)
        """What else was seen: often why there are problems."""
        super().__init__("\n".join(str(problem) for problem in self.problems))


def problems_in(error: ConfigError) -> list[Problem]:
    """What an error says, problem by problem: that of a part begins with the key of its option."""
    if isinstance(error, ConfigProblems):
        return list(error.problems)
    return [_problem(str(error))]


def _problem(text: str) -> Problem:
    head, colon, rest = text.partition(": ")
    if colon and ", " in head and all(map(_is_option, head.split(", "))):
        return Problem(head, rest)
    key = ""
    # Of a part that knows its options by names of its own the section stands before: "a.b: c: ..."
    while found := _TOLD.match(text):
        longer = f"{key}.{found[1]}" if key else found[1]
        if not _is_option(longer):
            break
        key, text = longer, text[found.end() :]
    value = _VALUE.match(text) if key else None
    if value is not None:
        text = f"{value[1]} is not allowed; {text[value.end() :]}"
    return Problem(key, text)


def shown(value: Any, *, secret: bool = False) -> str:
    """Writes ``value`` for a message: secrets and passwords in URLs hidden, long values cut."""
    if secret:
        return "the value (not shown)"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(
        _USERINFO.sub("//***@", value) if isinstance(value, str) else value, default=str
    )
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
