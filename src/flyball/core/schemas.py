"""What payloads of clients must be: checked before a handler is asked, shown in documents."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from flyball.core.errors import ConfigError, Error
from flyball.core.payload import decode_json
from flyball.protocol import codes

__all__ = ["Faults", "PayloadSchema", "SchemaSource"]

SchemaSource: TypeAlias = Any
"""A msgspec Struct, dataclass, TypedDict, Pydantic model, a type such as ``dict[str, int]``, or a
JSON Schema as a dictionary (needs the extra ``flyball[schemas]``)."""

Faults: TypeAlias = defaultdict[tuple[str, str], int]
"""Pattern, and path of the fault within the payload, to how often it came."""

MAX_FAULTS: Final = 1000
"""Different faults that are counted apart: paths may hold what clients send."""
OTHER: Final = ("", "other")

_PATH: Final = re.compile(r" at `([^`]*)`$")
_INDEX: Final = re.compile(r"\[[^\]]*\]")


class PayloadSchema:
    """What a payload must be.

    Args:
        kind: see :data:`SchemaSource`.
        where: the pattern or method that it is for; faults are counted under it.
        faults: where they are counted.

    Raises:
        ConfigError: ``kind`` is none of these, or its package is missing.
    """

    __slots__ = ("_check", "_faults", "kind", "where")

    def __init__(self, kind: SchemaSource, where: str, faults: Faults) -> None:
        self.kind: SchemaSource = kind
        self.where: str = where
        self._faults = faults
        self._check: Callable[[Raw], Any] = (
            _json_schema_check(kind, where) if isinstance(kind, dict) else _type_check(kind, where)
        )

    def check(self, raw: Raw) -> None:
        """Raises Error 107 if ``raw`` does not fit; the detail says where."""
        try:
            self._check(raw)
        except Error as error:
            path = _PATH.search(error.detail)
            fault = (self.where, _INDEX.sub("[]", path[1]) if path else "$")
            known = fault in self._faults or len(self._faults) < MAX_FAULTS
            self._faults[fault if known else OTHER] += 1
            raise

    def around(self, handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """``handler`` for events whose payload fits."""

        @functools.wraps(handler)
        def checked(event: Any) -> Any:
            self.check(event.raw)
            return handler(event)

        return checked


def _type_check(kind: Any, where: str) -> Callable[[Raw], Any]:
    if not hasattr(kind, "model_validate_json"):
        try:
            msgspec.json.Decoder(kind)
        except TypeError as error:
            message = f"schema of {where!r} is {kind!r}, which says nothing of a payload: {error}"
            raise ConfigError(message) from None
    return functools.partial(decode_json, kind=kind)


def _json_schema_check(schema: dict[str, Any], where: str) -> Callable[[Raw], Any]:
    try:
        import jsonschema
    except ImportError:
        message = (
            f"schema of {where!r} is a JSON Schema: pip install flyball[schemas] to check by it"
        )
        raise ConfigError(message) from None
    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ConfigError(f"schema of {where!r} is no JSON Schema: {error.message}") from None
    validator = kind(schema)
    validator.is_valid(None)  # reads its files now, not in the event loop

    def check(raw: Raw) -> None:
        fault = jsonschema.exceptions.best_match(validator.iter_errors(decode_json(raw)))
        if fault is not None:
            detail = f"the payload does not fit: {fault.message} - at `{fault.json_path}`"
            raise Error(codes.BAD_REQUEST, detail=detail)

    return check
