"""The schema of the server API as others publish it, written from the facts: for foreign stubs."""

import importlib
import json
import sys
from pathlib import Path

from grpc_tools import protoc

FACTS = json.loads((Path(__file__).parents[1] / "golden/server-api.json").read_text())


def proto_text(facts=FACTS):
    """A ``.proto`` file with all messages and the service."""
    lines = ['syntax = "proto3";', f"package {facts['package']};"]
    for name, message in facts["messages"].items():
        lines.append(f"message {name} {{")
        for field in message["fields"]:
            repeated = "repeated " if field.get("repeated") else ""
            lines.append(f"  {repeated}{field['type']} {field['name']} = {field['number']};")
        lines.append("}")
    lines.append(f"service {facts['service']['name']} {{")
    for call in facts["service"]["rpcs"]:
        lines.append(f"  rpc {call['name']}({call['request']}) returns ({call['response']});")
    return "\n".join([*lines, "}"])


def compiled(folder):
    """Message classes and stubs, as a user makes them of the schema."""
    source = Path(folder) / "facts_api.proto"
    source.write_text(proto_text())
    arguments = ["protoc", f"-I{folder}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main([*arguments, source.name]) == 0
    sys.path.insert(0, str(folder))
    try:
        names = ("facts_api_pb2", "facts_api_pb2_grpc")
        return tuple(map(importlib.import_module, names))
    finally:
        sys.path.remove(str(folder))
