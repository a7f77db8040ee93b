"""Tags filters: which publications of a channel a subscriber wants to see."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from flyball.protocol.messages import FilterNode

MAX_DEPTH: Final = 32
"""Deepest nesting of a filter; a comparison alone has depth 1."""
MAX_NODES: Final = 1000
"""Most nodes of a filter; each value of an ``in`` or ``nin`` counts too."""

Tags = Mapping[str, str]
_Test = Callable[[Tags], bool]

_NO_TAGS: Final[Tags] = {}


class FilterError(ValueError):
    """A filter is malformed (error 107); the text names the violation."""


class TagsFilter:
    """A checked filter. Equal filters are equal objects to dicts and sets."""

    __slots__ = ("_hash", "_key", "_test")

    def __init__(self, key: tuple[Any, ...], test: _Test) -> None:
        """Use :func:`compile_filter`."""
        self._key = key
        self._test = test
        self._hash = hash(key)

    def matches(self, tags: Tags | None) -> bool:
        """Whether a publication with ``tags`` passes."""
        return self._test(_NO_TAGS if tags is None else tags)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TagsFilter) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"TagsFilter{self._key!r}"


def compile_filter(node: FilterNode) -> TagsFilter:
    """``node`` as a filter that can be asked.

    Raises:
        FilterError: it is malformed, or larger than :data:`MAX_DEPTH` and
            :data:`MAX_NODES` allow.
    """
    _check_size(node)
    return TagsFilter(_key(node), _compile(node))


def _check_size(node: FilterNode) -> None:
    """Bound the work before any recursion."""
    count = 0
    level = [node]
    for _ in range(MAX_DEPTH):
        count += len(level) + sum(len(n.vals) for n in level)
        if count > MAX_NODES:
            raise FilterError(f"the filter has more than {MAX_NODES} nodes and values")
        level = [child for parent in level for child in parent.nodes]
        if not level:
            return
    raise FilterError(f"the filter is nested deeper than {MAX_DEPTH}")


def _key(node: FilterNode) -> tuple[Any, ...]:
    """What makes two filters the same."""
    if node.op:
        return (node.op, *map(_key, node.nodes))
    return (node.op, node.key, node.cmp, node.val, *node.vals)


def _compile(node: FilterNode) -> _Test:
    match node.op:
        case "":
            return _compile_leaf(node)
        case "and" | "or":
            if not node.nodes:
                raise FilterError(f"{node.op!r} needs at least one node")
            tests = tuple(map(_compile, node.nodes))
            return _all_of(tests) if node.op == "and" else _any_of(tests)
        case "not":
            if len(node.nodes) != 1:
                raise FilterError(f"'not' needs exactly one node, not {len(node.nodes)}")
            return _none_of(_compile(node.nodes[0]))
        case _:
            raise FilterError(f"unknown op {node.op!r}; allowed: '', 'and', 'or', 'not'")


def _all_of(tests: tuple[_Test, ...]) -> _Test:
    return lambda tags: all(test(tags) for test in tests)


def _any_of(tests: tuple[_Test, ...]) -> _Test:
    return lambda tags: any(test(tags) for test in tests)


def _none_of(test: _Test) -> _Test:
    return lambda tags: not test(tags)


def _compile_leaf(node: FilterNode) -> _Test:
    cmp = node.cmp
    if cmp in _WITH_VALUE:
        if not node.val or node.vals:
            raise FilterError(f"{cmp!r} needs a non-empty 'val' and no 'vals'")
    elif cmp in _WITH_VALUES:
        if not node.vals or node.val:
            raise FilterError(f"{cmp!r} needs 'vals' and no 'val'")
    elif cmp in _WITHOUT_VALUE:
        if node.val or node.vals:
            raise FilterError(f"{cmp!r} takes neither 'val' nor 'vals'")
    else:
        raise FilterError(f"unknown cmp {cmp!r}; allowed: {', '.join(sorted(_LEAVES))}")
    if not node.key and cmp not in _WITHOUT_VALUE:
        raise FilterError(f"{cmp!r} needs a 'key'")
    return _LEAVES[cmp](node)


def _equal(node: FilterNode) -> _Test:
    key, wanted = node.key, node.val
    return lambda tags: tags.get(key) == wanted


def _not_equal(node: FilterNode) -> _Test:
    key, wanted = node.key, node.val
    return lambda tags: tags.get(key) != wanted


def _in(node: FilterNode) -> _Test:
    key, wanted = node.key, frozenset(node.vals)
    return lambda tags: tags.get(key, "") in wanted


def _not_in(node: FilterNode) -> _Test:
    key, wanted = node.key, frozenset(node.vals)
    return lambda tags: tags.get(key, "") not in wanted


def _exists(node: FilterNode) -> _Test:
    key = node.key
    return lambda tags: key in tags


def _not_exists(node: FilterNode) -> _Test:
    key = node.key
    return lambda tags: key not in tags


# A value is never empty in these three, so a missing tag fails like an empty one.


def _starts_with(node: FilterNode) -> _Test:
    key, wanted = node.key, node.val
    return lambda tags: tags.get(key, "").startswith(wanted)


def _ends_with(node: FilterNode) -> _Test:
    key, wanted = node.key, node.val
    return lambda tags: tags.get(key, "").endswith(wanted)


def _contains(node: FilterNode) -> _Test:
    key, wanted = node.key, node.val
    return lambda tags: wanted in tags.get(key, "")


# The grammar and the limits of numbers are part of compatibility: no exponents, no bare
# points, 19 places, 200 characters. They also bound the cost of a comparison.
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]{1,19})?", re.ASCII)
_MAX_NUMBER_LENGTH: Final = 200


def _decimal(text: str) -> Decimal | None:
    if len(text) > _MAX_NUMBER_LENGTH or _NUMBER.fullmatch(text) is None:
        return None
    return Decimal(text)


def _ordered(compare: Callable[[Decimal, Decimal], bool]) -> Callable[[FilterNode], _Test]:
    def leaf(node: FilterNode) -> _Test:
        key, wanted = node.key, _decimal(node.val)
        if wanted is None:
            return lambda tags: False  # noqa: ARG005

        def test(tags: Tags) -> bool:
            value = _decimal(tags.get(key, ""))
            return value is not None and compare(value, wanted)

        return test

    return leaf


_WITHOUT_VALUE: Final[dict[str, Callable[[FilterNode], _Test]]] = {
    "ex": _exists,
    "nex": _not_exists,
}
_WITH_VALUES: Final[dict[str, Callable[[FilterNode], _Test]]] = {"in": _in, "nin": _not_in}
_WITH_VALUE: Final[dict[str, Callable[[FilterNode], _Test]]] = {
    "eq": _equal,
    "neq": _not_equal,
    "sw": _starts_with,
    "ew": _ends_with,
    "ct": _contains,
    "gt": _ordered(Decimal.__gt__),
    "gte": _ordered(Decimal.__ge__),
    "lt": _ordered(Decimal.__lt__),
    "lte": _ordered(Decimal.__le__),
}
_LEAVES: Final = _WITHOUT_VALUE | _WITH_VALUES | _WITH_VALUE
