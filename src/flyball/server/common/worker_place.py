"""What a process knows that is one of several workers under a supervisor."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "FLYBALL_WORKER"
"""Environment variable in which a supervisor tells a worker its place."""


class WorkerPlace(msgspec.Struct, frozen=True):
    """One worker among those that share the ports."""

    number: int
    """From 1 to ``count``."""
    count: int
    """Workers in all."""
    folder: str
    """Only this user can enter it. The sockets are there by which workers ask each other."""
    key: bytes = b""
    """The same for all workers; nobody else knows it."""
    udp: int = -1
    """File descriptor of this worker's UDP socket for HTTP/3; -1: there is none."""

    def socket_of(self, number: int) -> Path:
        """Where a worker listens for the others."""
        return Path(self.folder) / f"{number}.sock"

    @property
    def socket(self) -> Path:
        """Where this worker listens for the others."""
        return self.socket_of(self.number)

    @property
    def others(self) -> list[int]:
        """Numbers of the other workers."""
        return [n for n in range(1, self.count + 1) if n != self.number]

    def keeper_of(self, name: str) -> int:
        """The worker that keeps what clients give a ``name``: all come to the same one.

        Nobody can choose names that come to one worker, as the key is secret.
        """
        digest = blake2b(name.encode("utf-8", "replace"), digest_size=8, key=self.key).digest()
        return int.from_bytes(digest, "big") % self.count + 1

    def to_environ(self) -> dict[str, str]:
        """The place as the environment of its process tells it."""
        return {VARIABLE: msgspec.json.encode(self).decode()}


def worker_place(environ: Mapping[str, str]) -> WorkerPlace | None:
    """The place of this process; None: it is not under a supervisor."""
    text = environ.get(VARIABLE, "")
    return msgspec.json.decode(text, type=WorkerPlace) if text else None
