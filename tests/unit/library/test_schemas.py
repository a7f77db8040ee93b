"""Schemas of payloads: what does not fit is refused, typed channels, AsyncAPI documents."""

import dataclasses
import sys
from collections import defaultdict

import aiohttp
import msgspec
import pydantic
import pytest

import flyball
from flyball.core.schemas import MAX_FAULTS, OTHER, PayloadSchema


class Message(msgspec.Struct):
    text: str
    likes: list[int] = []


@dataclasses.dataclass
class Plain:
    text: str
    likes: list[int] = dataclasses.field(default_factory=list)


class Author(pydantic.BaseModel):
    name: str


class Model(pydantic.BaseModel):
    text: str
    likes: list[int] = []
    author: Author | None = None


SCHEMA = {
    "title": "Line",
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "likes": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["text"],
}
PayloadSchema(SCHEMA, "x", defaultdict(int))  # reads files, which must not be in an event loop


@pytest.fixture
def node(flyball_node):
    flyball_node.on_connecting(lambda e: flyball.Credentials(e.token))
    flyball_node.on_subscribe(lambda e: flyball.SubscribeOptions())
    return flyball_node


@pytest.mark.parametrize("kind", [Message, Plain, Model, SCHEMA])
async def test_what_does_not_fit_is_refused(node, flyball_connect, caplog, kind):
    asked = []

    @node.on_publish("chat:*", schema=kind)
    def may_write(event: flyball.Publishing) -> flyball.PublishOptions:
        asked.append(event.json()["text"])
        return flyball.PublishOptions()

    assert may_write.__name__ == "may_write"
    ann = await flyball_connect("ann")
    await ann.subscribe("chat:1")
    await ann.publish("chat:1", {"text": "hi", "likes": [1]})
    for bad, path in (
        ({"text": 1}, "$.text"),
        ({"text": "hi", "likes": [1, "x"]}, "$.likes[1]"),
        ({}, "$" if kind is not Model else "$.text"),
    ):
        caplog.clear()
        with pytest.raises(flyball.Error) as refused:
            await ann.publish("chat:1", bad)
        assert (refused.value.code, refused.value.message) == (107, "bad request")
        told = caplog.messages[0]
        assert told.startswith("publish to 'chat:1' is refused for user 'ann'")
        assert f"at `{path}`" in told or path == "$", told
    bob = await flyball_connect("bob", protocol="protobuf")
    for no_json in (b"[", b"\xff"):
        with pytest.raises(flyball.Error, match="107"):
            await bob.publish("chat:1", no_json)
    assert asked == ["hi"]
    assert [p.json()["text"] for p in ann.take_publications()] == ["hi"]
    assert node.payload_faults["chat:*", "$.text"] >= 1
    assert node.payload_faults["chat:*", "$.likes[]"] == 1
    assert sum(node.payload_faults.values()) == 5


async def test_async_handlers_and_all_channels(node, flyball_connect):
    @node.on_publish(schema=Message)
    async def may_write(event):
        return flyball.PublishOptions()

    @node.on_rpc("add", schema=list[int])
    @flyball.eager
    async def add(event):
        return sum(event.json(list[int]))

    with pytest.raises(flyball.ConfigError, match="on_publish has a handler already"):
        node.on_publish(may_write)
    ann = await flyball_connect("ann")
    await ann.publish("any", {"text": "x"})
    with pytest.raises(flyball.Error, match="107"):
        await ann.publish("any", 1)
    assert (await ann.rpc("add", [1, 2])).json() == 3
    for bad in (["1"], None):
        with pytest.raises(flyball.Error, match="107"):
            await ann.rpc("add", bad)
    assert node.payload_faults == {("*", "$"): 1, ("add", "$[]"): 1, ("add", "$"): 1}


async def test_the_function_given_at_once(node, flyball_connect):
    node._handlers.on_publish(lambda event: flyball.PublishOptions(), Message)
    ann = await flyball_connect("ann")
    with pytest.raises(flyball.Error, match="107"):
        await ann.publish("any", 1)


