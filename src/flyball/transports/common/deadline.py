"""One deadline at a time for a connection, on the node's timer wheel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flyball.core.node import Node

NEVER: Final = inf


class Deadlines(ABC):
    """A connection with a deadline, and with an eye on a wire that takes nothing.

    Subclasses name ``_deadline``, ``_stuck_bytes`` and ``timer_tick`` among their slots (two base
    classes with slots cannot be joined), and set them to ``NEVER``, 0 and 0.
    """

    __slots__ = ()

    _deadline: float
    """When :meth:`_on_deadline` is called, in seconds of the node's clock."""
    _stuck_bytes: int
    """Unsent bytes when progress was last looked for."""
    timer_tick: int
    """The wheel's own."""

    @property
    @abstractmethod
    def _clock_node(self) -> Node:
        """The node on whose wheel it is."""

    @abstractmethod
    def _unsent_bytes(self) -> int:
        """What the peer has not taken."""

    @abstractmethod
    def _on_deadline(self) -> None:
        """The deadline has passed."""

    def _arm(self, timeout: float) -> None:
        """Sets the deadline, ``timeout`` seconds from now, in place of an earlier one."""
        node = self._clock_node
        self._deadline = node.clock.monotonic() + timeout  # type: ignore[misc]  # a slot of the subclass
        node.timers.arm(self, self._deadline)

    def _disarm(self) -> None:
        self._deadline = NEVER  # type: ignore[misc]  # a slot of the subclass
        if self.timer_tick:
            self._clock_node.timers.cancel(self)

    def _expect_progress(self, timeout: float) -> None:
        """The wire is full: some of it must be taken within ``timeout`` seconds."""
        self._stuck_bytes = self._unsent_bytes()  # type: ignore[misc]  # a slot of the subclass
        self._arm(timeout)

    def _progresses(self, timeout: float) -> bool:
        """Whether anything was taken; then it has another ``timeout`` seconds.

        Slow is allowed: it is the queue's limit that looks after that.
        """
        if self._unsent_bytes() >= self._stuck_bytes:
            return False
        self._expect_progress(timeout)
        return True

    def on_timer(self, now: float) -> None:
        """Called by the timer wheel."""
        if now >= self._deadline:
            self._deadline = NEVER  # type: ignore[misc]  # a slot of the subclass
            self._on_deadline()
