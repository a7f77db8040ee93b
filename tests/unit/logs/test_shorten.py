"""No record is long, whatever somebody sent that is shown in it."""

import pytest

from flyball.server.logs.shorten import MAX_TRACEBACK, short_text, shorten

LONG = "x" * 60_000


def test_a_long_text_is_its_start_and_its_length():
    assert short_text("x" * 512) == "x" * 512
    assert short_text(LONG) == "x" * 256 + "… (60000 characters)"


@pytest.mark.parametrize(
    "value",
    [
        LONG,
        {"a": LONG},
        {LONG: 1},
        [LONG] * 1000,
        ({"a": [LONG]},),
        dict.fromkeys(map(str, range(100_000))),
        {LONG},
    ],
)
def test_every_value_is_shortened(value):
    event = shorten(None, "info", {"event": "e", "value": value})
    assert len(str(event)) < 12_000


def test_short_values_stay_as_they_are():
    event = {"event": "e", "a": 1, "b": None, "c": [1, "x"], "d": {"e": True}}
    assert shorten(None, "info", dict(event)) == event


def test_what_is_left_out_is_counted():
    assert shorten(None, "info", {"value": list(range(100))})["value"][-1] == "…"
    assert (
        shorten(None, "info", {"value": dict.fromkeys(map(str, range(100)))})["value"]["…"] == 100
    )


def test_the_end_of_a_traceback_is_kept():
    event = shorten(None, "error", {"exception": LONG + "ValueError: why"})
    assert event["exception"].endswith("ValueError: why")
    assert len(event["exception"]) == MAX_TRACEBACK + 1
