"""Where publications are kept and how they spread: one folder for each technology.

``flyball.engines.redis``, ``.nats``, ``.postgres`` and ``.tarantool`` are imported when first asked
for.
"""

from importlib import import_module
from types import ModuleType

from flyball.core.engine import Engine
from flyball.core.memory import MemoryBroker, MemoryPresenceManager

__all__ = ["Engine", "MemoryBroker", "MemoryPresenceManager"]


def __getattr__(name: str) -> ModuleType:
    if name in ("nats", "postgres", "redis", "tarantool"):
        return import_module(f"flyball.engines.{name}")
    raise AttributeError(name)
