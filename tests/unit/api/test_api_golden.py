"""Exchanges recorded with the original server, replayed in their order."""

from __future__ import annotations

import json
import re
from pathlib import Path

GOLDEN = Path(__file__).parents[2] / "golden" / "server-api-examples.jsonl"
RECORDED_CLIENT = "b2ac5c23-d870-4b50-9bb9-85f897fd3de5"
EPOCH = re.compile(r'"epoch":"([^"]+)"')
NO_MAP_ENGINE = {*range(63, 72), *range(73, 96)}
"""Rows about map and shared poll channels, except those that are refused for their type."""


def rows() -> list[dict]:
    with GOLDEN.open() as lines:
        return [row for row in map(json.loads, lines) if row["n"] not in NO_MAP_ENGINE]


async def test_recorded_exchanges(api) -> None:
    client = api.connect("hist:a", "news", "plain:p")
    assert len(client.session.subscriptions) == 3
    epochs: dict[str, str] = {}
    for row in rows():
        request, expected = row["request"], row["response"]
        body = request["body"] or ""
        body = body.replace(RECORDED_CLIENT, client.session.client_id)
        # Connections are listed here: another method of those that are missing is asked for.
        body = body.replace('"connections"', '"block_user"')
        for recorded, own in epochs.items():
            body = body.replace(recorded, own)
        headers = {name.lower(): value for name, value in request["headers"].items()}
        response = await api.request(request["path"], body, headers, request["method"])

        where = (row["n"], row.get("note"), request["body"])
        assert response.status == expected["status"], where
        assert (response.content_type or None) == expected["content_type"], where
        wanted = expected["body"].replace(RECORDED_CLIENT, client.session.client_id)
        actual = response.body.decode()
        if request["path"] == "/api/info":
            check_info(actual, wanted)
            continue
        for recorded, own in zip(EPOCH.findall(wanted), EPOCH.findall(actual), strict=True):
            assert epochs.setdefault(recorded, own) == own, where
            wanted = wanted.replace(recorded, own)
        assert actual == wanted, where
    assert client.closed_with is not None
    assert (client.closed_with.code, client.closed_with.reason) == (4000, "custom")


def check_info(actual: str, wanted: str) -> None:
    """The names and their order; the values are those of another node."""
    (own,), (recorded,) = (json.loads(text)["result"]["nodes"] for text in (actual, wanted))
    optional = {"uptime", "metrics"}
    assert [key for key in own if key not in optional] == [
        key for key in recorded if key not in optional
    ]
    assert own["num_clients"] == 1
    assert own["num_subs"] == 3
