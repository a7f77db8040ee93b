"""Durations in Go's spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.server.common.durations import format_duration, parse_duration

SPELLED = [
    ("0", 0.0),
    ("0s", 0.0),
    ("1ns", 1e-9),
    ("1us", 1e-6),
    ("1µs", 1e-6),
    ("1μs", 1e-6),
    ("300ms", 0.3),
    ("1.5h", 5400.0),
    (".5s", 0.5),
    ("1.s", 1.0),
    ("1h30m", 5400.0),
    ("1h0m0.5s", 3600.5),
    ("-1s", -1.0),
    ("+2s", 2.0),
    ("30m1h", 5400.0),
    ("720h0m0s", 2_592_000.0),
]


@pytest.mark.parametrize(("text", "seconds"), SPELLED)
def test_parse(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    ["", "5", "1d", "s", "-", ".s", "1 s", " 1s", "1s ", "1S", "1h30", "--1s", "1e3s", "٣s", "1m,"],
)
def test_refused(text):
    with pytest.raises(ValueError, match="300ms"):
        parse_duration(text)


def test_limit_is_64_bits():
    assert parse_duration("2562047h47m16s") == pytest.approx(9_223_372_036.0)
    with pytest.raises(ValueError, match="below"):
        parse_duration("2562048h")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.1, "100ms"),
        (0.0015, "1.5ms"),
        (2e-6, "2µs"),
        (5e-9, "5ns"),
        (1.0, "1s"),
        (1.25, "1.25s"),
        (60.0, "1m0s"),
        (3600.0, "1h0m0s"),
        (86_400.0, "24h0m0s"),
        (-90.0, "-1m30s"),
    ],
)
def test_format(seconds, text):
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_round_trip(nanoseconds):
    seconds = nanoseconds / 1_000_000_000
    assert round(parse_duration(format_duration(seconds)) * 1e9) == nanoseconds


@given(st.text(alphabet="0123456789.hmsuµn+- d", max_size=12))
def test_any_text_is_read_or_refused(text):
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)
