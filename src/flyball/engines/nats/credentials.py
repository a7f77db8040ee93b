"""Logging in with a credentials file: a JWT, and a signature by the user's key."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flyball.core.errors import ConfigError

MAX_SIZE: Final = 1 << 20
"""Bytes of the longest file."""
_BLOCK: Final = re.compile(r"-{3,}[^\n]*-{3,}\s*\n(.*?)\n\s*-{3,}[^\n]*-{3,}", re.DOTALL)
_SEED_LENGTH: Final = 36
"""Bytes of a seed: two that tell what it is, 32 of the key, two of a checksum."""


class Credentials(NamedTuple):
    """What a credentials file holds."""

    jwt: str
    key: Ed25519PrivateKey

    def sign(self, nonce: str) -> str:
        """The server's nonce, signed."""
        return base64.urlsafe_b64encode(self.key.sign(nonce.encode())).rstrip(b"=").decode()


def read_credentials(path: str) -> Credentials:
    """Reads a file as ``nsc`` writes it. It is read again for each connection: it may change.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(MAX_SIZE)
    except (OSError, ValueError) as error:
        raise ConfigError(f"credentials file {path!r}: {error}") from None
    blocks = [block.strip() for block in _BLOCK.findall(text)]
    if len(blocks) < 2:
        raise _bad(path, "it needs two blocks between dashed lines, a JWT and a seed")
    return Credentials(blocks[0], _key(path, blocks[1]))


def _key(path: str, seed: str) -> Ed25519PrivateKey:
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except binascii.Error:
        raise _bad(path, "the seed is no base32") from None
    if len(raw) != _SEED_LENGTH or not seed.startswith("SU"):
        raise _bad(path, "the second block is no seed of a user (SU...)")
    return Ed25519PrivateKey.from_private_bytes(raw[2:34])


def _bad(path: str, reason: str) -> ConfigError:
    return ConfigError(f"credentials file {path!r}: {reason}; nsc generate creds makes such a file")
