r"""Globs for names of channels.

``*`` and ``**`` stand for any text, ``?`` for one character, ``[abc]`` and ``[a-c]`` for one of
these, ``[!abc]`` for another one, ``{a,b}`` for one of these globs; ``\`` takes a character as it
is. An alternative that is not closed ends with the glob.
"""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from flyball.core.errors import Error
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ALTERNATIVES: Final = 1000
"""Globs without alternatives that one glob may stand for."""
_ONE_OF: Final = re.compile(r"\[(!?+)((?:\\.|[^\\\]])+)\]", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


@lru_cache(maxsize=64)
def compile_glob(pattern: str) -> Callable[[str], object]:
    """A function that tells whether a name fits ``pattern``.

    Raises:
        Error: 100, the glob is malformed or stands for too many others.
    """
    if not pattern:
        return lambda _name: True
    flat, _ = _alternatives(pattern, 0, inside=False)
    # What fnmatch makes of them does not backtrack over what a star took.
    return re.compile("|".join(map(fnmatch.translate, flat))).match


def _alternatives(pattern: str, pos: int, *, inside: bool) -> tuple[list[str], int]:
    """The globs, in fnmatch's language, that ``pattern`` stands for from ``pos`` on.

    Inside of braces that is up to their end; the position after it is returned too.
    """
    done: list[str] = []
    current = [""]
    while pos < len(pattern):
        char = pattern[pos]
        if inside and char == "}":
            return done + current, pos + 1
        if inside and char == ",":
            done, current, pos = done + current, [""], pos + 1
            continue
        if char == "{":
            nested, pos = _alternatives(pattern, pos + 1, inside=True)
            if len(nested) * len(current) > MAX_ALTERNATIVES:
                raise _malformed(pattern, f"it stands for more than {MAX_ALTERNATIVES} globs")
            current = [start + end for start in current for end in nested]
            continue
        piece, pos = _piece(pattern, pos)
        current = [start + piece for start in current]
    return done + current, pos


def _piece(pattern: str, pos: int) -> tuple[str, int]:
    char = pattern[pos]
    if char == "[":
        return _one_of(pattern, pos)
    if char == "\\":
        return _plain(pattern[pos + 1 : pos + 2]), pos + 2
    if char in "*?":
        return char, pos + 1
    return _plain(char), pos + 1


def _plain(char: str) -> str:
    return f"[{char}]" if char and char in "*?[" else char


def _one_of(pattern: str, pos: int) -> tuple[str, int]:
    """The list or range that begins at ``pos``, and where it ends."""
    found = _ONE_OF.match(pattern, pos)
    if found is None:
        raise _malformed(pattern, f"the [ at {pos + 1} is not closed, or nothing stands in it")
    no, body = found.groups()
    if body[1:2] == "-":
        if len(body) != 3 or body[0] > body[2]:
            raise _malformed(pattern, f"what begins with [ at {pos + 1} is no range such as [a-c]")
        return f"[{no}{body}]", found.end()
    chars = set(_ESCAPE.sub(r"\1", body))
    if chars == {"!"} and not no:
        return "!", found.end()
    if chars == {"!", "-"}:
        return f"[{no}-!]", found.end()
    # In this order each of them stands for itself.
    ordered = sorted(chars, key=lambda char: (char != "]", char in "!-", char == "-"))
    return f"[{no}{''.join(ordered)}]", found.end()


def _malformed(pattern: str, why: str) -> Error:
    return Error(codes.INTERNAL, detail=f"the pattern {pattern!r} is malformed: {why}")
