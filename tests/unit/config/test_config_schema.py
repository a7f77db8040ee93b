"""The schema is compared with the option table recorded from the original server."""

import json
from pathlib import Path

import pytest

from flyball.server.config.table import Shape, env_name, rows

GOLDEN = Path(__file__).parents[2] / "golden" / "config.json"
RECORDED = {row["path"]: row for row in json.loads(GOLDEN.read_text())["options"]}
ADDED = {
    "sockjs",
    "http_server.workers",
    "engine.tarantool",
    "broker.tarantool",
    "presence_manager.tarantool",
    "broker.nats.credentials_file",
    "broker.nats.jetstream",
    "broker.postgres.connect_timeout",
    "broker.postgres.io_timeout",
    "controller.postgres.connect_timeout",
    "controller.postgres.io_timeout",
    "broker.redis.sharded_pub_sub",
    "broker.redisnats.redis.sharded_pub_sub",
    "channel.namespaces[].publication_schema",
    "channel.without_namespace.publication_schema",
    "engine.redis.sharded_pub_sub",
}
"""Options that the original does not have, or not any more; a section stands for all in it."""
MORE_KINDS = {
    "engine.type": ["tarantool"],
    "broker.type": ["tarantool"],
    "presence_manager.type": ["tarantool"],
}
"""Values that the original does not allow, or not any more."""


def is_added(path):
    return any(path == added or path.startswith(f"{added}.") for added in ADDED)


OURS = {row.path: row for row in rows()}
KEPT = {path: row for path, row in OURS.items() if not is_added(path)}


def as_recorded(row):
    """Write a row of ours in the shape of the recorded table."""
    field = row.field
    out = {"path": row.path, "type": field.type_name}
    if field.shape is not Shape.SECTION:
        out["default"] = row.default
        out["env"] = f"CENTRIFUGO_{row.env}" if row.env else None
    if field.meta.allowed:
        out["enum"] = list(field.meta.allowed)
    if row.flag:
        out["flag"] = row.flag
    if field.meta.short:
        out["flag_short"] = field.meta.short
    if row.hidden:
        out["hidden"] = True
    if row.note:
        out["note"] = row.note
    return out


def test_same_options():
    assert KEPT.keys() == RECORDED.keys()
    assert OURS.keys() > ADDED


@pytest.mark.parametrize("path", RECORDED)
def test_row(path):
    expected = {key: value for key, value in RECORDED[path].items() if key != "object_type"}
    if path in MORE_KINDS:
        expected["enum"] = expected["enum"] + MORE_KINDS[path]
    assert as_recorded(OURS[path]) == expected


def test_every_option_is_described():
    for row in OURS.values():
        assert row.field.meta.doc.endswith("."), row.path
        assert "\n" not in row.field.meta.doc, row.path


def test_types_are_exact():
    # 0 == False in Python, so the comparison above would not see a bool in place of an int
    for path, row in KEPT.items():
        if "default" in RECORDED[path]:
            assert type(row.default) is type(RECORDED[path]["default"]), path


def test_env_name_of_named_items():
    assert env_name("channel.namespaces[].presence") == "CHANNEL_NAMESPACES_<NAME>_PRESENCE"
    assert env_name("proxies[].http.status_to_code_transforms[].status_code") is None
