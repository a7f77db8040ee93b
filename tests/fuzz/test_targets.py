"""Every parser under damaged and random input; see ``targets.py``."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS, corpus

pytestmark = pytest.mark.exhaustive


@st.composite
def damaged(draw, seeds):
    """A seed with some bytes taken out, put in, doubled or changed."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 8, len(data))))
        kind = draw(st.sampled_from(("cut", "insert", "double", "change")))
        if kind == "cut":
            del data[start:end]
        elif kind == "insert":
            data[start:start] = draw(st.binary(min_size=1, max_size=6))
        elif kind == "double":
            data[start:start] = data[start:end] * draw(st.integers(1, 40))
        else:
            data[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_unexpected(name):
    target = TARGETS[name]

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=200), damaged(target.seeds), damaged(target.seeds)))
    def play(data):
        target.read(data)

    for seed in (*target.seeds, *corpus(name)):
        target.read(seed)
    play()
