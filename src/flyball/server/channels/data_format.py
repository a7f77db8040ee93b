"""What the data of a publication must look like (``publication_data_format``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHECKS", "DATA_FORMATS"]


class _Object(msgspec.Struct):
    """Any JSON object: all its fields are unknown ones, which are checked and passed over."""


_VALUE: Final = msgspec.json.Decoder(Raw)
_OBJECT: Final = msgspec.json.Decoder(_Object)


def _not_empty(data: Raw | bytes) -> bool:
    return len(data) > 0


def _anything(data: Raw | bytes) -> bool:  # noqa: ARG001
    return True


def _json(data: Raw | bytes) -> bool:
    return _decodes(_VALUE, data)


def _json_object(data: Raw | bytes) -> bool:
    return _decodes(_OBJECT, data)


def _decodes(decoder: msgspec.json.Decoder[Any], data: Raw | bytes) -> bool:
    try:
        decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


CHECKS: Final[dict[str, Callable[[Raw | bytes], bool]]] = {
    "": _not_empty,
    "json": _json,
    "json_object": _json_object,
    "binary": _anything,
}
"""Format to the check that tells whether data is fine."""

DATA_FORMATS: Final = tuple(CHECKS)
