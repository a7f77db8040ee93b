"""What payloads of clients must be: checked before a handler is asked, shown in documents."""

from __future__ import annotations

import functools
import itertools
import json
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
MAX_PATH: Final = 128
"""Characters of a path: so may the names in it."""
OTHER: Final = ("", "other")

LOOKED_AT: Final = 8
"""Faults of one payload among which the best to tell is chosen: it may have any number."""
_SHOWN: Final = 80

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
            fault = (self.where, _INDEX.sub("[]", path[1])[:MAX_PATH] if path else "$")
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
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ConfigError(f"schema of {where!r} is no JSON Schema: {error.message}") from None
    # With a registry of its own nothing is ever fetched from elsewhere.
    validator = kind(schema, registry=Registry())
    try:
        validator.is_valid(None)  # reads its files now, not in the event loop
    except Unresolvable as error:
        raise ConfigError(f"schema of {where!r}: {_unresolved(error)}") from None

    def check(raw: Raw) -> None:
        value = decode_json(raw)
        try:
            faults = itertools.islice(validator.iter_errors(value), LOOKED_AT)
            fault = jsonschema.exceptions.best_match(faults)
        except RecursionError:
            raise Error(codes.BAD_REQUEST, detail="the payload is nested too deep") from None
        except Unresolvable as error:
            raise Error(codes.BAD_REQUEST, detail=_unresolved(error)) from None
        if fault is not None:
            # Not the words of the library, which show what the client sent.
            wanted = json.dumps(fault.validator_value, default=str)[:_SHOWN]
            rule = f"{fault.validator}: {wanted}"
            detail = f"the payload does not fit: {rule} - at `{fault.json_path}`"
            raise Error(codes.BAD_REQUEST, detail=detail)

    return check


def _unresolved(error: Exception) -> str:
    return f"the reference {getattr(error, 'ref', '')!r} is not in the schema, and none is fetched"
