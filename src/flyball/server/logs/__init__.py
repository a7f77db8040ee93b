"""Logging of the server: structlog over the standard library's loggers."""

from flyball.server.logs.redact import REDACTED, redact, redact_text
from flyball.server.logs.setup import LEVELS, TRACE, LogOptions, configure_logging

__all__ = [
    "LEVELS",
    "REDACTED",
    "TRACE",
    "LogOptions",
    "configure_logging",
    "redact",
    "redact_text",
]
