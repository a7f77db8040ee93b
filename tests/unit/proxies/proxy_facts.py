"""The recorded schema of proxies, and messages made from it alone: nothing of ours takes part."""

import json
from functools import cache
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

GOLDEN = Path(__file__).parents[2] / "golden"
FACTS = json.loads((GOLDEN / "proxy.json").read_text())
EXCHANGES = [
    json.loads(line) for line in (GOLDEN / "proxy-exchanges.jsonl").read_text().splitlines()
]
SERVICE = f"{FACTS['package']}.{FACTS['service']}"
PROXIES = {proxy["name"]: proxy for proxy in FACTS["proxies"]}

_Field = descriptor_pb2.FieldDescriptorProto


@cache
def message_class(name):
    """The class of a message, from the facts."""
    return message_factory.GetMessageClass(
        _pool().FindMessageTypeByName(f"{FACTS['package']}.{name}")
    )


@cache
def _pool():
    file = descriptor_pb2.FileDescriptorProto(
        name="facts.proto", package=FACTS["package"], syntax="proto3"
    )
    for name, facts in FACTS["messages"].items():
        message = file.message_type.add(name=name)
        for fact in facts["fields"]:
            _add_field(message, fact)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(message, fact):
    kind, repeated = fact["type"].replace(" ", ""), fact.get("repeated", False)
    if kind.startswith("map<"):
        key, value = kind.removeprefix("map<").removesuffix(">").split(",")
        entry = message.nested_type.add(name=f"{fact['name'].title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _set_type(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL), key)
        _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), value)
        kind, repeated = f"{message.name}.{entry.name}", True
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    field = message.field.add(name=fact["name"], number=fact["number"], label=label)
    _set_type(field, kind)


def _set_type(field, kind):
    scalar = f"TYPE_{kind.upper()}"
    if scalar in _Field.Type.keys():  # noqa: SIM118 - no mapping
        field.type = _Field.Type.Value(scalar)
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{FACTS['package']}.{kind}"


def wire(name, values):
    """A message in Protobuf, from its JSON form: ``bytes`` fields hold JSON text."""
    message = message_class(name)()
    _fill(message, name, values)
    return message.SerializeToString(deterministic=True)


def _fill(message, name, values):
    types = {fact["name"]: fact["type"] for fact in FACTS["messages"][name]["fields"]}
    for key, value in values.items():
        kind = types[key]
        if kind == "bytes":
            setattr(message, key, json.dumps(value, separators=(",", ":")).encode())
        elif kind in FACTS["messages"]:
            part = getattr(message, key)
            part.SetInParent()
            _fill(part, kind, value)
        elif isinstance(value, dict):
            getattr(message, key).update(value)
        elif isinstance(value, list):
            getattr(message, key).extend(value)
        else:
            setattr(message, key, value)
