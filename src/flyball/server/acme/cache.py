"""Where certificates, keys and pending challenges are kept.

Names and contents of the files are those of Go's ``autocert.DirCache``: a directory of the
original can be taken over, and be shared with it.

    example.org          private key (EC), then the certificate chain, PEM
    example.org+rsa      the same with an RSA key; read, never written
    acme_account+key     private key of the account, PEM
    example.org+token    key and certificate that answer a tls-alpn-01 challenge
    TOKEN+http-01        text that answers a http-01 challenge
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT_KEY: Final = "acme_account+key"
RSA_SUFFIX: Final = "+rsa"
TOKEN_SUFFIX: Final = "+token"  # noqa: S105 - the name of a file
HTTP_SUFFIX: Final = "+http-01"

_LOCK_FILE: Final = ".lock"


class Cache(Protocol):
    """Bytes by name. Methods may block and may be called from any thread."""

    def get(self, name: str) -> bytes | None:
        """What was put under ``name``; raises ``OSError`` if it cannot be read."""

    def put(self, name: str, data: bytes) -> None:
        """Keeps ``data``; raises ``OSError`` if it cannot."""

    def delete(self, name: str) -> None:
        """Forgets ``name``; harmless if there is none."""

    @contextmanager
    def exclusively(self) -> Iterator[bool]:
        """Yields whether this is the only process within such a block; does not wait."""


class FolderCache:
    """Files in a directory that only this user can read.

    Several processes, on several machines if the directory is a shared one, may use it at once.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises ``OSError`` if the directory cannot be made or used."""
        self._folder = Path(folder)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "the directory cannot be read and written")

    def get(self, name: str) -> bytes | None:
        """See :meth:`Cache.get`."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        """See :meth:`Cache.put`. A reader sees the old or the new content, never a part."""
        # mkstemp makes files of mode 0600.
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(self._folder / name)
        except BaseException:
            with suppress(OSError):
                Path(draft).unlink()
            raise

    def delete(self, name: str) -> None:
        """See :meth:`Cache.delete`."""
        with suppress(OSError):
            (self._folder / name).unlink()

    @contextmanager
    def exclusively(self) -> Iterator[bool]:
        """See :meth:`Cache.exclusively`."""
        if sys.platform == "win32":
            yield True
            return
        import fcntl

        handle = os.open(self._folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_ours = True
            except BlockingIOError:
                is_ours = False
            except OSError:  # a file system without locks
                is_ours = True
            yield is_ours
        finally:
            os.close(handle)


class MemoryCache:
    """For one run of one process."""

    def __init__(self) -> None:
        self._items: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        """See :meth:`Cache.get`."""
        return self._items.get(name)

    def put(self, name: str, data: bytes) -> None:
        """See :meth:`Cache.put`."""
        self._items[name] = data

    def delete(self, name: str) -> None:
        """See :meth:`Cache.delete`."""
        self._items.pop(name, None)

    @contextmanager
    def exclusively(self) -> Iterator[bool]:
        """See :meth:`Cache.exclusively`."""
        is_ours = self._lock.acquire(blocking=False)
        try:
            yield is_ours
        finally:
            if is_ours:
                self._lock.release()
