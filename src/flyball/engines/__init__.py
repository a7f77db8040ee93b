"""Where publications are kept and how they spread: one folder for each technology.

``flyball.engines.redis`` is imported when first asked for: it needs an extra.
"""

from importlib import import_module
from types import ModuleType

from flyball.core.engine import Engine
from flyball.core.memory import MemoryBroker, MemoryPresenceManager

__all__ = ["Engine", "MemoryBroker", "MemoryPresenceManager"]


def __getattr__(name: str) -> ModuleType:
    if name == "redis":
        return import_module("flyball.engines.redis")
    raise AttributeError(name)
