"""Handlers that bear a full disk: said once, counted, and over when there is room again."""

from __future__ import annotations

import logging
import sys
from logging.handlers import WatchedFileHandler

__all__ = ["FileHandler", "StreamHandler", "lost_records"]


class _Losses:
    """Records of this process that could not be written."""

    count = 0


def lost_records() -> int:
    """How many records of this process could not be written."""
    return _Losses.count


class _Bearing(logging.Handler):
    """What both have in common. A failure never gets to the code that logs."""

    _lost = 0
    """Records since the first that could not be written, 0 if the last one could."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes ``record``, or counts it as lost."""
        lost = self._lost
        try:
            super().emit(record)
        except OSError:  # a file that cannot be opened again
            self.handleError(record)
        if lost and self._lost == lost:
            self._lost = 0
            super().emit(_told(f"{lost} log records could not be written"))

    def format(self, record: logging.LogRecord) -> str:
        """The line; half a surrogate pair, which is no UTF-8, as JSON escapes it."""
        try:
            text = super().format(record)
        except Exception as error:  # noqa: BLE001 - whatever a value raises that is to be shown
            text = super().format(_unreadable(record, error))
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Says once on the terminal's error stream why records are lost."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._lost += 1
        _Losses.count += 1
        if self._lost == 1:
            self._say(f"log records cannot be written and are lost: {error.strerror or error}\n")

    def _say(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            return  # the same place, or as full: the count is in the metrics


def _unreadable(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    """The record without its values: showing one of them failed."""
    said = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    text = f"{said} (its values cannot be shown: {type(error).__name__})"
    place = (record.name, record.levelno, record.pathname, record.lineno)
    return logging.LogRecord(*place, text, None, None)


def _told(text: str) -> logging.LogRecord:
    return logging.LogRecord("flyball.logs", logging.ERROR, __file__, 0, text, None, None)


class FileHandler(_Bearing, WatchedFileHandler):
    """Writes to a file that may be moved away by a log rotation."""


class StreamHandler(_Bearing, logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the terminal, or whatever stands in its place."""
