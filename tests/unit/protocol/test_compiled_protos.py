"""The descriptor sets that the package reads are those of the ``.proto`` files beside them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parents[3]
_spec = importlib.util.spec_from_file_location("compile", ROOT / "scripts/compile_protos.py")
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)


@pytest.mark.parametrize("source", script.SOURCES, ids=lambda path: path.name)
def test_the_compiled_set_is_up_to_date(source):
    pytest.importorskip("grpc_tools")
    compiled = FileDescriptorSet.FromString(script.compile_proto(source))
    # compared as messages: another protoc may write the fields in another order
    assert FileDescriptorSet.FromString(source.with_suffix(".binpb").read_bytes()) == compiled


def test_no_set_is_without_its_source():
    assert {s.with_suffix(".binpb") for s in script.SOURCES} == set(script.PACKAGE.rglob("*.binpb"))
