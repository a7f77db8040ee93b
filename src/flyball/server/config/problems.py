"""What is said about a configuration: problems that stop the server, notices that do not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from flyball.core.errors import ConfigError

_USERINFO: Final = re.compile(r"//[^/@\s]*@")
_SHOWN: Final = 80


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
        source = f" ({self.source})" if self.source else ""
        return f"{self.key}{source}: {self.text}" if self.key else f"{self.text}{source}"


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

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
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
