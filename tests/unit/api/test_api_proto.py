"""Messages of the server API in both encodings, and ``api.proto`` beside the facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from anymessage import messages
from google.protobuf import descriptor_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

import flyball.server.api
from flyball.protocol.codec import DecodeError
from flyball.protocol.messages import U64
from flyball.protocol.schema import Schema
from flyball.server.api import messages as m
from flyball.server.api.methods import FIRST_OWN
from flyball.server.api.schema import API, PACKAGE

ROOT = Path(__file__).parents[3]
FACTS = json.loads((ROOT / "tests/golden/server-api.json").read_text())["messages"]
FOLDER = Path(flyball.server.api.__file__).parent
DESCRIPTORS = descriptor_pb2.FileDescriptorSet.FromString((FOLDER / "api.binpb").read_bytes())

relaxed = settings(suppress_health_check=list(HealthCheck), max_examples=200)
any_message = st.sampled_from(sorted(API.table, key=lambda s: s.__name__)).flatmap(
    lambda struct: messages(API.table, struct)
)


@pytest.mark.parametrize("struct", API.table, ids=lambda s: s.__name__)
def test_names_numbers_and_types_are_those_of_the_facts(struct):
    known = FACTS.get(struct.__name__, {"fields": []})
    facts = {f["name"]: f for f in known["fields"]}
    descriptor = API.protobuf.classes[struct].DESCRIPTOR
    assert descriptor.full_name == f"{PACKAGE}.{struct.__name__}"
    assert [f.name for f in descriptor.fields] == [f.name for f in API.table[struct]]
    for field in descriptor.fields:
        if struct.__name__ not in FACTS or field.number >= FIRST_OWN:
            continue
        fact = facts[field.name]
        assert field.number == fact["number"]
        assert type_name(field) == fact["type"].replace(" ", "")


def type_name(field):
    if field.message_type is None:
        return (
            descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        )
    if field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return f"map<{type_name(key)},{type_name(value)}>"
    return field.message_type.name


@relaxed
@given(any_message)
def test_messages_survive(message):
    struct = type(message)
    assert API.protobuf.read(struct, API.protobuf.write(message)) == message
    line = API.json_writer.encode(message)
    assert line == API.json_writer.write(message), "the fast and the exact writer agree"
    json.loads(line)
    plain = API.json_reader.read(struct, line)
    assert API.json_writer.write(plain) == line
    assert API.json_decoder(struct).decode(line) == plain


@pytest.mark.parametrize(
    ("struct", "body"),
    [
        (m.PublishRequest, b'{"channel":"a","data":1,"version":18446744073709551616}'),
        (m.HistoryRequest, b'{"channel":"a","since":{"offset":18446744073709551616}}'),
        (m.BatchRequest, b'{"commands":[null,{"publish":{"version":18446744073709551616}}]}'),
        (m.PublishRequest, b'{"channel":"a","data":{"a":01}}'),
        (m.PublishRequest, b'{"channel":"a"} x'),
        (m.HistoryRequest, b'{"limit":1.5}'),
        (m.HistoryRequest, b'{"limit":2147483648}'),
        (m.PublishRequest, b"[" * 200_000),
        (m.PublishRequest, b'{"data":' + b"[" * 200_000),
        (m.PublishRequest, b'{"channel":"\xff"}'),
    ],
)
def test_what_is_no_request(struct, body):
    with pytest.raises(DecodeError):
        API.json_decoder(struct).decode(body)


def test_gaps_in_a_batch_stay():
    batch = API.json_decoder(m.BatchRequest).decode(b'{"Commands":[null,{"info":{}},{}]}')
    assert batch.commands == [None, m.Command(info=m.InfoRequest()), m.Command()]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-3.0, "-3"),
        (1.5, "1.5"),
        (0.0001, "0.0001"),
        (1e-5, "1e-05"),
        (6.344e-06, "6.344e-06"),
        (1e-10, "1e-10"),
        (123456.0, "123456"),
        (1e6, "1e+06"),
        (12345678.5, "1.23456785e+07"),
        (-1e100, "-1e+100"),
    ],
)
def test_decimals(value, text):
    assert API.json_writer.encode(m.Metrics(value)) == f'{{"interval":{text}}}'.encode()


def test_lone_surrogates_are_replaced_in_protobuf():
    node = m.NodeResult(
        uid="1", name="\ud800", version="", num_clients=0, num_users=0, num_channels=0, num_subs=0
    )
    read = API.protobuf.read(m.NodeResult, API.protobuf.write(node))
    assert read.name == "\ufffd"


def test_gaps_are_written():
    batch = m.BatchRequest([None, m.Command(info=m.InfoRequest())])
    assert API.json_writer.write(batch) == b'{"commands":[null,{"info":{}}]}'


@pytest.mark.parametrize("text", ["{}", '"1"', "1e999", "-"])
def test_what_is_no_decimal(text):
    with pytest.raises(DecodeError, match="a number for 'interval'"):
        API.json_reader.read(m.Metrics, f'{{"interval":{text}}}'.encode())


class Leaf(Struct):
    offset: U64 = 0


class Tree(Struct):
    leaves: dict[str, Leaf] | None = None


def test_numbers_inside_maps_have_bounds():
    decoder = Schema((Tree,)).json_decoder(Tree)
    assert decoder.decode(b'{"leaves":{"a":{"offset":18446744073709551615}}}').leaves is not None
    with pytest.raises(DecodeError):
        decoder.decode(b'{"leaves":{"a":{"offset":18446744073709551616}}}')


def test_maps_of_whole_numbers():
    # Also deep in what is always written.
    told = m.ConnectionsResult({"a": m.ConnectionInfo(latency=0.0, num_channels=1)})
    assert API.json_writer.encode(told) == b'{"connections":{"a":{"num_channels":1}}}'
    told = m.ConnectionsResult({"a": m.ConnectionInfo(latency=0.00001)})
    assert API.json_writer.encode(told) == b'{"connections":{"a":{"latency":1e-05}}}'
    metrics = m.Metrics(1.5, {"b": 2.0, "a": 0.5})
    assert API.json_writer.encode(metrics) == b'{"interval":1.5,"items":{"a":0.5,"b":2}}'
