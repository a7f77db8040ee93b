"""Fossil deltas: made and applied, and hostile ones refused."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.protocol.delta import DeltaError, apply_delta, create_delta

SOURCE = b'{"a": "' + b"x" * 40 + b'", "n": 1}'
TARGET = SOURCE.replace(b"1", b"2")
PATCH = b"u\ns@0,2:2}qKNfK;"


def test_the_format():
    assert create_delta(SOURCE, TARGET) == PATCH
    assert apply_delta(SOURCE, PATCH) == TARGET
    assert create_delta(b"", b"") == b"0\n0;"
    assert create_delta(b"", b"ab") == b"2\n2:ab1XOW00;"
    assert apply_delta(b"", b"2\n2:ab1XOW00;") == b"ab"
    assert create_delta(SOURCE, SOURCE).startswith(b"u\nu@0,")


def words(seed: int) -> list[bytes]:
    generator = random.Random(seed)
    return [b"%016x" % generator.getrandbits(64) for _ in range(40)]


@pytest.mark.parametrize("seed", range(20))
def test_edits_make_short_deltas(seed):
    generator = random.Random(seed)
    parts = words(seed)
    source = b",".join(parts)
    for _ in range(3):
        parts[generator.randrange(len(parts))] = b"changed"
    parts.insert(generator.randrange(len(parts)), b"new")
    target = b",".join(parts)
    delta = create_delta(source, target)
    assert apply_delta(source, delta) == target
    assert len(delta) < 200


def test_moved_blocks_are_found():
    parts = words(1)
    source, target = b"".join(parts), b"".join(parts[20:] + parts[:20])
    delta = create_delta(source, target)
    assert apply_delta(source, delta) == target
    assert len(delta) < 50


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_pair(source, target):
    assert apply_delta(source, create_delta(source, target)) == target


@given(
    st.lists(st.sampled_from([b"a" * 20, b"b" * 7, b"0123456789abcdef", b"-", b"\xff\x00"])),
    st.lists(st.sampled_from([b"a" * 20, b"b" * 7, b"0123456789abcdef", b"-", b"\xff\x00"])),
)
def test_pairs_with_much_in_common(source, target):
    source, target = b"".join(source), b"".join(target)
    delta = create_delta(source, target)
    assert apply_delta(source, delta) == target
    assert len(delta) <= len(target) + 16


@pytest.mark.parametrize(
    "delta",
    [
        b"",
        b"u",
        b"u\n",
        b"\n0;",
        b"-1\n0;",
        b"zzzzzzz\n0;",
        b"~~~~~~\n0;",
        b"1\n1:",
        b"1\n1:a",
        b"1\n1:a;",
        b"1\n1:aX;",
        b"1\n1:a1X0000;x",
        b"1\n2:ab1XOW00;",
        b"2\n1:a1X0000;",
        b"1\n1@u,0;",
        b"1\n1@~~~~~~,0;",
        b"1\n1@0",
        b"1\n1@,0;",
        b"1\n1@0;0;",
        b"1\n1@0:0;",
        b"1\n1#0,0;",
        b"0\n~~~~~~;",
        b"1\n~~~~~@0,0;",
        b"u\n" + b"0@0," * 10,
        PATCH[:-1],
        PATCH[:-2] + b"L;",
        PATCH + b"\n",
    ],
)
def test_malformed_deltas(delta):
    with pytest.raises(DeltaError):
        apply_delta(SOURCE, delta)


def test_a_delta_for_another_source():
    with pytest.raises(DeltaError, match="checksum"):
        apply_delta(SOURCE.replace(b"x", b"y"), PATCH)


def test_the_target_is_bounded():
    bomb = b"~~~~~\n" + b"~~~~@0," * 1000 + b"0;"
    with pytest.raises(DeltaError, match="allowed"):
        apply_delta(b"x" * 2**16, bomb)
    with pytest.raises(DeltaError, match="allowed"):
        apply_delta(SOURCE, PATCH, max_size=len(TARGET) - 1)
    assert apply_delta(SOURCE, PATCH, max_size=len(TARGET)) == TARGET


@given(st.binary(max_size=60))
def test_garbage(delta):
    with suppress(DeltaError):
        assert isinstance(apply_delta(SOURCE, delta), bytes)


@given(st.integers(0, len(PATCH) - 1), st.integers(0, 255))
def test_damaged_patches(index, byte):
    damaged = PATCH[:index] + bytes([byte]) + PATCH[index + 1 :]
    try:
        result = apply_delta(SOURCE, damaged)
    except DeltaError:
        return
    assert result == TARGET


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (b"x" * 65536, (b"x" * 20 + b"y") * 3000),
        (b"ab" * 32768, (b"ab" * 20 + b"y" + b"ba" * 20) * 700),
        (b"x" * 65536, b"x" * 30000 + b"y" + b"x" * 30000),
    ],
)
def test_repetitive_values(source, target):
    delta = create_delta(source, target)
    assert apply_delta(source, delta) == target
    assert len(delta) < len(target) // 2
