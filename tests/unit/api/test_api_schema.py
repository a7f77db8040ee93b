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
from flyball.server.api.methods import FIRST_OWN, LEGACY_METHODS, METHODS
from flyball.server.api.schema import API
from flyball.server.api.service import ApiService
from flyball.server.proxies.messages import ConnectResponse
from flyball.server.proxies.schema import PROXY

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


LEFT_OUT = {
    "ConnectionInfo": {"ping_pong_latency_ms", "labels"},
    "ConnectionState": {"connection_token", "subscription_tokens", "meta"},
}
"""Fields of the schema that tell of what there is not here."""
FLYBALL = set(OWN) - set(SCHEMA["messages"])
"""Messages that the schema does not know."""


def added(name: str) -> set[str]:
    """Fields that the schema does not know: their numbers begin at 100."""
    if name not in OWN or OWN[name] not in API.table:
        return set()
    descriptor = API.protobuf.classes[OWN[name]].DESCRIPTOR
    return {field.name for field in descriptor.fields if field.number >= FIRST_OWN}


@pytest.mark.parametrize("name", sorted(set(OWN) - NOT_IN_SCHEMA - {"FilterNode"} - FLYBALL))
def test_fields(name: str) -> None:
    unknown = UNAVAILABLE | LEFT_OUT.get(name, set())
    wanted = [f for f in SCHEMA["messages"][name]["fields"] if f["name"] not in unknown]
    own = [f for f in inspect.type_info(OWN[name]).fields if f.encode_name not in added(name)]
    assert [f.encode_name for f in own] == [f["json"] for f in wanted]
    for field, expected in zip(own, wanted, strict=True):
        assert field.required == expected.get("always_emitted", False), expected
        scalar = SCALARS.get(expected["type"])
        if scalar is not None and not expected.get("repeated"):
            assert isinstance(field.type, scalar), expected


def test_reply_has_the_fields_of_the_schema() -> None:
    wanted = [f["name"] for f in SCHEMA["messages"]["Reply"]["fields"]]
    own = [name for name in messages.Reply.__struct_fields__ if name not in added("Reply")]
    assert own == [name for name in wanted if name not in UNAVAILABLE]


def test_methods_are_those_of_the_service() -> None:
    rpcs = {rpc["json_method"]: rpc for rpc in SCHEMA["service"]["rpcs"]}
    assert list(METHODS) == [*rpcs, "users", "channel_state", "explain"]
    numbers = {f["name"]: f["number"] for f in SCHEMA["messages"]["Command"]["fields"]}
    for name, method in METHODS.items():
        if method.field_number is not None and method.field_number >= FIRST_OWN:
            assert method.available
            assert method.grpc_name == "".join(map(str.title, name.split("_")))
            continue
        rpc = rpcs[name]
        assert method.grpc_name == rpc["name"]
        assert method.available == rpc["oss"] or name == "connections"
        assert method.field_number == numbers.get(name)
        if method.available:
            assert name == "connections" or method.route == rpc["http_route"]
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


def test_maps_of_numbers_are_read() -> None:
    line = b'{"interval":2,"items":{"a":1.5,"b":2}}'
    assert API.json_reader.read(messages.Metrics, line).items == {"a": 1.5, "b": 2.0}


M = messages
TWINS = [
    (
        M.PublishRequest,
        b'{"channel":"a","tags":{"a":"b"},"tags":{"c":"d"},"channel":null}',
        M.PublishRequest("a", tags={"a": "b", "c": "d"}),
    ),
    (M.PublishRequest, b'{"tags":{"a":"b"},"data":{"tags":{}}}', M.PublishRequest(tags={"a": "b"})),
    (
        M.HistoryRequest,
        b'{"since":{"offset":1},"since":{"epoch":"x"}}',
        M.HistoryRequest(since=M.StreamPosition(1, "x")),
    ),
    (M.HistoryRequest, b'{"since":{"offset":1},"since":{},"since":null}', M.HistoryRequest()),
    (M.PublishRequest, b'{"tags":{"a":"b"},"tags":{},"tags":null}', M.PublishRequest()),
    (M.BroadcastRequest, b'{"channels":["a","b"],"channels":["c"]}', M.BroadcastRequest(["c"])),
    (M.BroadcastRequest, b'{"channels":["a","b"],"channels":null}', M.BroadcastRequest([])),
    (M.BroadcastRequest, b'{"channels":["a","b"],"channels":[null]}', M.BroadcastRequest(["a"])),
    (
        M.SubscribeRequest,
        b'{"override":{"presence":{"value":true}},"override":{"presence":{},"join_leave":{}}}',
        M.SubscribeRequest(
            override=M.SubscribeOptionOverride(M.BoolValue(value=True), M.BoolValue())
        ),
    ),
    (
        M.DisconnectRequest,
        b'{"disconnect":{"code":4100},"disconnect":{"reason":"z"}}',
        M.DisconnectRequest(disconnect=M.Disconnect(4100, "z")),
    ),
    (
        M.BatchRequest,
        b'{"commands":[{"info":{}},{}],"commands":[{"presence":{"channel":"a"}}]}',
        M.BatchRequest([M.Command(presence=M.PresenceRequest("a"), info=M.InfoRequest())]),
    ),
]


@pytest.mark.parametrize(("kind", "body", "wanted"), TWINS)
def test_what_comes_twice_adds_up(kind, body, wanted) -> None:
    found = API.json_decoder(kind).decode(body)
    if kind is M.PublishRequest:
        found.data = wanted.data
    assert found == wanted


def test_many_that_are_there_once_each_are_read_the_fast_way() -> None:
    body = b'{"commands":[{"publish":{"channel":"a"}},{"publish":{"channel":"b"}}]}'
    (a, b) = API.json_decoder(M.BatchRequest).decode(body).commands
    assert [a.publish.channel, b.publish.channel] == ["a", "b"]


def test_a_payload_that_names_a_map_is_no_twin_of_it():
    body = b'{"result":{"data":{"subs":1},"subs":{"a":{"info":{"subs":2}}}}}'
    result = PROXY.json_decoder(ConnectResponse).decode(body).result
    assert bytes(result.data) == b'{"subs":1}'
    assert bytes(result.subs["a"].info) == b'{"subs":2}'
