r"""Patterns in RE2 syntax, as the configuration writes them, for Python's ``re``.

What both understand but read differently is translated (``$``, ``\z``, ``\s``, ``\Q..\E``,
``[[:alpha:]]``, ``\pL``, flags in the middle of a pattern); what RE2 refuses is refused
(look-around, back references, atomic groups), so a configuration means the same as elsewhere.
``re`` backtracks where RE2 does not: callers limit the length of what they match.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import lru_cache
from typing import Final

from flyball.core.errors import ConfigError

__all__ = ["compile_re2"]

_POSIX: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_PERL: Final = {
    "d": "0-9",
    "D": r"\x00-/:-\U0010ffff",
    "s": r"\t\n\f\r ",
    "S": r"\x00-\x08\x0b\x0e-\x1f!-\U0010ffff",
    "w": "0-9A-Za-z_",
    "W": r"\x00-/:-@\[-^`{-\U0010ffff",
}
_CONTROL: Final = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_CATEGORIES: Final = re.compile("L[ultmo]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfos]?")
_SCRIPTS: Final = re.compile(
    "Arabic|Armenian|Bengali|Cyrillic|Devanagari|Ethiopic|Georgian|Greek|Gujarati|Gurmukhi|Hangul|"
    "Han|Hebrew|Hiragana|Kannada|Katakana|Khmer|Lao|Latin|Malayalam|Mongolian|Myanmar|Sinhala|"
    "Tamil|Telugu|Thai|Tibetan"
)
_MAX_REPEAT: Final = 1000
_REPEAT: Final = re.compile(r"\{(\d+)(,(\d*))?\}")
_FLAGS: Final = re.compile(r"\?([a-zA-Z]*)(-[a-zA-Z]+)?([:)])")
_NAMED: Final = re.compile(r"\?P?<([A-Za-z0-9_]+)>")


def compile_re2(pattern: str, option: str) -> re.Pattern[str]:
    """Compiles ``pattern`` (RE2 syntax); ``option`` names it in the error.

    Raises:
        ConfigError: the pattern is no RE2 pattern, or uses what is not supported here.
    """
    try:
        # ASCII: that is what \b means in RE2; the classes are spelled out anyway.
        return re.compile(_Translator(pattern).translate(), re.ASCII)
    except (_PatternError, re.error) as error:
        message = f"{option}: {pattern!r} is not a valid pattern (RE2 syntax): {error}"
        raise ConfigError(message) from None


class _PatternError(ValueError):
    """What is wrong with a pattern."""


class _Group:
    """An open group: its flags, and the flag scopes opened inside of it."""

    __slots__ = ("multiline", "scopes")

    def __init__(self, *, multiline: bool) -> None:
        self.multiline = multiline
        self.scopes: list[str] = []


class _Translator:
    """One pass over a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._out: list[str] = []
        self._groups = [_Group(multiline=False)]
        self._repeatable = False

    def translate(self) -> str:
        pattern = self._pattern
        while self._at < len(pattern):
            char = pattern[self._at]
            self._at += 1
            if char in "*+?{":
                self._repeat(char)
            else:
                self._plain(char)
        if len(self._groups) > 1:
            raise _PatternError("missing )")
        self._out.append(")" * len(self._groups[0].scopes))
        return "".join(self._out)

    def _plain(self, char: str) -> None:
        emit = self._out.append
        group = self._groups[-1]
        repeatable = True
        match char:
            case "\\":
                self._escape()
            case "[":
                emit(self._class())
            case "(":
                self._open()
                repeatable = False
            case ")":
                self._close()
            case "|":
                # Flags set earlier in the group hold in its other branches as well.
                emit(")" * len(group.scopes) + "|" + "".join(group.scopes))
                repeatable = False
            case "$":
                emit("$" if group.multiline else r"\Z")
            case "^" | ".":
                emit(char)
            case _:
                emit(re.escape(char))
        self._repeatable = repeatable

    # -- repetition

    def _repeat(self, char: str) -> None:
        spelled = char
        if char == "{":
            found = _REPEAT.match(self._pattern, self._at - 1)
            if found is None:
                self._out.append(r"\{")
                self._repeatable = True
                return
            low, high = int(found[1]), int(found[3]) if found[3] else int(found[1])
            if low > _MAX_REPEAT or high > _MAX_REPEAT:
                raise _PatternError(f"{found[0]} repeats more than {_MAX_REPEAT} times")
            spelled = found[0]
            self._at = found.end()
        if not self._repeatable:
            raise _PatternError(f"nothing for {spelled} to repeat at {self._at - 1}")
        if self._pattern.startswith("?", self._at):
            spelled += "?"
            self._at += 1
        self._out.append(spelled)
        self._repeatable = False

    # -- groups

    def _open(self) -> None:
        pattern, group = self._pattern, self._groups[-1]
        if not pattern.startswith("?", self._at):
            self._out.append("(")
            self._groups.append(_Group(multiline=group.multiline))
            return
        named = _NAMED.match(pattern, self._at)
        if named is not None:
            self._at = named.end()
            self._out.append(f"(?P<{named[1]}>")
            self._groups.append(_Group(multiline=group.multiline))
            return
        flags = _FLAGS.match(pattern, self._at)
        if flags is None:
            raise _PatternError(f"({pattern[self._at : self._at + 2]} is not in RE2")
        self._at = flags.end()
        on, off = flags[1], flags[2] or ""
        unknown = set(on + off) - set("ims-")
        if unknown:
            raise _PatternError(f"flag {min(unknown)} is not supported")
        multiline = (group.multiline or "m" in on) and "m" not in off
        opening = f"(?{on}{off}:"
        if flags[3] == ":":
            self._out.append(opening)
            self._groups.append(_Group(multiline=multiline))
        else:
            self._out.append(opening)
            group.scopes.append(opening)
            group.multiline = multiline

    def _close(self) -> None:
        if len(self._groups) == 1:
            raise _PatternError("unexpected )")
        self._out.append(")" * len(self._groups.pop().scopes) + ")")

    # -- escapes

    def _escape(self) -> None:
        char = self._next("after \\")
        emit = self._out.append
        if char == "Q":
            end = self._pattern.find("\\E", self._at)
            literal = self._pattern[self._at :] if end < 0 else self._pattern[self._at : end]
            self._at = len(self._pattern) if end < 0 else end + 2
            emit(re.escape(literal))
        elif char == "z":
            emit(r"\Z")
        elif char in "AbB":
            emit("\\" + char)
        elif char in _PERL:
            emit(f"[{_PERL[char]}]")
        elif char in "pP":
            emit(f"[{self._property(char)}]")
        else:
            emit(re.escape(self._literal(char)))

    def _literal(self, char: str) -> str:
        """The character that an escape stands for; ``char`` follows the backslash."""
        if char in _CONTROL:
            return _CONTROL[char]
        if char == "x":
            return self._hexadecimal()
        if char in "01234567":
            octal = re.compile("[0-7]{0,2}").match(self._pattern, self._at)
            digits = char + (octal[0] if octal else "")
            if char != "0" and len(digits) == 1:
                raise _PatternError(f"back reference \\{char} is not in RE2")
            self._at += len(digits) - 1
            return chr(int(digits, 8))
        if char.isascii() and not char.isalnum():
            return char
        raise _PatternError(f"\\{char} is not in RE2")

    def _hexadecimal(self) -> str:
        found = re.compile(r"\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2})").match(
            self._pattern, self._at
        )
        code = int(found[1] or found[2], 16) if found else sys.maxunicode + 1
        if found is None or code > sys.maxunicode:
            raise _PatternError(r"\x needs two digits or {1 to 6 digits}")
        self._at = found.end()
        return chr(code)

    def _property(self, kind: str) -> str:
        name = self._next("after \\p")
        if name == "{":
            end = self._pattern.find("}", self._at)
            if end < 0:
                raise _PatternError("missing } after \\p{")
            name = self._pattern[self._at : end]
            self._at = end + 1
        negated = (kind == "P") != name.startswith("^")
        name = name.removeprefix("^")
        if not _CATEGORIES.fullmatch(name) and not _SCRIPTS.fullmatch(name):
            raise _PatternError(f"\\{kind}{{{name}}} is not supported")
        return _unicode_ranges(name, negated=negated)

    # -- classes

    def _class(self) -> str:
        pattern = self._pattern
        out = ["["]
        if pattern.startswith("^", self._at):
            out.append("^")
            self._at += 1
        first = True
        while first or not pattern.startswith("]", self._at):
            first = False
            item, single = self._class_item()
            if single and self._range_follows():
                self._at += 1
                end, end_single = self._class_item()
                if not end_single or end < item:
                    raise _PatternError(f"bad range {item}-{end} in a class")
                out.append(f"{_in_class(item)}-{_in_class(end)}")
            else:
                out.append(_in_class(item) if single else item)
        self._at += 1
        return "".join(out) + "]"

    def _range_follows(self) -> bool:
        pattern, at = self._pattern, self._at
        return pattern.startswith("-", at) and not pattern.startswith("-]", at)

    def _class_item(self) -> tuple[str, bool]:
        """A character and True, or the inside of a class and False."""
        char = self._next("in a class")
        if char == "[" and self._pattern.startswith(":", self._at):
            end = self._pattern.find(":]", self._at + 1)
            if end >= 0:
                name = self._pattern[self._at + 1 : end]
                ranges = _POSIX.get(name)
                if ranges is None:
                    raise _PatternError(f"unknown class [:{name}:]")
                self._at = end + 2
                return ranges, False
        if char != "\\":
            return char, True
        char = self._next("after \\")
        if char in _PERL:
            return _PERL[char], False
        if char in "pP":
            return self._property(char), False
        return self._literal(char), True

    def _next(self, where: str) -> str:
        if self._at >= len(self._pattern):
            raise _PatternError(f"ends {where}")
        char = self._pattern[self._at]
        self._at += 1
        return char


def _in_class(char: str) -> str:
    return char if char.isalnum() or ord(char) > 0x7F else f"\\x{ord(char):02x}"


@lru_cache(maxsize=32)
def _unicode_ranges(name: str, *, negated: bool) -> str:
    """The inside of a class with all characters of a category or a script.

    Scripts are told by the characters' names, which is right for their letters.
    """
    han = ("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH")
    prefixes = han if name == "Han" else (name.upper() + " ",)
    by_category = _CATEGORIES.fullmatch(name) is not None
    ranges: list[str] = []
    start = -1
    for code in range(sys.maxunicode + 2):
        if code > sys.maxunicode:
            inside = False
        else:
            char = chr(code)
            if by_category:
                inside = unicodedata.category(char).startswith(name)
            else:
                inside = unicodedata.name(char, "").startswith(prefixes)
            inside = inside != negated
        if inside and start < 0:
            start = code
        elif not inside and start >= 0:
            ranges.append(f"\\U{start:08x}-\\U{code - 1:08x}")
            start = -1
    return "".join(ranges)
