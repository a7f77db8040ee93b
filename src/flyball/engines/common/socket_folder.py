"""Folders for unix sockets: private, and short enough for what the system takes as an address."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from flyball.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_ADDRESS", "SocketFolder", "socket_folder"]

SocketFolder = tempfile.TemporaryDirectory
"""Removed, with all that is in it, by ``cleanup()`` or at the end of a ``with``."""
MAX_ADDRESS: Final = 107 if sys.platform == "linux" else 103
"""Bytes of a socket's path: ``sun_path`` has one more, for the zero behind it."""
_RANDOM: Final = 8
"""Characters that make the name of a temporary folder unique."""
SHORT_PLACES: Final = ("/tmp", "/var/tmp")  # noqa: S108 - folders in it are made with mode 700
"""Where temporary folders are, whatever ``TMPDIR`` says."""


def socket_folder(prefix: str, socket: str) -> SocketFolder[str]:
    """A new folder that only this user can enter.

    It is where temporary files are (``TMPDIR``), or in a shorter place if that is too long.

    Args:
        prefix: begins its name.
        socket: the longest name of a socket in it.

    Raises:
        ConfigError: there is no place that is short enough, and can be written to.
    """
    needed = len(f"/{prefix}/{socket}") + _RANDOM
    for place in _places():
        if len(os.fsencode(place)) + needed <= MAX_ADDRESS and os.access(place, os.W_OK | os.X_OK):
            return SocketFolder(prefix=prefix, dir=place)
    raise _too_long(tempfile.gettempdir(), needed)


def _places() -> Iterator[str]:
    yield tempfile.gettempdir()
    yield from filter(None, (os.environ.get("XDG_RUNTIME_DIR"),))
    yield from SHORT_PLACES


def _too_long(place: str, needed: int) -> ConfigError:
    length = len(os.fsencode(place))
    return ConfigError(
        f"the folder for temporary files, {place!r}, is too long for unix sockets: it has {length}"
        f" bytes, at most {MAX_ADDRESS - needed} are allowed; set TMPDIR to a shorter folder that"
        " this user may write to"
    )
