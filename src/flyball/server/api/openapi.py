"""The server API over HTTP as an OpenAPI 3.1 document, made of the tables it is served from."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from flyball.protocol.fields import FieldKind
from flyball.server.api import messages as m
from flyball.server.api.errors import API_ERRORS
from flyball.server.api.methods import METHODS, Method
from flyball.server.api.schema import API
from flyball.server.api.service import ApiService

if TYPE_CHECKING:
    from msgspec import Struct

    from flyball.protocol.fields import MessageField

JsonObject = dict[str, Any]

_KEYS: Final[JsonObject] = {
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "authorization": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`apikey KEY`, looked at where there is no `X-API-Key`.",
    },
    "query": {"type": "apiKey", "in": "query", "name": "api_key"},
}
_ABOUT: Final = """\
Each method answers with 200 and `result` or `error`. With the header
`X-Centrifugo-Error-Mode: transport`, or `http_api.error_mode`, an error has a status of HTTP
instead, and is the whole body."""
_REFUSED: Final = "The body is no such request"
_NO_KEY: Final = "There is no key, or a wrong one."
_ANY: Final[JsonObject] = {"description": "Any JSON value."}
_NUMBER_FORMATS: Final = {2**31 - 1: "int32", 2**63 - 1: "int64"}
_SIMPLE: Final[dict[FieldKind, JsonObject]] = {
    FieldKind.TEXT: {"type": "string"},
    FieldKind.FLAG: {"type": "boolean"},
    FieldKind.DECIMAL: {"type": "number"},
    FieldKind.PAYLOAD: _ANY,
    FieldKind.TEXTS: {"type": "array", "items": {"type": "string"}},
    FieldKind.TEXT_MAP: {"type": "object", "additionalProperties": {"type": "string"}},
    FieldKind.DECIMAL_MAP: {"type": "object", "additionalProperties": {"type": "number"}},
}


def openapi(*, prefix: str = "/api", version: str = "", insecure: bool = False) -> JsonObject:
    """Describes the API.

    Args:
        prefix: where it is served, ``http_api.handler_prefix``.
        version: of the server.
        insecure: it asks for no key.
    """
    methods = [method for method in METHODS.values() if method.available]
    document: JsonObject = {
        "openapi": "3.1.0",
        "info": {
            "title": "Flyball server API",
            "version": version or "0",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix.rstrip("/") or "/"}],
        "paths": {method.route: {"post": _operation(method)} for method in methods},
        "components": {"schemas": {struct.__name__: _schema(struct) for struct in API.table}},
    }
    if not insecure:
        document["components"]["securitySchemes"] = _KEYS
        document["security"] = [{name: []} for name in _KEYS]
    return document


def _operation(method: Method) -> JsonObject:
    assert method.request is not None
    assert method.result is not None
    return {
        "operationId": method.name,
        "summary": _first_line(getattr(ApiService, method.name)),
        "tags": ["maps and polls" if method.name.startswith(("map_", "shared_")) else "channels"],
        "requestBody": {"required": True, "content": _content(_reference(method.request))},
        "responses": {
            "200": {
                "description": "The result, or why there is none.",
                "content": _content(_answer(method.result)),
            },
            "401": {"description": _NO_KEY},
            **_by_status(),
        },
    }


def _answer(result: type[Struct]) -> JsonObject:
    if result is m.BatchResponse:
        return _reference(result)
    fields = {"error": _reference(m.Error), "result": _reference(result)}
    return {"type": "object", "properties": fields, "minProperties": 1, "maxProperties": 1}


def _by_status() -> JsonObject:
    """What transport error mode answers; 400 has another meaning too."""
    told: dict[int, list[str]] = {400: [_REFUSED]}
    for entry in API_ERRORS.values():
        told.setdefault(entry.http_status, []).append(f"{entry.code} {entry.message}")
    return {
        str(status): {
            "description": f"{', '.join(told[status])} (in transport error mode).",
            "content": _content(_reference(m.Error)),
        }
        for status in sorted(told)
    }


def _schema(struct: type[Struct]) -> JsonObject:
    fields = API.table[struct]
    schema: JsonObject = {
        "type": "object",
        "description": inspect.cleandoc(struct.__doc__ or ""),
        "properties": {field.name: _value(field) for field in fields},
    }
    required = [field.name for field in fields if field.always]
    return {**schema, "required": required} if required else schema


def _value(field: MessageField) -> JsonObject:
    match field.kind:
        case FieldKind.NUMBER:
            return _number(field)
        case FieldKind.MESSAGE:
            return _reference(field.message)
        case FieldKind.MESSAGES:
            return {"type": "array", "items": _reference(field.message)}
        case FieldKind.MESSAGE_MAP:
            return {"type": "object", "additionalProperties": _reference(field.message)}
        case kind:
            return _SIMPLE[kind]


def _number(field: MessageField) -> JsonObject:
    schema: JsonObject = {"type": "integer", "minimum": field.low, "maximum": field.high}
    if field.high in _NUMBER_FORMATS:
        schema["format"] = _NUMBER_FORMATS[field.high]
    return schema


def _content(schema: JsonObject) -> JsonObject:
    return {"application/json": {"schema": schema}}


def _reference(struct: type[Struct] | None) -> JsonObject:
    assert struct is not None
    return {"$ref": f"#/components/schemas/{struct.__name__}"}


def _first_line(handler: object) -> str:
    return (inspect.getdoc(handler) or "").partition("\n")[0]
