"""How much is logged."""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["LEVELS", "TRACE"]

TRACE: Final = 5
"""Below debug: also what the libraries underneath have to say."""
_NONE: Final = logging.CRITICAL + 10
"""Above every level."""

LEVELS: Final = {
    "none": _NONE,
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
"""Values of ``log.level``, and the levels of records that are let through from."""
