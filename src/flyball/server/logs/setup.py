"""Where log records go, in which form, from which level on."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog

from flyball.core.errors import ConfigError
from flyball.server.common.levels import LEVELS, TRACE
from flyball.server.logs.handlers import FileHandler, StreamHandler
from flyball.server.logs.redact import Redactor
from flyball.server.logs.shorten import shorten

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

_NAMES: Final = {
    "warning": "warn",
    "critical": "fatal",
    "exception": "error",
}
"""Names of levels in records, where they are not the standard library's."""

_CHATTY: Final = (
    *("acme", "asyncio", "aiohttp", "urllib3", "uvicorn", "httpx", "hiredis", "aiokafka"),
    *("grpc", "nats"),
)
"""Libraries that are heard from ``info`` on, unless the level is trace."""
_TALKATIVE: Final = ("quic", "asynctnt", "azure")
"""Libraries with a line at ``info`` for each connection: from ``warn`` on, unless it is trace."""
_INDISCREET: Final = ("hpack", "aiobotocore", "botocore", "google", "msal")
"""Loggers that show header fields or answers, and so keys and tokens, in debug messages: never let
to."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What ``log.*`` says."""

    level: str = "info"
    """One of :data:`LEVELS`; another word means info (the configuration's loader warns)."""
    file: str = ""
    """Path to log to instead of the terminal; may be moved away by a log rotation."""
    secret_options: frozenset[str] = frozenset()
    """Options whose values are never shown; ``[]`` stands for the items of lists."""


def configure_logging(
    options: LogOptions = LogOptions(),
    *,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> None:
    """Sends all logging of this process to its place; call again to change it.

    JSON lines go to ``stderr`` when ``stdout`` is no terminal, coloured text to ``stdout``
    otherwise, JSON lines to ``options.file`` when set.

    Raises:
        ConfigError: the log file cannot be opened.
    """
    handler, text = _handler(options, stdout or sys.stdout, stderr or sys.stderr)
    colours = text and "NO_COLOR" not in os.environ
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _rename_level,
        structlog.processors.format_exc_info,
        Redactor(options.secret_options),
        shorten,
    ]
    final: list[Processor] = (
        [_stamp, structlog.dev.ConsoleRenderer(colors=colours, level_styles=_styles(colours))]
        if text
        else [_stamp, _json_line]
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    structlog.configure(
        processors=[
            # Two dictionary look-ups end the call when the level is off.
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    _install(handler, options.level)


def _install(handler: logging.Handler, level: str) -> None:
    logging.addLevelName(TRACE, "TRACE")
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    number = LEVELS.get(level.lower())
    root.setLevel(logging.INFO if number is None else number)
    quiet = logging.NOTSET if number == TRACE else max(root.level, logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(quiet)
    for name in _TALKATIVE:
        talk = logging.NOTSET if number == TRACE else max(root.level, logging.WARNING)
        logging.getLogger(name).setLevel(talk)
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(max(root.level, logging.INFO))


def _handler(options: LogOptions, stdout: TextIO, stderr: TextIO) -> tuple[logging.Handler, bool]:
    """The handler, and whether it writes text for people."""
    if options.file:
        try:
            return FileHandler(options.file, encoding="utf-8"), False
        except OSError as error:
            message = f"log.file: cannot open {options.file!r} for writing: {error.strerror}"
            raise ConfigError(message) from error
    if stdout.isatty():
        return StreamHandler(stdout), True
    return StreamHandler(stderr), False


def _rename_level(_logger: object, _method: str, event: EventDict) -> EventDict:
    level = event["level"]
    event["level"] = _NAMES.get(level, level)
    return event


def _stamp(_logger: object, _method: str, event: EventDict) -> EventDict:
    now = dt.datetime.now(dt.UTC)
    event["time"] = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _json_line(_logger: object, _method: str, event: EventDict) -> str:
    """One JSON object: level, time, message, then what else was given, in its order."""
    event.pop("_record", None)
    line: dict[str, Any] = {
        "level": event.pop("level"),
        "time": event.pop("time"),
        "message": event.pop("event", ""),
        **event,
    }
    return json.dumps(line, default=str, ensure_ascii=False, separators=(",", ":"))


def _styles(colours: bool) -> dict[str, str] | None:
    if not colours:
        return None
    styles = structlog.dev.ConsoleRenderer.get_default_level_styles(colors=True)
    return {
        **styles,
        "warn": styles["warning"],
        "fatal": styles["critical"],
        "trace": styles["debug"],
    }
