"""How a node is, in the words that operators and other workers are told."""

from __future__ import annotations

import msgspec

__all__ = ["Health"]


class Health(msgspec.Struct, omit_defaults=True):
    """What does not work now; empty if all is well."""

    problems: list[str] = []
    """What keeps clients from being served as promised: the engine is away, a worker is silent."""
    degraded: list[str] = []
    """What does not work beside that, such as consumers.

    It is no reason to send clients elsewhere: that would end connections that work, and other nodes
    read the same source.
    """

    @property
    def everything(self) -> list[str]:
        """Whatever does not work."""
        return [*self.problems, *self.degraded]
