"""What the data of a publication must look like (``publication_data_format``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from flyball.protocol.codec import UNREADABLE, DecodeError
from flyball.protocol.json_reader import split_values

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHECKS", "DATA_FORMATS", "is_json"]


class _Object(msgspec.Struct):
    """Any JSON object: all its fields are unknown ones, which are checked and passed over."""


_ESCAPE: Final = b"\\u"
_VALUE: Final = msgspec.json.Decoder(Raw)
_OBJECT: Final = msgspec.json.Decoder(_Object)


def _not_empty(data: Raw | bytes) -> bool:
    return len(data) > 0


def _anything(data: Raw | bytes) -> bool:  # noqa: ARG001
    return True


def is_json(data: Raw | bytes) -> bool:
    """Whether it is one JSON value."""
    return _decodes(_VALUE, data) or (_ESCAPE in bytes(data) and _one_value(data))


def _json_object(data: Raw | bytes) -> bool:
    if _decodes(_OBJECT, data):
        return True
    return bytes(data).lstrip().startswith(b"{") and is_json(data)


def _decodes(decoder: msgspec.json.Decoder[Any], data: Raw | bytes) -> bool:
    try:
        decoder.decode(data)
    except UNREADABLE:
        return False
    return True


def _one_value(data: Raw | bytes) -> bool:
    """Whether it is JSON for the tolerant: with escapes of half a surrogate pair, as passed on."""
    try:
        return len(list(split_values(bytes(data)))) == 1
    except DecodeError:
        return False


CHECKS: Final[dict[str, Callable[[Raw | bytes], bool]]] = {
    "": _not_empty,
    "json": is_json,
    "json_object": _json_object,
    "binary": _anything,
}
"""Format to the check that tells whether data is fine."""

DATA_FORMATS: Final = tuple(CHECKS)
