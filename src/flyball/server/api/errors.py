"""Errors of the server API: one table for HTTP, the legacy route and gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flyball.core.errors import FlyballError


@dataclass(frozen=True, slots=True)
class ApiErrorCode:
    """Why a request was refused, and how each transport says so in transport error mode."""

    code: int
    message: str
    http_status: int
    grpc_code: str
    """Name of the gRPC status code."""


INTERNAL: Final = ApiErrorCode(100, "internal server error", 500, "INTERNAL")
UNKNOWN_CHANNEL: Final = ApiErrorCode(102, "unknown channel", 404, "NOT_FOUND")
NOT_FOUND: Final = ApiErrorCode(104, "not found", 404, "NOT_FOUND")
BAD_REQUEST: Final = ApiErrorCode(107, "bad request", 400, "INVALID_ARGUMENT")
NOT_AVAILABLE: Final = ApiErrorCode(108, "not available", 400, "INVALID_ARGUMENT")
UNRECOVERABLE_POSITION: Final = ApiErrorCode(112, "unrecoverable position", 416, "OUT_OF_RANGE")
CONFLICT: Final = ApiErrorCode(113, "conflict", 409, "ALREADY_EXISTS")

API_ERRORS: Final = {
    e.code: e
    for e in (
        INTERNAL,
        UNKNOWN_CHANNEL,
        NOT_FOUND,
        BAD_REQUEST,
        NOT_AVAILABLE,
        UNRECOVERABLE_POSITION,
        CONFLICT,
    )
}
"""Error code to its entry."""


class ApiError(FlyballError):
    """Refuses an API request. The caller gets code and message, the log ``detail`` as well."""

    def __init__(self, entry: ApiErrorCode, detail: str = "") -> None:
        self.entry = entry
        self.detail = detail
        super().__init__(entry.code, entry.message)

    def __str__(self) -> str:
        text = f"{self.entry.code} {self.entry.message}"
        return f"{text}: {self.detail}" if self.detail else text
