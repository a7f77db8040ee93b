"""The code tables are those of the facts."""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import Raw

from flyball.protocol.codes import DISCONNECTS, ERRORS, UNSUBSCRIBES, DisconnectCode
from flyball.protocol.messages import NO_DATA, payload

SCHEMA = json.loads((Path(__file__).parents[2] / "golden/client-protocol.json").read_text())


def test_errors():
    assert [(e.code, e.message, e.temporary) for e in ERRORS.values()] == [
        (e["code"], e["message"], e["temporary"]) for e in SCHEMA["errors"]
    ]
    assert all(code == e.code for code, e in ERRORS.items())


def test_disconnects():
    assert [(d.code, d.reason, d.reconnect) for d in DISCONNECTS.values()] == [
        (d["code"], d["reason"], d["reconnect"]) for d in SCHEMA["disconnects"]
    ]
    assert all(len(d.reason.encode()) <= 123 for d in DISCONNECTS.values())
    custom = {4000: True, 4499: True, 4500: False, 4999: False, 5000: True, 1006: True}
    assert {code: DisconnectCode(code, "").reconnect for code in custom} == custom


def test_unsubscribes():
    for facts in SCHEMA["unsubscribes"]:
        code = UNSUBSCRIBES[facts["code"]]
        assert code.reason == (facts["reason"] or "state invalidated")
        assert code.resubscribe == facts["resubscribe"]
    assert len(UNSUBSCRIBES) == len(SCHEMA["unsubscribes"])


def test_payload():
    assert payload(b"") is NO_DATA
    assert payload(b"1") == Raw(b"1")
