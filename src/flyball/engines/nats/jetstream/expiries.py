"""When the publications of channels expire, the next one first."""

from __future__ import annotations

from heapq import heappop, heappush


class Expiries:
    """Times by channel; a later one counts in place of an earlier one."""

    def __init__(self) -> None:
        self._ends: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        """The same, by time; one for each channel."""

    def __len__(self) -> int:
        return len(self._ends)

    def set(self, name: str, ends: int) -> None:
        """Publications of a channel expire then, in Unix milliseconds."""
        if name not in self._ends:
            heappush(self._heap, (ends, name))
        self._ends[name] = ends

    def postpone(self, name: str, until: int) -> None:
        """A channel that was taken comes again then, unless it was set to a time meanwhile."""
        if name not in self._ends:
            self.set(name, until)

    def take(self, now: int) -> str | None:
        """A channel whose time is over, which is forgotten here; None if there is none."""
        while self._heap and self._heap[0][0] <= now:
            _, name = heappop(self._heap)
            ends = self._ends[name]
            if ends <= now:
                del self._ends[name]
                return name
            heappush(self._heap, (ends, name))
        return None

    def clear(self) -> None:
        """Forgets all."""
        self._ends.clear()
        self._heap.clear()
