"""Keeps records short, whatever somebody sent that is shown in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from structlog.typing import EventDict

MAX_TEXT: Final = 512
"""Characters of a text that are shown whole."""
SHOWN: Final = 256
"""Characters of a longer one that are shown, from its start."""
MAX_ITEMS: Final = 32
"""Items of a list or mapping that are shown."""
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
            event[name] = _short(value)
    return event


def short_text(text: str) -> str:
    """``text``, or its start and how long it is."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:SHOWN]}… ({len(text)} characters)"


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return short_text(value)
    if isinstance(value, Mapping):
        items = [(short_text(str(name)), _short(item)) for name, item in _first(value.items())]
        return dict(items) | _rest(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [*map(_short, _first(value)), *_rest(value)]
    return value


def _first(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(MAX_ITEMS), strict=False)]


def _rest(value: Any) -> dict[str, int]:
    """What to say of the items that are not shown."""
    return {"…": len(value)} if len(value) > MAX_ITEMS else {}
