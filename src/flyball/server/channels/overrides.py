"""Namespace options that one subscription may have otherwise: by a token, a proxy, the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

__all__ = ["OVERRIDES", "BoolValue", "OverrideMessage", "Overrides", "overrides_of"]

OVERRIDES: Final = {
    "presence": "presence",
    "join_leave": "join_leave",
    "force_push_join_leave": "push_join_leave",
    "force_positioning": "positioned",
    "force_recovery": "recoverable",
}
"""Names of options, as those who override write them, to the fields of ``SubscribeOptions``."""

Overrides: TypeAlias = Mapping[str, Any]
"""Fields of ``SubscribeOptions``, and the switches (bool) in place of the namespace's."""


class BoolValue(msgspec.Struct):
    """A switch inside an override."""

    value: bool = False


class OverrideMessage(msgspec.Struct):
    """What is replaced, as JSON has it. Null is the same as absent."""

    presence: BoolValue | None = None
    """Keep the subscriber in presence."""
    join_leave: BoolValue | None = None
    """Emit its join and leave."""
    force_push_join_leave: BoolValue | None = None
    """Deliver join and leave of others to it."""
    force_positioning: BoolValue | None = None
    """Check its position."""
    force_recovery: BoolValue | None = None
    """Make it recoverable."""


def overrides_of(message: object | None) -> Overrides:
    """What ``message`` replaces: an :class:`OverrideMessage`, or another of its shape."""
    if message is None:
        return {}
    return {
        field: given.value
        for name, field in OVERRIDES.items()
        if (given := getattr(message, name)) is not None
    }
