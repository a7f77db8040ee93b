"""The messages and the method table agree with the recorded schema."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from flyball.protocol.messages import ClientInfo
from flyball.server.api import messages
from flyball.server.api.errors import API_ERRORS
from flyball.server.api.methods import LEGACY_METHODS, METHODS
from flyball.server.api.service import ApiService

SCHEMA = json.loads((Path(__file__).parents[2] / "golden" / "server-api.json").read_text())
OWN = {
    name: cls
    for name, cls in {**vars(messages), "ClientInfo": ClientInfo}.items()
    if isinstance(cls, type) and issubclass(cls, msgspec.Struct)
}
NOT_IN_SCHEMA = {"Struct", "Request", "Result", "Reply"}
UNAVAILABLE = {name for name, method in METHODS.items() if not method.available}
SCALARS = {
    "string": inspect.StrType,
    "bytes": inspect.RawType,
    "bool": inspect.BoolType,
    "uint32": inspect.IntType,
    "uint64": inspect.IntType,
    "int32": inspect.IntType,
    "int64": inspect.IntType,
}


@pytest.mark.parametrize("name", sorted(set(OWN) - NOT_IN_SCHEMA - {"FilterNode"}))
def test_fields(name: str) -> None:
    wanted = [f for f in SCHEMA["messages"][name]["fields"] if f["name"] not in UNAVAILABLE]
    own = inspect.type_info(OWN[name]).fields
    assert [f.encode_name for f in own] == [f["json"] for f in wanted]
    for field, expected in zip(own, wanted, strict=True):
        assert field.required == expected.get("always_emitted", False), expected
        scalar = SCALARS.get(expected["type"])
        if scalar is not None and not expected.get("repeated"):
            assert isinstance(field.type, scalar), expected


def test_reply_has_the_fields_of_the_schema() -> None:
    wanted = [f["name"] for f in SCHEMA["messages"]["Reply"]["fields"]]
    own = list(messages.Reply.__struct_fields__)
    assert own == [name for name in wanted if name not in UNAVAILABLE]


def test_methods_are_those_of_the_service() -> None:
    rpcs = {rpc["json_method"]: rpc for rpc in SCHEMA["service"]["rpcs"]}
    assert list(METHODS) == list(rpcs)
    numbers = {f["name"]: f["number"] for f in SCHEMA["messages"]["Command"]["fields"]}
    for name, method in METHODS.items():
        rpc = rpcs[name]
        assert method.grpc_name == rpc["name"]
        assert method.available == rpc["oss"]
        assert method.field_number == numbers.get(name)
        if method.available:
            assert method.route == rpc["http_route"]
            assert method.request.__name__ == rpc["request"]
            assert callable(getattr(ApiService, name))


def test_legacy_numbers() -> None:
    by_number = {number: method.name for number, method in LEGACY_METHODS.items()}
    assert len(by_number) == len(METHODS) - 1  # all but batch
    assert [by_number[n] for n in (0, 2, 8, 9, 11, 12, 14, 32, 33, 39)] == [
        "publish",
        "unsubscribe",
        "channels",
        "info",
        "subscribe",
        "refresh",
        "connections",
        "cancel_push",
        "map_publish",
        "shared_poll_publish",
    ]
    assert 13 not in by_number


def test_errors() -> None:
    wanted = {e["code"]: e for e in SCHEMA["errors"]}
    assert set(API_ERRORS) == set(wanted)
    for code, entry in API_ERRORS.items():
        assert entry.message == wanted[code]["message"]
        assert entry.http_status == wanted[code]["http_status"]
        assert entry.grpc_code == wanted[code]["grpc_code"]
