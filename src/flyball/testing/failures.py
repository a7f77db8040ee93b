"""Handlers that failed, for the test to show: the client learns of them by a code only."""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["FAILURES", "HandlerFailures"]

MAX_KEPT: Final = 100
"""Clients whose last failure is remembered."""


class HandlerFailures(logging.Handler):
    """What the node tells the log of handlers that failed, by client id.

    :class:`~flyball.testing.TestClient` raises its errors *from* them, so pytest shows the
    handler's traceback.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._last: dict[str, BaseException] = {}

    def watch(self) -> None:
        """Listens to the node from now on; harmless to call again."""
        logging.getLogger("flyball.core").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Remembers a failure that names its client."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None or not isinstance(record.args, tuple) or not record.args:
            return
        if len(self._last) >= MAX_KEPT:
            self._last.clear()
        self._last[str(record.args[-1])] = error

    def take(self, client_id: str) -> BaseException | None:
        """Why the last command of this client failed, if its handler did; forgets it."""
        return self._last.pop(client_id, None)


FAILURES: Final = HandlerFailures()
"""Those of all nodes of this process."""