def test_what_is_no_schema(monkeypatch):
    node = flyball.Node()
    for schema, told in (
        (7, "schema of 'chat' is 7, which says nothing of a payload"),
        ({"type": "nothing"}, "schema of 'chat' is no JSON Schema: 'nothing' is not valid"),
    ):
        with pytest.raises(flyball.ConfigError, match=told):
            node.on_publish("chat", schema=schema)
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(flyball.ConfigError, match=r"pip install flyball\[schemas\]"):
        node.on_publish("chat", schema=SCHEMA)


def test_faults_are_counted_within_bounds():
    faults = defaultdict(int)
    schema = PayloadSchema(
        {"type": "object", "additionalProperties": {"type": "null"}}, "x", faults
    )
    for number in range(MAX_FAULTS + 5):
        with pytest.raises(flyball.Error):
            schema.check(flyball.Raw(b'{"k%d":1}' % number))
    assert len(faults) == MAX_FAULTS + 1
    assert faults[OTHER] == 5


@pytest.mark.parametrize("kind", [Message, Plain, Model])
async def test_typed_channels(node, flyball_connect, kind):
    chat = node.channel("chat:*", kind)

    @chat.on_publish
    def may_write(event):
        return flyball.PublishOptions(history_size=9, history_ttl=60)

    @chat.on_subscribe
    def may_read(event):
        return flyball.SubscribeOptions(presence=True)

    ann = await flyball_connect("ann")
    await ann.subscribe("chat:1")
    async with chat.subscribe("chat:1") as messages:
        await ann.publish("chat:1", {"text": "from ann"})
        with pytest.raises(flyball.Error, match="107"):
            await ann.publish("chat:1", {"txet": "from ann"})
        result = await chat.publish("chat:1", kind(text="from here", likes=[1]), tags={"a": "b"})
        await node.publish("chat:1", "whatever")
        first, second = await anext(messages), await anext(messages)
        assert (type(first), first.text) == (kind, "from ann")
        assert (second.text, second.likes) == ("from here", [1])
        assert messages.publication.tags == {"a": "b"}
        with pytest.raises(flyball.Error, match="107 bad request: the payload does not fit"):
            await anext(messages)
    assert [message async for message in messages] == []
    assert result.epoch == ""
    assert len(ann.take_publications()) == 3
    for wrong in (chat.publish("news", kind(text="x")), chat.publish("chat:1", {"text": "x"})):
        with pytest.raises((flyball.ConfigError, TypeError), match=r"no channel of 'chat:|are "):
            await wrong
    with pytest.raises(flyball.ConfigError, match=r"'news' is no channel of 'chat:\*'"):
        chat.subscribe("news")


async def test_typed_channels_of_other_types(node):
    numbers = node.channel("numbers", dict[str, int])
    async with numbers.subscribe("numbers") as reader:
        await numbers.publish("numbers", {"a": 1})
        async for value in reader:
            assert value == {"a": 1}
            break


async def test_what_a_payload_cannot_hold(node):
    await node.publish("x", Model(text="a", author=Author(name="b")))
    with pytest.raises(TypeError, match=r"a payload cannot hold object .*convert it"):
        await node.publish("x", object())


@pytest.fixture
def described():
    node = flyball.Node(flyball.NodeOptions(name="Chat", version="7"))
    node.on_connecting(lambda e: flyball.Credentials())
    node.on_subscribe("chat:*")(lambda e: flyball.SubscribeOptions())
    node.on_subscribe("news")(lambda e: flyball.SubscribeOptions())
    node.on_publish("chat:*", schema=Message)(lambda e: flyball.PublishOptions())
    node.on_publish("log.*", schema=SCHEMA)(lambda e: flyball.PublishOptions())
    node.on_publish(schema=Model)(lambda e: flyball.PublishOptions())
    node.on_rpc("add", schema=list[int])(lambda e: 1)
    return node


