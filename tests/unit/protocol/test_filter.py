"""Tags filters: what they match, what is refused, and when two are the same."""

from __future__ import annotations

import pytest

from flyball.protocol.filter import MAX_DEPTH, MAX_NODES, FilterError, compile_filter
from flyball.protocol.messages import FilterNode


def leaf(cmp: str, val: str = "", *, vals: list[str] | None = None, key: str = "k") -> FilterNode:
    return FilterNode(key=key, cmp=cmp, val=val, vals=vals or [])


def node(op: str, *nodes: FilterNode) -> FilterNode:
    return FilterNode(op=op, nodes=list(nodes))


A, B = leaf("eq", "a"), leaf("ex", key="b")


@pytest.mark.parametrize(
    ("filter_node", "tag", "missing"),
    [
        # filter, {value of k: matches}, matches without tags
        (leaf("eq", "a"), {"a": True, "b": False, "": False}, False),
        (leaf("neq", "a"), {"a": False, "b": True, "": True}, True),
        (leaf("in", vals=["a", "b"]), {"a": True, "c": False}, False),
        (leaf("in", vals=["a", ""]), {"a": True, "": True}, True),
        (leaf("nin", vals=["a"]), {"a": False, "c": True}, True),
        (leaf("nin", vals=["a", ""]), {"a": False, "c": True}, False),
        (leaf("ex"), {"": True, "x": True}, False),
        (leaf("nex"), {"": False, "x": False}, True),
        (leaf("sw", "ab"), {"abc": True, "ab": True, "a": False}, False),
        (leaf("ew", "bc"), {"abc": True, "bc": True, "c": False}, False),
        (leaf("ct", "b"), {"abc": True, "b": True, "ac": False}, False),
        (leaf("gt", "10"), {"10": False, "10.1": True, "9": False, "100": True}, False),
        (leaf("gte", "10"), {"10.00": True, "+10": True, "9.999": False}, False),
        (leaf("lt", "-1.5"), {"-1.50": False, "-2": True, "1": False}, False),
        (leaf("lte", "0.1"), {"0.1": True, "00.10": True, "0.1000000000000000001": False}, False),
        (leaf("gt", "abc"), {"1": False, "abd": False}, False),
    ],
)
def test_comparisons(filter_node, tag, missing):
    compiled = compile_filter(filter_node)
    for value, expected in tag.items():
        assert compiled.matches({"k": value, "other": "a"}) is expected, value
    for tags in (None, {}, {"other": "a"}):
        assert compiled.matches(tags) is missing


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "x", "1x", " 1", "1 ", "1\n", ".5", "5.", "-", "+", "--1", "1.2.3", "1e5", "NaN",
        "Infinity", "-inf", "1_000", "0x1", "\u0661", "0." + "1" * 20, "1" * 201,
    ],
)  # fmt: skip
def test_what_is_no_number_matches_nothing(text):
    for cmp in ("gt", "gte", "lt", "lte"):
        for limit in ("-99", "99"):
            assert not compile_filter(leaf(cmp, limit)).matches({"k": text})
        if text:
            assert not compile_filter(leaf(cmp, text)).matches({"k": "1"})


def test_large_numbers_are_exact():
    large = "9" * 180
    assert compile_filter(leaf("gt", large)).matches({"k": "1" + "0" * 180})
    assert not compile_filter(leaf("gt", large)).matches({"k": large})
    assert compile_filter(leaf("gt", large)).matches({"k": large + "." + "0" * 18 + "1"})


def test_combinations():
    for tags in (None, {}, {"k": "a"}, {"b": "1"}, {"k": "a", "b": "1"}):
        a, b = compile_filter(A).matches(tags), compile_filter(B).matches(tags)
        assert compile_filter(node("and", A, B)).matches(tags) is (a and b)
        assert compile_filter(node("or", A, B)).matches(tags) is (a or b)
        assert compile_filter(node("not", A)).matches(tags) is (not a)
        deep = node("not", node("and", node("or", A, B), node("not", B)))
        assert compile_filter(deep).matches(tags) is (not ((a or b) and not b))


@pytest.mark.parametrize(
    ("filter_node", "reason"),
    [
        (FilterNode(), "unknown cmp"),
        (leaf("zzz", "a"), "unknown cmp"),
        (node("xor", A, B), "unknown op"),
        (leaf("eq"), "non-empty 'val'"),
        (leaf("eq", "a", vals=["b"]), "no 'vals'"),
        (leaf("gt"), "non-empty 'val'"),
        (leaf("in"), "needs 'vals'"),
        (leaf("in", "a", vals=["b"]), "no 'val'"),
        (leaf("ex", "a"), "neither"),
        (leaf("nex", vals=["a"]), "neither"),
        (leaf("eq", "a", key=""), "needs a 'key'"),
        (leaf("nin", vals=["a"], key=""), "needs a 'key'"),
        (node("and"), "at least one node"),
        (node("or"), "at least one node"),
        (node("not"), "exactly one node"),
        (node("not", A, B), "exactly one node"),
        (node("and", A, node("or", FilterNode())), "unknown cmp"),
    ],
)
def test_malformed_filters(filter_node, reason):
    with pytest.raises(FilterError, match=reason):
        compile_filter(filter_node)


def test_exists_needs_no_key():
    assert compile_filter(leaf("ex", key="")).matches({"": "x"})
    assert compile_filter(leaf("nex", key="")).matches({"k": "x"})


def test_filters_are_bounded():
    deep = A
    for _ in range(MAX_DEPTH - 1):
        deep = node("not", deep)
    compile_filter(deep)
    with pytest.raises(FilterError, match="deeper"):
        compile_filter(node("not", deep))
    bomb = A
    for _ in range(5000):
        bomb = node("not", bomb)
    with pytest.raises(FilterError, match="deeper"):
        compile_filter(bomb)
    compile_filter(node("and", *[A] * (MAX_NODES - 1)))
    with pytest.raises(FilterError, match="more than"):
        compile_filter(node("and", *[A] * MAX_NODES))
    with pytest.raises(FilterError, match="more than"):
        compile_filter(leaf("in", vals=["a"] * MAX_NODES))


def test_filters_are_equal_by_content():
    one, two = (
        compile_filter(node("and", A, B)),
        compile_filter(node("and", A, leaf("ex", key="b"))),
    )
    assert one == two
    assert hash(one) == hash(two)
    assert len({one, two}) == 1
    others = [
        compile_filter(n)
        for n in (A, B, node("or", A, B), node("and", B, A), leaf("in", vals=["a"]),
                  leaf("in", vals=["a", "b"]), leaf("neq", "a"), leaf("eq", "b"))
    ]  # fmt: skip
    assert len({one, *others}) == 1 + len(others)
    assert one != "and"
    assert "and" in repr(one)
