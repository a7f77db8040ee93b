"""Whatever is wrong with an option: the message has its key, its variable and what is allowed."""

import json

import pytest

from flyball.server.config import ConfigProblems, load_config
from flyball.server.config.table import Shape, rows

WRONG = {
    "bool": ["maybe", 7, [], {}],
    "duration": ["soon", "5 parsecs", True, []],
    "string": [{"a": 1}, [1], True, "half \ud800 a pair"],
    "pem": [{"a": 1}, [1]],
    "schema": [[1], True],
}
NUMBERS = ["many", 1.5, True, [], 2**70]
BY_SHAPE = {Shape.STRINGS: [5, {"a": 1}, ["\ud800"]], Shape.MAP: [5, "x", [1]]}


def wrong_values(row):
    if row.field.shape is Shape.SCALAR:
        return WRONG.get(row.field.scalar.name, NUMBERS)
    return BY_SHAPE.get(row.field.shape, [])


def tree_of(path, value):
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


OPTIONS = [row for row in rows() if "[]" not in row.path and wrong_values(row)]


@pytest.mark.parametrize("row", OPTIONS, ids=[row.path for row in OPTIONS])
def test_a_wrong_value_in_a_file(row, tmp_path):
    path = tmp_path / "config.json"
    for value in wrong_values(row):
        path.write_text(json.dumps(tree_of(row.path, value)))
        with pytest.raises(ConfigProblems) as caught:
            load_config(path, environ={})
        text = str(caught.value)
        assert text.startswith(f"{row.path} (")
        assert f"FLYBALL_{row.env})" in text
        assert str(path) in text
        assert "is not allowed; expected " in text
        if row.field.meta.secret:
            assert json.dumps(value) not in text.replace(str(path), "")


@pytest.mark.parametrize("row", OPTIONS, ids=[row.path for row in OPTIONS])
def test_a_wrong_value_in_a_variable(row):
    texts = [value for value in wrong_values(row) if isinstance(value, str)]
    if row.field.shape is Shape.STRINGS:
        texts = ["\udcff"]  # a byte that is no UTF-8, as Python has it
    for text in texts:
        for prefix in ("FLYBALL_", "CENTRIFUGO_"):
            with pytest.raises(ConfigProblems) as caught:
                load_config(environ={f"{prefix}{row.env}": text})
            told = str(caught.value)
            assert told.startswith(f"{row.path} (environment variable {prefix}{row.env}): ")


def test_an_option_of_a_list_with_names_says_how_its_variable_is_spelled(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"channel": {"namespaces": [{"name": "a", "history_size": "many"}]}}')
    with pytest.raises(ConfigProblems, match=r"FLYBALL_CHANNEL_NAMESPACES_<NAME>_HISTORY_SIZE"):
        load_config(path, environ={})
