"""No record is long, whatever somebody sent that is shown in it."""

import io
import json
import logging

import pytest

from flyball.server.logs import Redactor
from flyball.server.logs.handlers import FileHandler, StreamHandler
from flyball.server.logs.shorten import MAX_TRACEBACK, MAX_VALUES, short_text, shorten

LONG = "x" * 60_000
DEEP: list = []
for _ in range(500):
    DEEP = [DEEP]
WIDE: list = ["y" * 500]
for _ in range(3):
    WIDE = [WIDE] * 40


class Stubborn(Exception):
    def __str__(self):
        raise RuntimeError


def test_a_long_text_is_its_start_and_its_length():
    assert short_text("x" * 512) == "x" * 512
    assert short_text(LONG) == "x" * 256 + "… (60000 characters)"


def repr_of(value):
    return type(value).__name__  # not all of them can be shown


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
        LONG.encode(),
        bytearray(LONG, "ascii"),
        memoryview(LONG.encode()),
        ValueError(LONG),
        DEEP,
        10**6000,
        {10**6000: -(10**6000)},
        Stubborn(),
    ],
    ids=repr_of,
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


def test_wide_lists_of_wide_lists_have_one_room_together():
    assert len(str(shorten(None, "info", {"value": WIDE}))) < MAX_VALUES * 512


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"x" * 1000, "x" * 256 + "… (1000 bytes)"),
        (10**6000, "(an integer of 19932 bits)"),
        (-(2**70), -(2**70)),
        (float("nan"), "nan"),
        (1.5, 1.5),
        (ValueError("why"), "why"),
        (Stubborn(), "(Stubborn that cannot be shown: RuntimeError)"),
        ([[[[[[[[[1]]]]]]]]], [[[[[[[["… (1 items)"]]]]]]]]),
    ],
    ids=repr_of,
)
def test_what_is_shown(value, shown):
    assert shorten(None, "info", {"value": value})["value"] == shown


@pytest.mark.parametrize(
    "value",
    [DEEP, WIDE, 10**6000, Stubborn(), "\ud800", {10**6000: 1}, {"a": "\udfff"}],
    ids=repr_of,
)
def test_no_value_costs_a_record(value, tmp_path, capsys):
    handler = FileHandler(str(tmp_path / "log"), encoding="utf-8")
    event = shorten(None, "info", Redactor()(None, "info", {"event": "e", "value": value}))
    line = json.dumps(event, ensure_ascii=False)
    handler.emit(logging.LogRecord("x", logging.INFO, __file__, 1, "%s", (line,), None))
    handler.close()
    assert json.loads((tmp_path / "log").read_text())["event"] == "e"
    assert capsys.readouterr().err == ""


class Silent:
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("value", [Silent(), 10**6000], ids=["silent", "huge"])
def test_a_value_that_cannot_be_shown_does_not_cost_the_record(value, capsys):
    handler = StreamHandler(io.StringIO())
    record = logging.LogRecord("library", logging.WARNING, __file__, 1, "value %s", (value,), None)
    handler.handle(record)
    assert handler.stream.getvalue().startswith("value %s (its values cannot be shown: ")
    assert capsys.readouterr().err == ""
