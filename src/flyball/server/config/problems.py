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


def variable_of(key: str) -> str:
    """The variable that sets ``key``; empty if there is none. ``<NAME>`` is that of a list's item."""
    name = _variables().get(_INDEX.sub("[]", key).removesuffix("[]"))
    return f"{OWN_PREFIX}{name}" if name else ""


@cache
def _variables() -> dict[str, str]:
    return {row.path: row.env for row in rows() if row.env}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    key: str
    """Path of the option, as it is written in files."""
    text: str
    """What is wrong, what is allowed and what to do."""
    source: str = ""
    """Where the value came from; empty when that does not matter."""

    def __str__(self) -> str:
        if not self.key:
            return f"{self.text} ({self.source})" if self.source else self.text
        variable = variable_of(self.key) if "variable" not in self.source else ""
        told = ", ".join(filter(None, (self.source, variable)))
        return f"{self.key} ({told}): {self.text}" if told else f"{self.key}: {self.text}"


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
