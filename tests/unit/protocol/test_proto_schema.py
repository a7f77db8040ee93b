"""``client.proto``, the compiled set and the facts agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

import flyball.protocol
from flyball.protocol.client import CLIENT, PACKAGE

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "tests/golden/client-protocol.json").read_text())
FOLDER = Path(flyball.protocol.__file__).parent
DESCRIPTORS = descriptor_pb2.FileDescriptorSet.FromString((FOLDER / "client.binpb").read_bytes())
FieldProto = descriptor_pb2.FieldDescriptorProto


def test_the_proto_has_exactly_the_messages_of_the_schema():
    (file,) = DESCRIPTORS.file
    assert file.package == PACKAGE
    assert {m.name for m in file.message_type} == set(SCHEMA["messages"])
    for message in file.message_type:
        facts = SCHEMA["messages"][message.name]
        reserved = [n for r in message.reserved_range for n in range(r.start, r.end)]
        assert reserved == facts.get("reserved", [])
        maps = {
            n.name: {f.name: type_name(f) for f in n.field}
            for n in message.nested_type
            if n.options.map_entry
        }
        fields = []
        for f in message.field:
            entry = maps.get(f.type_name.rsplit(".", 1)[-1])
            repeated = "repeated" if f.label == FieldProto.LABEL_REPEATED else "singular"
            if entry is None:
                fields.append((f.name, f.number, type_name(f), repeated, None, None))
            else:
                fields.append((f.name, f.number, "map", "map", entry["key"], entry["value"]))
        assert fields == [
            (f["name"], f["number"], f["type"], f["label"], f.get("map_key"), f.get("map_value"))
            for f in facts["fields"]
        ]


def type_name(field: FieldProto) -> str:
    if field.type == FieldProto.TYPE_MESSAGE:
        return field.type_name.rsplit(".", 1)[-1]
    return FieldProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def test_every_struct_has_its_class_in_a_pool_of_its_own():
    from google.protobuf import descriptor_pool

    for struct, cls in CLIENT.protobuf.classes.items():
        assert cls.DESCRIPTOR.full_name == f"{PACKAGE}.{struct.__name__}"
    # Another package's client.proto may be in the common pool; nothing of ours is.
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.Command")
