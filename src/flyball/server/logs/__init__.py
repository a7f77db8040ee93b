"""Logging of the server: structlog over the standard library's loggers."""

from .redact import REDACTED, redact, redact_text
from .setup import LEVELS, TRACE, LogOptions, configure_logging

__all__ = [
    "LEVELS",
    "REDACTED",
    "TRACE",
    "LogOptions",
    "configure_logging",
    "redact",
    "redact_text",
]
