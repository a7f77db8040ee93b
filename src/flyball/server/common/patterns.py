r"""Patterns that operators write, and that texts of strangers are held against.

They are in RE2 syntax and run by RE2: in time linear in the length of the text, whatever the
pattern. Python's ``re`` backtracks: ``^([a-z]+_?)+$`` on 32 characters would hold up the event
loop for twenty seconds. No other module compiles patterns of the configuration.
"""

from __future__ import annotations

import re
from typing import Any, Final

import re2

from flyball.core.errors import ConfigError

__all__ = ["Pattern", "compile_pattern"]

_TOKEN: Final = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\(\?P?<\w+>|.", re.DOTALL)
"""A pattern taken apart, as far as :func:`_extra` has to know it."""


class Pattern:
    """A compiled pattern.

    Args:
        source: the pattern.
        compiled: what RE2 made of it.
    """

    __slots__ = ("_compiled", "names", "source")

    def __init__(self, source: str, compiled: Any) -> None:
        self.source: Final = source
        """As the operator wrote it."""
        self._compiled = compiled
        self.names: Final = frozenset(name.decode() for name in compiled.groupindex)
        """The names of its groups."""

    def __repr__(self) -> str:
        return f"Pattern({self.source!r})"

    def search(self, text: str) -> bool:
        """Whether the pattern is found anywhere in ``text``."""
        return self._compiled.search(_encoded(text)) is not None

    def groups(self, text: str) -> dict[str, str] | None:
        """What the named groups took if the pattern takes all of ``text``, else None.

        A group that took no part is left out.
        """
        match = self._compiled.fullmatch(_encoded(text))
        if match is None:
            return None
        found = match.groupdict().items()
        return {name.decode(): part.decode() for name, part in found if part is not None}


def compile_pattern(source: str, option: str) -> Pattern:
    """Compiles ``source`` (RE2 syntax); ``option`` names it in the error.

    Raises:
        ConfigError: RE2 does not know such a pattern; says where, what and why.
    """
    options = re2.Options()
    options.log_errors = False  # they are told in the exception, not on stderr
    reason = _extra(source)
    if not reason:
        try:
            # Given bytes it answers in bytes: offsets need not be counted in characters.
            return Pattern(source, re2.compile(_encoded(source), options))
        except re2.error as error:
            reason = error.args[0].decode("utf-8", "replace")
    message = f"{option}: {source!r} is not a valid pattern (RE2 syntax): {reason}"
    raise ConfigError(message)


def _extra(source: str) -> str:
    r"""What is wrong with a pattern that this build of RE2 takes, but not Go's; else empty.

    The original refuses a single byte (``\C``), and one name for two groups.
    """
    tokens = _TOKEN.findall(source)
    if r"\C" in tokens:
        return r"invalid escape sequence: \C"
    names = [token.partition("<")[2] for token in tokens if token.startswith("(?")]
    twice = next((name for name in names if names.count(name) > 1), "")
    return f"duplicate group name: {twice[:-1]}" if twice else ""


def _encoded(text: str) -> bytes:
    # Half a surrogate pair is a character like others: names of strangers may have one.
    return text.encode("utf-8", "surrogatepass")
