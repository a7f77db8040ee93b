"""Logging of the server: structlog over the standard library's loggers."""

from flyball.server.logs.handlers import lost_records
from flyball.server.logs.redact import REDACTED, Redactor, redact_text
from flyball.server.logs.setup import LogOptions, configure_logging

__all__ = [
    "REDACTED",
    "LogOptions",
    "Redactor",
    "configure_logging",
    "lost_records",
    "redact_text",
]
