"""What a question can carry beside its body: headers over HTTP, metadata over GRPC."""

from __future__ import annotations

import re
from typing import Final

from flyball.http.head import is_token

IN_NO_HEADER: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
"""What no value of a header may hold (RFC 9110, section 5.5)."""
IN_NO_METADATA: Final = re.compile(r"[^\x20-\x7e]")
"""What no value of metadata may hold that is not binary."""
BINARY: Final = "-bin"
"""How metadata keys of binary values end."""
_KEY: Final = re.compile(r"[0-9a-z_.-]+")


def is_metadata_key(key: str) -> bool:
    """Whether a key (lower case) can be one."""
    return _KEY.fullmatch(key) is not None


def header_fault(name: str, value: str) -> str:
    """Why no request can carry a header, without its value; empty if one can."""
    if not is_token(name):
        return "it is no name of a header"
    return "its value has characters that no header may have" if IN_NO_HEADER.search(value) else ""


def metadata_fault(key: str, value: str) -> str:
    """Why no call can carry metadata, without its value; empty if one can."""
    key = key.lower()
    if not is_metadata_key(key):
        return "a key of metadata has letters, digits and - _ . only"
    if key.endswith(BINARY) or not IN_NO_METADATA.search(value):
        return ""
    return "its value may be printable ASCII only (any text, if the key ends in -bin)"
