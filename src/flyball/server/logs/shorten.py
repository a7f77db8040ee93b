"""Keeps records short, whatever somebody sent that is shown in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from structlog.typing import EventDict

MAX_TEXT: Final = 512
"""Characters of a text that are shown whole."""
SHOWN: Final = 256
"""Characters of a longer one that are shown, from its start."""
MAX_ITEMS: Final = 32
"""Items of a list or mapping that are shown."""
MAX_DEPTH: Final = 8
"""Levels of lists and mappings that are shown."""
MAX_VALUES: Final = 256
"""Values of one field that are shown, all levels together."""
MAX_BITS: Final = 512
"""Bits of an integer that is shown."""
MAX_TRACEBACK: Final = 16_384
"""Characters of a traceback; its end says what happened, so that is kept."""
TRACEBACK: Final = "exception"
"""The field in which structlog puts it."""


def shorten(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: no value of ``event`` is long."""
    for name, value in event.items():
        if name == TRACEBACK and isinstance(value, str):
            event[name] = value if len(value) <= MAX_TRACEBACK else "…" + value[-MAX_TRACEBACK:]
        else:
            event[name] = _Shortener().short(value, MAX_DEPTH)
    return event


def short_text(text: str) -> str:
    """``text``, or its start and how long it is."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:SHOWN]}… ({len(text)} characters)"


def text_of(value: object) -> str:
    """``value`` as text, whatever its own idea of that: a record must not fail the work it tells of."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - somebody else's __str__, or an int of many digits
        return f"({type(value).__name__} that cannot be shown: {type(error).__name__})"


class _Shortener:
    """Shortens one value; all that is in it has one room together."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def short(self, value: Any, depth: int) -> Any:
        """``value``, which may have ``depth`` levels of lists and mappings."""
        self._left -= 1
        if isinstance(value, str):
            return short_text(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return _short_bytes(bytes(value))
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            if depth <= 0:
                return f"… ({len(value)} items)"
            if isinstance(value, Mapping):
                return self._mapping(value, depth - 1)
            return self._list(value, depth - 1)
        if isinstance(value, int):
            return value if value.bit_length() <= MAX_BITS else _told_bits(value)
        if value is None or (isinstance(value, float) and isfinite(value)):
            return value
        return short_text(text_of(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, item in islice(value.items(), MAX_ITEMS):
            if self._left <= 0:
                break
            shown[short_text(text_of(name))] = self.short(item, depth)
        return shown if len(shown) == len(value) else {**shown, "…": len(value)}

    def _list(self, value: Collection[Any], depth: int) -> list[Any]:
        shown: list[Any] = []
        for item in islice(value, MAX_ITEMS):
            if self._left <= 0:
                break
            shown.append(self.short(item, depth))
        return shown if len(shown) == len(value) else [*shown, "…"]


def _short_bytes(value: bytes) -> str:
    if len(value) <= MAX_TEXT:
        return value.decode("utf-8", "replace")
    return f"{value[:SHOWN].decode('utf-8', 'replace')}… ({len(value)} bytes)"


def _told_bits(value: int) -> str:
    return f"(an integer of {value.bit_length()} bits)"
