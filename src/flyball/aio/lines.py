"""How many lines may be written about something that strangers can repeat at will."""

from __future__ import annotations

import logging
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.timers import TimerWheel

__all__ = ["LineLimit", "RepeatedLines"]

INTERVAL: Final = 1.0
"""Seconds in which one line of a kind is written."""
_OURS: Final = ("flyball.", "asyncio.")
"""Modules that have called the function that failed."""
MAX_KINDS: Final = 256
"""Kinds of lines that are kept apart at a time."""


class LineLimit:
    """At most so many lines in so many seconds; what is left out is counted, never forgotten.

    Args:
        lines: how many.
        seconds: in how long.
    """

    __slots__ = ("_left_out", "_lines", "_seconds", "_since", "_written")

    def __init__(self, lines: int, seconds: float) -> None:
        self._lines = lines
        self._seconds = seconds
        self._since = float("-inf")
        self._written = 0
        self._left_out = 0

    def allows(self, now: float) -> bool:
        """Whether another line may be written at ``now`` (monotonic seconds); counts it if not."""
        if now - self._since >= self._seconds:
            self._since, self._written = now, 0
        if self._written < self._lines:
            self._written += 1
            return True
        self._left_out += 1
        return False

    def take_left_out(self) -> int:
        """How many lines were left out since this was last asked."""
        left_out, self._left_out = self._left_out, 0
        return left_out


class _Kind:
    """The last line of a kind, and how many were left out after it."""

    __slots__ = ("left_out", "level", "logger", "since")

    def __init__(self, logger: logging.Logger, level: int, since: float) -> None:
        self.logger = logger
        self.level = level
        self.since = since
        self.left_out = 0


class RepeatedLines:
    """Lines that come again and again: one of a kind in a second is written, the others are counted.

    The count stands in the next line of the kind, or in a line of its own when no more come: for
    that one entry of the wheel is enough, however many clients there are.

    Args:
        timers: for the lines that tell what was left out; its clock measures the seconds.
    """

    __slots__ = ("_kinds", "_timers", "on_failure", "timer_tick")

    def __init__(self, timers: TimerWheel) -> None:
        self._timers = timers
        self.on_failure: Callable[[BaseException, tuple[object, ...]], None] | None = None
        """Told of every failure and what its line has in it, also where no line is written."""
        self._kinds: dict[str, _Kind] = {}
        self.timer_tick: int = 0

    def log(
        self,
        logger: logging.Logger,
        level: int,
        kind: str,
        message: str,
        *args: object,
        error: BaseException | None = None,
    ) -> None:
        """Writes ``message % args`` unless there was a line of this kind just now.

        Args:
            logger: whose line it is.
            level: its level; nothing is counted while that is off.
            kind: what is told of the lines that are left out.
            message: the line, for ``args``.
            args: what stands in it.
            error: is shown with its traceback.
        """
        if not logger.isEnabledFor(level):
            return
        now = self._timers.clock.monotonic()
        known = self._kinds.get(kind)
        if known is None:
            self._add(kind, _Kind(logger, level, now))
        elif now - known.since < INTERVAL:
            known.left_out += 1
            if not self.timer_tick:
                self._timers.arm(self, known.since + 2 * INTERVAL)
            return
        elif known.left_out:
            message, args = f"(%d more left out) {message}", (known.left_out, *args)
            known.left_out = 0
        if known is not None:
            known.since = now
        logger.log(level, message, *args, exc_info=error)

    def log_failure(
        self, logger: logging.Logger, what: str, error: BaseException, message: str, *args: object
    ) -> None:
        """The same for an exception that nobody expected, with its traceback.

        Failures are of a kind if ``what`` failed with the same exception in the same function of
        the program, or in the same line of our own.
        """
        if self.on_failure is not None:
            self.on_failure(error, args)
        kind = f"{what} failed: {type(error).__name__} in {_place(error)}"
        self.log(logger, logging.ERROR, kind, message, *args, error=error)

    def on_timer(self, now: float) -> None:
        """Called by the wheel: tells of kinds that have become quiet."""
        due = [kind.since + 2 * INTERVAL for kind in self._kinds.values() if kind.left_out]
        if due and min(due) <= now:
            self._tell(now)
            due = [when for when in due if when > now]
        if due:
            self._timers.arm(self, min(due))

    def close(self) -> None:
        """Tells of all that was left out: no more lines are wanted."""
        self._timers.cancel(self)
        self._tell(float("inf"))
        self._kinds.clear()

    def _add(self, name: str, kind: _Kind) -> None:
        if len(self._kinds) >= MAX_KINDS:
            self.close()
        self._kinds[name] = kind

    def _tell(self, now: float) -> None:
        for name, kind in self._kinds.items():
            if kind.left_out and kind.since + 2 * INTERVAL <= now:
                left_out, kind.left_out = kind.left_out, 0
                kind.logger.log(kind.level, "%d more left out: %s", left_out, name)


def _place(error: BaseException) -> str:
    """Where ``error`` comes from: a function of the program, or a line of our own."""
    place: str = getattr(error, "place", "")
    trace = error.__traceback__
    while trace is not None and not place:
        code, module = trace.tb_frame.f_code, str(trace.tb_frame.f_globals.get("__name__"))
        name = PurePath(code.co_filename).name
        if not module.startswith(_OURS):
            place = f"{code.co_qualname} ({name})"
        elif trace.tb_next is None:
            place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place or "an unknown place"
