"""Random messages of a schema, for property tests."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from msgspec import Raw, Struct

from flyball.protocol.fields import FieldKind, FieldTable, MessageField
from flyball.protocol.messages import NO_DATA

text = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["<", "\u2028", "\b"])
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
payloads = (
    st.just(NO_DATA)
    | json_values.map(lambda v: Raw(json.dumps(v).encode()))
    | (json_values.map(lambda v: Raw(json.dumps(v, ensure_ascii=False, indent=" ").encode())))
)
decimals = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53).map(
    float
)


def values(table: FieldTable, field: MessageField, depth: int) -> st.SearchStrategy[Any]:
    match field.kind:
        case FieldKind.TEXT:
            return text
        case FieldKind.FLAG:
            return st.booleans()
        case FieldKind.NUMBER:
            return st.integers(field.low, field.high)
        case FieldKind.DECIMAL:
            return decimals
        case FieldKind.DECIMAL_MAP:
            return st.dictionaries(text, decimals, min_size=1, max_size=2)
        case FieldKind.PAYLOAD:
            return payloads
        case FieldKind.TEXTS:
            return st.lists(text, max_size=3)
        case FieldKind.TEXT_MAP:
            return st.dictionaries(text, text, min_size=1, max_size=3)
    inner = messages(table, field.message, depth - 1)
    match field.kind:
        case FieldKind.MESSAGE:
            return inner
        case FieldKind.MESSAGES:
            return st.lists(inner, max_size=2)
        case _:
            return st.dictionaries(text, inner, min_size=0 if field.always else 1, max_size=2)


def messages(table: FieldTable, message: type[Struct], depth: int = 4) -> st.SearchStrategy[Any]:
    fields = [f for f in table[message] if f.message is None or depth]
    required = {f.name: values(table, f, depth) for f in fields if f.always}
    optional = {
        f.name: st.deferred(lambda f=f: values(table, f, depth)) for f in fields if not f.always
    }
    return st.fixed_dictionaries(required).flatmap(
        lambda given_: (
            st.lists(st.sampled_from(sorted(optional)), max_size=3, unique=True).flatmap(
                lambda names: st.fixed_dictionaries({n: optional[n] for n in names}).map(
                    lambda chosen: message(**given_, **chosen)
                )
            )
            if optional
            else st.just(message(**given_))
        )
    )


def without_breaks(table: FieldTable, value: Any) -> Any:
    """``value`` as a JSON client gets it: payloads without line breaks."""
    if isinstance(value, Raw):
        return Raw(bytes(value).replace(b"\n", b"")) if value else NO_DATA
    if isinstance(value, list):
        return [without_breaks(table, v) for v in value]
    if isinstance(value, dict):
        return {k: without_breaks(table, v) for k, v in value.items()}
    if isinstance(value, Struct):
        return type(value)(
            *(without_breaks(table, getattr(value, f.name)) for f in table[type(value)])
        )
    return value
