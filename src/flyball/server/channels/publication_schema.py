"""What publications must fit (``publication_schema``): a JSON Schema, inline or in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyball.core.errors import ConfigError
from flyball.core.schemas import PayloadSchema

if TYPE_CHECKING:
    from flyball.core.schemas import Faults

__all__ = ["MAX_FILE", "read_schema"]

MAX_FILE = 1024 * 1024
"""Bytes of a file with a schema."""


def read_schema(text: str, where: str, pattern: str, faults: Faults) -> PayloadSchema:
    """The schema that ``text`` is, if it begins as an object, or names.

    Args:
        text: the value of the option.
        where: its key, for messages.
        pattern: the channels that it holds for; faults are counted under it.
        faults: where they are counted.

    Raises:
        ConfigError: there is no such file, or it holds no JSON Schema, or a package is missing.
    """
    try:
        schema: Any = json.loads(text if text.lstrip().startswith("{") else _content(text, where))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is no JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ConfigError(f"{where} is no JSON Schema: it must be an object")
    try:
        return PayloadSchema(schema, pattern, faults)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _content(path: str, where: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"{where}: cannot read {path!r}: {reason}; give a JSON Schema or a file with one"
        raise ConfigError(message) from None
    if len(content) > MAX_FILE:
        raise ConfigError(f"{where}: {path!r} has more than {MAX_FILE} bytes")
    return content
