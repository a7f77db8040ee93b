"""All that uses names of h2 which are not its public ones, in one place.

The library is bounded in pyproject.toml to the versions that have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from h2.connection import H2Connection

_FRAME_HEAD: Final = 9
"""Bytes (RFC 9113, section 4.1)."""


def has_oversized_frame(connection: H2Connection) -> bool:
    """Whether the client began a frame that is too long: the library would wait for all of it."""
    kept = len(connection.incoming_buffer._data)
    return kept > connection.max_inbound_frame_size + _FRAME_HEAD
