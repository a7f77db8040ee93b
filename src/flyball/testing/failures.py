"""Handlers that failed, for the test to show: the client learns of them by a code only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flyball.core.node import Node

__all__ = ["FAILURES", "HandlerFailures"]

MAX_KEPT: Final = 100
"""Clients whose last failure is remembered."""


class HandlerFailures:
    """What nodes are told of handlers that failed, by client id.

    :class:`~flyball.testing.TestClient` raises its errors *from* them, so pytest shows the
    handler's traceback.
    """

    def __init__(self) -> None:
        self._last: dict[str, BaseException] = {}

    def watch(self, node: Node) -> None:
        """Listens to this run of a node from now on; harmless to call again."""
        node.failures.on_failure = self.note

    def note(self, error: BaseException, args: tuple[object, ...]) -> None:
        """Remembers a failure whose line names its client at the end."""
        if not args:
            return
        if len(self._last) >= MAX_KEPT:
            self._last.clear()
        self._last[str(args[-1])] = error

    def take(self, client_id: str) -> BaseException | None:
        """Why the last command of this client failed, if its handler did; forgets it."""
        return self._last.pop(client_id, None)


FAILURES: Final = HandlerFailures()
"""Those of all nodes of this process."""
