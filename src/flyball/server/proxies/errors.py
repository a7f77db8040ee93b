"""Why a question got no answer."""

from __future__ import annotations

__all__ = ["BackendError"]


class BackendError(Exception):
    """The backend gave no answer, or none that can be read. The message says why."""

    logged = True
    """The log hears of it from whoever asked, once for an outage."""
