"""Reads single values in all the spellings that files and environment variables may use.

Each reader takes a raw value and returns the value of the option or raises ``ValueError`` with
what is expected, in words that continue "expected ...".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flyball.server.common.durations import EXPECTED, NANOSECONDS, parse_duration
from flyball.server.common.option import Scalar

MAX_DEPTH: Final = 32
"""How deep values may stand in one another; no option needs a quarter of that."""
MAX_SECTIONS: Final = 100_000
"""How many objects and lists one level may hold."""
TOO_DEEP: Final = (
    f"values are nested too deep: {MAX_DEPTH} levels of at most {MAX_SECTIONS} sections are allowed"
)

TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_MOST_DIGITS: Final = 100
"""Of a number, in any base: none that is allowed has so many, and Python refuses more than 4300."""

# Go's base-0 integers: prefixes choose the base, a leading zero means octal, and underscores may
# stand between the digits of a prefixed number.
_INTEGER: Final = re.compile(
    r"([+-]?)(?:(0[xX])(_?[0-9a-fA-F]+)+|(0[bB])(_?[01]+)+|(0[oO])(_?[0-7]+)+"
    r"|(0)((?:_?[0-7])+)|([1-9](?:_?[0-9])*|0))"
)


def read_scalar(scalar: Scalar, raw: Any, *, text_only: bool) -> Any:
    """Reads a scalar. ``text_only`` is True for variables and flags, where all is text.

    Raises:
        ValueError: ``raw`` is no such value; says what is expected.
    """
    match scalar.name:
        case "bool":
            return read_bool(raw)
        case "string" | "pem":
            return read_string(raw)
        case "schema":
            return json.dumps(raw) if isinstance(raw, Mapping) else read_string(raw)
        case "duration":
            return read_duration(raw, text_only=text_only)
        case _:
            return read_int(scalar, raw)


def read_bool(raw: Any) -> bool:
    """Reads a switch: a bool, 0, 1, or text such as ``true``, ``F`` or ``1``."""
    if isinstance(raw, str) and not raw:
        return False
    text = str(raw)
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError("true or false")


def read_string(raw: Any) -> str:
    """Reads text; numbers count as their digits."""
    if isinstance(raw, str):
        try:
            raw.encode()
        except UnicodeEncodeError:
            # Half a surrogate pair in JSON, or bytes of a variable that are no UTF-8.
            raise ValueError("text in UTF-8") from None
        if "\x00" in raw:
            # No name of a file, a host or a server's object has one; the system's calls break on it.
            raise ValueError("text without NUL characters")
        return raw
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return str(int(raw)) if _whole(raw) else str(raw)
    raise ValueError("a string")


def read_int(scalar: Scalar, raw: Any) -> int:
    """Reads a whole number within the range of ``scalar``."""
    value: int | None = None
    if isinstance(raw, str):
        value = parse_int(raw) if raw else 0
    elif isinstance(raw, (int, float)) and not isinstance(raw, bool) and _whole(raw):
        value = int(raw)
    if value is None:
        raise ValueError("a whole number such as 10")
    if (scalar.low is not None and value < scalar.low) or (
        scalar.high is not None and value > scalar.high
    ):
        raise ValueError(f"a whole number from {scalar.low} to {scalar.high}")
    return value


def _whole(number: float) -> bool:
    return isinstance(number, int) or number.is_integer()


def parse_int(text: str) -> int | None:
    """Returns the integer that ``text`` spells in Go's base-0 syntax, None when it spells none."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    digits = text.lstrip("+-").replace("_", "")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = f"0o{digits[1:]}"
    if len(digits) > _MOST_DIGITS:
        return None
    value = int(digits, 0)
    return -value if match[1] == "-" else value


def read_duration(raw: Any, *, text_only: bool) -> float:
    """Reads a duration: Go's spelling, or a number of nanoseconds in files."""
    if isinstance(raw, str):
        return parse_duration(raw) if raw else 0.0
    number = isinstance(raw, (int, float)) and not isinstance(raw, bool)
    if number and not text_only and abs(raw) < NANOSECONDS**2 * 9:
        return float(raw / NANOSECONDS)
    raise ValueError(EXPECTED)


def read_strings(raw: Any) -> tuple[str, ...]:
    """Reads a list of strings from a file; a lone string is a list of one."""
    if isinstance(raw, str):
        return (read_string(raw),) if raw else ()
    if isinstance(raw, list):
        try:
            return tuple(read_string(item) for item in raw)
        except ValueError:
            pass
    raise ValueError("a list of strings")


def read_map(raw: Any, *, lower: bool) -> dict[str, str]:
    """Reads a map of strings: an object, or a list of objects with ``key`` and ``value``.

    Keys of the object form become lower case when ``lower`` is set, as in the original's files.
    """
    try:
        if isinstance(raw, Mapping):
            return {
                read_string(str(key).lower() if lower else str(key)): read_string(value)
                for key, value in raw.items()
            }
        if isinstance(raw, list):
            pairs = (
                {str(key).lower(): value for key, value in item.items()}
                for item in raw
                if isinstance(item, Mapping) or _refuse_item()
            )
            return {read_string(pair["key"]): read_string(pair["value"]) for pair in pairs}
    except (ValueError, KeyError):
        pass
    raise ValueError('an object of strings, or a list of {"key": ..., "value": ...}')


def _refuse_item() -> bool:
    raise ValueError


def read_json(text: str) -> Any:
    """Reads a variable that holds JSON.

    Raises:
        ValueError: ``text`` is not JSON; says where it breaks, not what it holds.
    """
    try:
        value = json.loads(text)
        check_depth(value)
    except RecursionError:
        raise ValueError(f"JSON ({TOO_DEEP})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"JSON ({error.msg} at character {error.pos + 1})") from None
    except ValueError:
        raise ValueError("JSON (it holds a number with too many digits)") from None
    return value


def check_depth(tree: Any) -> None:
    """Makes sure that functions that walk down ``tree`` come to an end.

    Raises:
        RecursionError: values stand in more than ``MAX_DEPTH`` others.
    """
    level: list[Any] = [[tree]]
    for _ in range(MAX_DEPTH + 1):
        level = [item for value in level for item in _sections(value)]
        if not level:
            return
        if len(level) > MAX_SECTIONS:  # aliases of YAML can make any number out of a few lines
            break
    raise RecursionError


def _sections(value: dict[str, Any] | list[Any]) -> Iterator[Any]:
    items = value.values() if isinstance(value, dict) else value
    return (item for item in items if isinstance(item, (dict, list)))
