"""Where publications are kept and how they spread: one folder for each technology."""

from flyball.core.memory import MemoryBroker, MemoryPresenceManager

__all__ = ["MemoryBroker", "MemoryPresenceManager"]
