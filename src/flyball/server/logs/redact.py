"""Keeps tokens, keys and passwords out of the log, whoever logs them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from flyball.server.logs.shorten import text_of

if TYPE_CHECKING:
    from structlog.typing import EventDict

REDACTED: Final = "[redacted]"

_SECRET_NAME: Final = re.compile(
    r"""(?:^|[._-])(?:
        token | jwt | secret | password | passwd | passphrase | authorization | cookie
      | credentials | api_?key | x-api-key | key_pem
      | (?:secret|private|signing|hmac|encryption)_key
    )$ | (?:^|[._-])(?:secret|hmac_\w+|private_key\w*)$""",
    re.IGNORECASE | re.VERBOSE,
)
"""Names of fields whose value is never shown. A plain ``key`` is the name of an option, and is."""

_ITEM: Final = re.compile(r"\[\d+\]")

_JWT: Final = re.compile(r"\beyJ[\w-]{5,}\.[\w-]*\.[\w-]*")
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s/@:]*):([^\s/@]+)@")
_ASSIGNED: Final = re.compile(
    r"(?i)\b(api_key|token|secret|password|access_token)=[^\s&\"']+|\bapikey\s+\S+|\bbearer\s+\S+"
)
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)

MAX_DEPTH: Final = 6
"""Levels of nesting that are looked into; below, values are replaced as a whole."""


class Redactor:
    """A structlog processor: events without secrets.

    Args:
        secret_options: options whose values are secret; ``[]`` stands for the items of lists.
    """

    def __init__(self, secret_options: frozenset[str] = frozenset()) -> None:
        self._secret_options = secret_options

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        """Returns ``event`` without secrets."""
        # An error about an option names it in `key` and shows its `value`.
        named = event.get("key")
        hide_value = isinstance(named, str) and _ITEM.sub("[]", named) in self._secret_options
        for name, value in event.items():
            if is_secret_name(name) or (hide_value and name == "value"):
                event[name] = REDACTED if value else value
            else:
                event[name] = _clean(value, MAX_DEPTH)
        return event


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def redact_text(text: str) -> str:
    """``text`` without JWTs, private keys, passwords in URLs and ``token=…`` pairs."""
    if "eyJ" in text:
        text = _JWT.sub(REDACTED, text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{REDACTED}@", text)
    if "PRIVATE KEY" in text:
        text = _PEM.sub(REDACTED, text)
    return _ASSIGNED.sub(_hide_assigned, text)


def _hide_assigned(match: re.Match[str]) -> str:
    name = match.group(1)
    if name:
        return f"{name}={REDACTED}"
    return f"{match.group(0).split()[0]} {REDACTED}"


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return redact_text(bytes(value).decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        if not depth:
            return REDACTED
        return {
            name: REDACTED if item and is_secret_name(name) else _clean(item, depth - 1)
            for name, item in ((text_of(key), item) for key, item in value.items())
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, depth - 1) for item in value] if depth else REDACTED
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact_text(text_of(value))
