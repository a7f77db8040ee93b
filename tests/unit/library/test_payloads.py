"""Payloads as a program sees them: in publications, events, history and in the testing kit."""

import dataclasses
import typing

import msgspec
import pydantic
import pytest

import flyball
from flyball.testing import TestClient


class Struct(msgspec.Struct):
    text: str
    likes: list[int] = []


@dataclasses.dataclass
class Plain:
    text: str
    likes: list[int] = dataclasses.field(default_factory=list)


class Dict(typing.TypedDict):
    text: str


class Model(pydantic.BaseModel):
    text: str
    likes: list[int] = []


GOOD = flyball.Data(b'{"text":"hi","likes":[1]}')


def test_data_is_bytes_that_prints_as_what_it_is():
    assert GOOD == b'{"text":"hi","likes":[1]}'
    assert hash(GOOD) == hash(bytes(GOOD))
    assert repr(GOOD) == """Data(b'{"text":"hi","likes":[1]}')"""
    assert str(GOOD) == f"{GOOD}" == '{"text":"hi","likes":[1]}'
    assert str(flyball.Data(b"\xff")) == "\ufffd"
    assert GOOD.json() == {"text": "hi", "likes": [1]}
    assert flyball.Data().json() is None


@pytest.mark.parametrize("kind", [Struct, Plain, Model])
def test_data_becomes_what_is_wanted(kind):
    made = GOOD.json(type=kind)
    assert type(made) is kind
    assert (made.text, made.likes) == ("hi", [1])
    with pytest.raises(
        flyball.Error, match=r"107 bad request: .*does not fit: .* at `\$\.likes\[1\]`"
    ):
        flyball.Data(b'{"text":"hi","likes":[1,"x"]}').json(kind)
    for nothing in (b"", b"[", b"\xff"):
        with pytest.raises(flyball.Error, match="107 bad request: the payload"):
            flyball.Data(nothing).json(kind)


def test_other_types_and_faults():
    assert flyball.Data(b'{"text":"hi"}').json(Dict) == {"text": "hi"}
    assert flyball.Data(b'{"a":1}').json(dict[str, int]) == {"a": 1}
    with pytest.raises(
        flyball.Error, match=r"does not fit: Expected `int`, got `str` - at `\$\[\.\.\.\]`"
    ):
        flyball.Data(b'{"a":"b"}').json(dict[str, int])

    class Strict(pydantic.BaseModel):
        @pydantic.model_validator(mode="before")
        @classmethod
        def check(cls, value):
            raise ValueError("never")

    with pytest.raises(flyball.Error, match=r"Value error, never - at `\$`"):
        flyball.Data(b"{}").json(Strict)

    class Own:
        @staticmethod
        def model_validate_json(data):
            raise ValueError("not that one")

    with pytest.raises(flyball.Error, match="the payload does not fit: not that one"):
        flyball.Data(b"{}").json(Own)


async def test_publications_in_a_program(flyball_node):
    kept = {"history_size": 9, "history_ttl": 60}
    async with flyball_node.subscribe("news") as reader:
        await flyball_node.publish("news", {"text": "hi"}, **kept, tags={"a": "b"}, version=7)
        publication = await anext(reader)
    assert publication.data == b'{"text":"hi"}'
    assert repr(publication) == 'Publication({"text":"hi"}, offset=1)'
    assert publication.json() == {"text": "hi"}
    assert publication.json(type=Struct).text == "hi"
    assert (publication.tags, publication.version) == ({"a": "b"}, 7)
    found = await flyball_node.history("news")
    assert [p.json(Model).text for p in found.publications] == ["hi"]
    assert found.position.offset == 1
    await flyball_node.publish("copy", publication.data)
    await flyball_node.publish("copy", publication.raw)


async def test_events_and_answers(flyball_node):
    seen = []
    flyball_node.on_connecting(lambda event: flyball.Credentials("ann"))

    @flyball_node.on_rpc("echo")
    def echo(event: flyball.Rpc):
        seen.append((event.data, event.raw, event.json(Struct)))
        return event.data

    client = TestClient(flyball_node)
    await client.connect(data={"from": "here"})
    answer = await client.rpc("echo", {"text": "hi"})
    assert answer == b'{"text":"hi"}'
    assert answer.json() == {"text": "hi"}
    assert seen[0][0] == answer
    assert bytes(seen[0][1]) == answer
    assert seen[0][2] == Struct("hi")
    with pytest.raises(flyball.Error) as refused:
        await client.rpc("echo", {"text": 1})
    assert refused.value.code == 107


async def test_publications_in_tests(flyball_node):
    flyball_node.on_connecting(lambda event: flyball.Credentials("ann"))
    flyball_node.on_subscribe(lambda event: flyball.SubscribeOptions())
    client = TestClient(flyball_node)
    await client.connect()
    await client.subscribe("news")
    await flyball_node.publish("news", [1])
    (publication,) = client.take_publications("news")
    assert publication.data == b"[1]"
    assert publication.json() == [1]
    assert repr(publication) == "Publication([1])"
