"""What the states of the state machines have in common."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import ClassVar


class State(Enum):
    """A state of a machine: looked up in tables of transitions at each step of a connection.

    Members are the same only if they are identical, so their identity is hash enough; the
    hash that ``Enum`` brings is a Python function, 0.1 us a lookup.
    """

    __hash__: ClassVar[Callable[[object], int]] = object.__hash__
