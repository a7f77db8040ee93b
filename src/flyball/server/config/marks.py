"""What the options of a configuration are marked as: secret, insecure, taken over by a reload."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from operator import attrgetter

from flyball.server.config.schema import Config
from flyball.server.config.table import SectionClass, Shape, fields_of, rows

__all__ = ["insecure_switches", "secret_options", "waiting_for_restart"]


@cache
def secret_options() -> frozenset[str]:
    """Returns the options whose values are never shown; ``[]`` stands for the items of a list."""
    return frozenset(row.path for row in rows() if row.field.meta.secret)


def insecure_switches(config: Config) -> list[str]:
    """Returns the options that are on and take protection away."""
    marked = (row.path for row in rows() if row.field.meta.insecure)
    found = [path for path in marked if attrgetter(path)(config)]
    if "*" in config.client.allowed_origins:
        found.append("client.allowed_origins")  # any page may connect, with its visitor's cookies
    return found


def waiting_for_restart(running: Config, wanted: Config) -> list[str]:
    """Returns the options that differ and that a reload leaves as they are."""
    reloaded = {row.path for row in rows() if row.reload}
    return [path for path in _differences(running, wanted) if path not in reloaded]


def _differences(old: object, new: object, prefix: str = "") -> Iterator[str]:
    cls: SectionClass = type(old)
    for item in fields_of(cls):
        before, after = getattr(old, item.name), getattr(new, item.name)
        if item.shape is Shape.SECTION:
            yield from _differences(before, after, f"{prefix}{item.name}.")
        elif before != after:
            yield f"{prefix}{item.name}"
