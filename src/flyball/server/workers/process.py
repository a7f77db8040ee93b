"""One worker as its supervisor sees it."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger: Final = structlog.get_logger("flyball.server")

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
"""Seconds until what has ended is started again; doubled while it ends at once."""
SETTLED: Final = 5.0
"""Seconds after which something counts as well started."""


class Restarts:
    """When something that ends is started again: at once, but ever later while it ends at once."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started_at = 0.0
        self._delay = FIRST_DELAY
        self._start_at = 0.0
        self.in_a_row: int = 0
        """How often it has ended at once."""

    def started(self) -> None:
        """It was started."""
        self._started_at = self._now()

    def settled(self) -> bool:
        """It has run for some time since its start: an end counts as the first one again."""
        if self._now() - self._started_at <= SETTLED:
            return False
        self._delay, self.in_a_row = FIRST_DELAY, 0
        return True

    def ended(self) -> float:
        """It has ended; the seconds until it is to be started again."""
        self.settled()
        delay = self._delay
        self._start_at = self._now() + delay
        self._delay = min(delay * 2, LONGEST_DELAY)
        self.in_a_row += 1
        return delay

    @property
    def is_due(self) -> bool:
        """The time has come."""
        return self._now() >= self._start_at


class Worker:
    """One process, started again whenever it ends.

    Args:
        number: its number, for the log.
        command: what is run.
        environ: its environment.
        files: descriptors that it inherits.
    """

    def __init__(
        self, number: int, command: list[str], environ: dict[str, str], files: Sequence[int] = ()
    ) -> None:
        self.number: int = number
        self._command = command
        self._environ = environ
        self._files = tuple(files)
        self.process: subprocess.Popen[bytes] | None = None
        self._restarts = Restarts()
        self._ran_well = False  # once

    def start(self) -> None:
        """Starts it."""
        self._restarts.started()
        # Its own session: signals of a terminal come by the supervisor, in its order.
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            self._command,
            env=self._environ,
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=self._files,
        )

    def look(self) -> int | None:
        """Starts it again if it has ended; the exit code if it never ran well."""
        if self.process is None:
            if self._restarts.is_due:
                self.start()
            return None
        code = self.process.poll()
        if code is None:
            self._ran_well = self._restarts.settled() or self._ran_well
            return None
        if not self._ran_well and code == 1:
            return code  # it says why
        self._ended(self.process.pid, code)
        return None

    def _ended(self, pid: int, code: int) -> None:
        self._close()
        delay = self._restarts.ended()
        logger.error(
            "a worker has ended and is started again",
            worker=self.number,
            pid=pid,
            code=code,
            restart_in=delay,
            in_a_row=self._restarts.in_a_row,
        )

    def send(self, number: int) -> None:
        """Passes a signal on."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    @property
    def ended(self) -> bool:
        """It does not run."""
        return self.process is None or self.process.poll() is not None

    def _close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None

    def end(self) -> int:
        """Kills it if it still runs; its exit code."""
        if self.process is None:
            return 0
        self.process.kill()
        code = self.process.wait()
        self._close()
        return code