def references(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "$ref" else references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_asyncapi(described):
    made = flyball.asyncapi(described)
    assert made["asyncapi"] == "3.0.0"
    assert made["info"] == {"title": "Chat", "version": "7"}
    chat = made["channels"]["chat"]
    assert (chat["address"], list(chat["parameters"])) == ("chat:{part1}", ["part1"])
    assert chat["messages"]["Message"]["payload"] == {"$ref": "#/components/schemas/Message"}
    assert made["components"]["schemas"]["Message"]["required"] == ["text"]
    assert set(made["components"]["schemas"]) == {"Message", "Model", "Author"}
    assert made["channels"]["log"]["messages"]["Line"]["payload"] == SCHEMA
    assert made["channels"]["news"]["messages"]["any"]["payload"] == {}
    assert {name: o["action"] for name, o in made["operations"].items()} == {
        "subscribe_chat": "send",
        "subscribe_news": "send",
        "publish_chat": "receive",
        "publish_log": "receive",
        "publish_all": "receive",
        "rpc_rpc_add": "receive",
    }
    assert made["operations"]["rpc_rpc_add"]["reply"] == {}
    for reference in references(made):
        found = made
        for key in reference.removeprefix("#/").split("/"):
            found = found[key]
    assert flyball.asyncapi(flyball.Node(), title="T", version="1")["info"]["title"] == "T"


async def test_asyncapi_is_served_if_asked_for(described):
    for asked, status in ((True, 200), (False, 404)):
        async with flyball.serve(described, port=0, asyncapi=asked) as listener:
            url = f"http://127.0.0.1:{listener.port}/connection/asyncapi.json"
            async with aiohttp.ClientSession() as web, web.get(url) as answer:
                assert answer.status == status
                if asked:
                    assert await answer.json() == flyball.asyncapi(described)


class TestHostilePayloads:
    """A JSON Schema is asked about whatever strangers send."""

    def refusal(self, schema, text):
        faults = defaultdict(int)
        with pytest.raises(flyball.Error) as caught:
            PayloadSchema(schema, "*", faults).check(flyball.Raw(text))
        assert caught.value.code == 107
        return caught.value.detail, faults

    def test_nothing_of_the_payload_is_told(self):
        schema = {"properties": {"card": {"type": "integer"}}}
        detail, _ = self.refusal(schema, b'{"card":"4111 1111 1111 1111"}')
        assert detail == 'the payload does not fit: type: "integer" - at `$.card`'

    def test_paths_are_cut(self):
        schema = {"additionalProperties": {"type": "integer"}}
        _, faults = self.refusal(schema, b'{"%b":"x"}' % (b"k" * 5000))
        ((_, path),) = faults
        assert len(path) == 128

    @pytest.mark.parametrize("depth", [500, 5000, 100_000])
    def test_deep_payloads_of_schemas_that_name_themselves(self, depth):
        schema = {"items": {"$ref": "#"}, "type": "array"}
        self.refusal(schema, b"[" * depth + b"]" * depth)

    def test_many_faults_are_not_all_looked_for(self):
        schema = {"items": {"type": "integer"}}
        detail, _ = self.refusal(schema, b"[" + b'"x",' * 100_000 + b'"x"]')
        assert "at `$[" in detail

    def test_nothing_is_fetched(self):
        with pytest.raises(flyball.ConfigError, match="none is fetched"):
            PayloadSchema({"$ref": "http://127.0.0.1:9/schema"}, "*", defaultdict(int))
        schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}
        detail, _ = self.refusal(schema, b'{"a":1}')
        assert "none is fetched" in detail


def test_deep_payloads_of_other_kinds():
    with pytest.raises(flyball.Error, match="nested too deep"):
        flyball.Data(b"[" * 100_000 + b"]" * 100_000).json()
