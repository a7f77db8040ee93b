"""What ends a WebSocket connection for breaking the rules of RFC 6455 and RFC 7692."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class CloseCode(IntEnum):
    """Close codes of the WebSocket layer itself (the protocol's own begin at 3000)."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    """Stands for a close frame without a code; never on the wire."""
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009


class Violation(NamedTuple):
    """Why the peer's bytes cannot be read on: what the close frame will say."""

    code: CloseCode
    reason: str
