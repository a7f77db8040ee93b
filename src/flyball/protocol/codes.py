"""Codes of the client protocol: errors, disconnects, unsubscribes. Each table once.

Ranges: errors 100-399 belong to the protocol, 400-1999 to applications. Disconnects
3000-3499 and 4000-4499 let the client reconnect, 3500-3999 and 4500-4999 are final;
applications use 4000-4999. Unsubscribes below 2500 are final, the others make the client
subscribe again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """Why a command was refused; ``temporary`` ones are tried again by the client."""

    code: int
    message: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class DisconnectCode:
    """Why a connection was closed. ``reason`` is at most 123 bytes (close frame)."""

    code: int
    reason: str

    @property
    def reconnect(self) -> bool:
        """Whether a client comes back after this code."""
        return self.code < 3500 or 4000 <= self.code < 4500 or self.code >= 5000


@dataclass(frozen=True, slots=True)
class UnsubscribeCode:
    """Why a subscription ended."""

    code: int
    reason: str

    @property
    def resubscribe(self) -> bool:
        """Whether a client subscribes again after this code."""
        return self.code >= 2500


MIN_CLOSE_CODE: Final = 1000
MAX_CLOSE_CODE: Final = 4999


def is_close_code(code: int) -> bool:
    """Whether a connection can be closed with ``code``: all that a close frame may carry."""
    return MIN_CLOSE_CODE <= code <= MAX_CLOSE_CODE


INTERNAL: Final = ErrorCode(100, "internal server error", temporary=True)
UNAUTHORIZED: Final = ErrorCode(101, "unauthorized")
UNKNOWN_CHANNEL: Final = ErrorCode(102, "unknown channel")
PERMISSION_DENIED: Final = ErrorCode(103, "permission denied")
METHOD_NOT_FOUND: Final = ErrorCode(104, "method not found")
ALREADY_SUBSCRIBED: Final = ErrorCode(105, "already subscribed")
LIMIT_EXCEEDED: Final = ErrorCode(106, "limit exceeded")
BAD_REQUEST: Final = ErrorCode(107, "bad request")
NOT_AVAILABLE: Final = ErrorCode(108, "not available")
TOKEN_EXPIRED: Final = ErrorCode(109, "token expired")
EXPIRED: Final = ErrorCode(110, "expired")
TOO_MANY_REQUESTS: Final = ErrorCode(111, "too many requests", temporary=True)
UNRECOVERABLE_POSITION: Final = ErrorCode(112, "unrecoverable position")
CONCURRENT_PAGINATION: Final = ErrorCode(113, "concurrent pagination", temporary=True)

ERRORS: Final = {
    e.code: e
    for e in (
        INTERNAL,
        UNAUTHORIZED,
        UNKNOWN_CHANNEL,
        PERMISSION_DENIED,
        METHOD_NOT_FOUND,
        ALREADY_SUBSCRIBED,
        LIMIT_EXCEEDED,
        BAD_REQUEST,
        NOT_AVAILABLE,
        TOKEN_EXPIRED,
        EXPIRED,
        TOO_MANY_REQUESTS,
        UNRECOVERABLE_POSITION,
        CONCURRENT_PAGINATION,
    )
}
"""Error code to its entry."""

DISCONNECT_CONNECTION_CLOSED: Final = DisconnectCode(3000, "connection closed")
DISCONNECT_SHUTDOWN: Final = DisconnectCode(3001, "shutdown")
DISCONNECT_SERVER_ERROR: Final = DisconnectCode(3004, "internal server error")
DISCONNECT_EXPIRED: Final = DisconnectCode(3005, "connection expired")
DISCONNECT_SUB_EXPIRED: Final = DisconnectCode(3006, "subscription expired")
DISCONNECT_SLOW: Final = DisconnectCode(3008, "slow")
DISCONNECT_WRITE_ERROR: Final = DisconnectCode(3009, "write error")
DISCONNECT_INSUFFICIENT_STATE: Final = DisconnectCode(3010, "insufficient state")
DISCONNECT_FORCE_RECONNECT: Final = DisconnectCode(3011, "force reconnect")
DISCONNECT_NO_PONG: Final = DisconnectCode(3012, "no pong")
DISCONNECT_TOO_MANY_REQUESTS: Final = DisconnectCode(3013, "too many requests")
DISCONNECT_STATE_INVALIDATED: Final = DisconnectCode(3014, "state invalidated")
DISCONNECT_INVALID_TOKEN: Final = DisconnectCode(3500, "invalid token")
DISCONNECT_BAD_REQUEST: Final = DisconnectCode(3501, "bad request")
DISCONNECT_STALE: Final = DisconnectCode(3502, "stale")
DISCONNECT_FORCE_NO_RECONNECT: Final = DisconnectCode(3503, "force disconnect")
DISCONNECT_CONNECTION_LIMIT: Final = DisconnectCode(3504, "connection limit")
DISCONNECT_CHANNEL_LIMIT: Final = DisconnectCode(3505, "channel limit")
DISCONNECT_INAPPROPRIATE_PROTOCOL: Final = DisconnectCode(3506, "inappropriate protocol")
DISCONNECT_PERMISSION_DENIED: Final = DisconnectCode(3507, "permission denied")
DISCONNECT_NOT_AVAILABLE: Final = DisconnectCode(3508, "not available")
DISCONNECT_TOO_MANY_ERRORS: Final = DisconnectCode(3509, "too many errors")

DISCONNECTS: Final = {
    d.code: d
    for d in (
        DISCONNECT_CONNECTION_CLOSED,
        DISCONNECT_SHUTDOWN,
        DISCONNECT_SERVER_ERROR,
        DISCONNECT_EXPIRED,
        DISCONNECT_SUB_EXPIRED,
        DISCONNECT_SLOW,
        DISCONNECT_WRITE_ERROR,
        DISCONNECT_INSUFFICIENT_STATE,
        DISCONNECT_FORCE_RECONNECT,
        DISCONNECT_NO_PONG,
        DISCONNECT_TOO_MANY_REQUESTS,
        DISCONNECT_STATE_INVALIDATED,
        DISCONNECT_INVALID_TOKEN,
        DISCONNECT_BAD_REQUEST,
        DISCONNECT_STALE,
        DISCONNECT_FORCE_NO_RECONNECT,
        DISCONNECT_CONNECTION_LIMIT,
        DISCONNECT_CHANNEL_LIMIT,
        DISCONNECT_INAPPROPRIATE_PROTOCOL,
        DISCONNECT_PERMISSION_DENIED,
        DISCONNECT_NOT_AVAILABLE,
        DISCONNECT_TOO_MANY_ERRORS,
    )
}
"""Disconnect code to its entry."""

UNSUBSCRIBE_CLIENT: Final = UnsubscribeCode(0, "client unsubscribed")
UNSUBSCRIBE_DISCONNECT: Final = UnsubscribeCode(1, "client disconnected")
UNSUBSCRIBE_SERVER: Final = UnsubscribeCode(2000, "server unsubscribe")
UNSUBSCRIBE_INSUFFICIENT: Final = UnsubscribeCode(2500, "insufficient state")
UNSUBSCRIBE_EXPIRED: Final = UnsubscribeCode(2501, "subscription expired")
UNSUBSCRIBE_STATE_INVALIDATED: Final = UnsubscribeCode(2502, "state invalidated")

UNSUBSCRIBES: Final = {
    u.code: u
    for u in (
        UNSUBSCRIBE_CLIENT,
        UNSUBSCRIBE_DISCONNECT,
        UNSUBSCRIBE_SERVER,
        UNSUBSCRIBE_INSUFFICIENT,
        UNSUBSCRIBE_EXPIRED,
        UNSUBSCRIBE_STATE_INVALIDATED,
    )
}
"""Unsubscribe code to its entry."""
