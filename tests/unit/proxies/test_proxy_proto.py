"""``proxy.proto``, the messages and the kinds of questions, beside the recorded schema."""

import pytest
from google.protobuf import descriptor_pb2
from msgspec import inspect
from proxy_facts import FACTS, PROXIES

from flyball.server.channels import ProxyKind
from flyball.server.proxies import kinds
from flyball.server.proxies.grpc import SERVICE
from flyball.server.proxies.schema import PACKAGE, PROXY

QUESTIONS = [each for each in vars(kinds).values() if isinstance(each, kinds.Question)]
MESSAGES = [struct for struct in PROXY.table if struct.__name__ in FACTS["messages"]]


@pytest.mark.parametrize("struct", MESSAGES, ids=lambda s: s.__name__)
def test_names_numbers_and_types_are_those_of_the_facts(struct):
    facts = FACTS["messages"][struct.__name__]["fields"]
    descriptor = PROXY.protobuf.classes[struct].DESCRIPTOR
    assert descriptor.full_name == f"{FACTS['package']}.{struct.__name__}"
    found = [(f.name, f.number, type_name(f)) for f in descriptor.fields]
    assert found == [(f["name"], f["number"], f["type"].replace(" ", "")) for f in facts]
    assert [f.is_repeated for f in descriptor.fields if not is_map(f)] == [
        f.get("repeated", False) for f in facts if not f["type"].startswith("map<")
    ]


def is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def type_name(field):
    if is_map(field):
        key, value = field.message_type.fields
        return f"map<{type_name(key)},{type_name(value)}>"
    if field.message_type is None:
        kind = descriptor_pb2.FieldDescriptorProto.Type.Name(field.type)
        return kind.removeprefix("TYPE_").lower()
    return field.message_type.name


@pytest.mark.parametrize("struct", MESSAGES, ids=lambda s: s.__name__)
def test_json_names_are_those_of_the_facts(struct):
    facts = FACTS["messages"][struct.__name__]["fields"]
    own = inspect.type_info(struct).fields
    assert [f.encode_name for f in own] == [f["json"] for f in facts]
    assert [f.required for f in own] == [f.get("always_emitted", False) for f in facts]


UNUSED = {"Int32Value", "ChannelEvent"}
"""Messages that only belong to calls which the original never makes."""


def test_every_message_has_its_struct():
    own = {struct.__name__ for struct in MESSAGES}
    missing = set(FACTS["messages"]) - own - UNUSED
    assert all(name.startswith("Notify") for name in missing)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.method)
def test_questions_are_those_of_the_facts(question):
    (facts,) = [proxy for proxy in PROXIES.values() if proxy["grpc_method"] == question.method]
    assert question.kind == facts["metrics_type"]
    assert question.request.__name__ == facts["request"].removeprefix("stream ")
    assert question.response.__name__ == facts["response"].removeprefix("stream ")
    (rpc,) = [rpc for rpc in FACTS["rpcs"] if rpc["name"] == question.method]
    assert rpc["path"] == f"/{SERVICE}/{question.method}"
    assert rpc["oss"]


def test_every_kind_is_known():
    assert {proxy["metrics_type"] for proxy in PROXIES.values()} == set(ProxyKind)
    assert FACTS["package"] == PACKAGE
