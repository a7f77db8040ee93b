"""``publication_schema``: what clients and the API may publish in a namespace."""

import json

import pytest

import flyball
from flyball.server.api import messages
from flyball.server.api.errors import ApiError
from flyball.server.api.methods import METHODS
from flyball.server.app import Server
from flyball.server.build import channel_rules
from flyball.server.channels import PUBLISH, decide
from flyball.server.config import ConfigProblems, check, load_config
from flyball.testing import TestClient

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "likes": {"items": {"type": "integer"}}},
    "required": ["text"],
}
OPEN = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_anonymous": True,
}


def loaded(tmp_path, schema, place="namespace", **environ):
    options = {**OPEN, "publication_schema": schema}
    channel = {"without_namespace": options}
    if place == "namespace":
        channel = {"namespaces": [{"name": "chat", **options}], "without_namespace": OPEN}
    path = tmp_path / "config.json"
    client = {"allow_anonymous_connect_without_token": True}
    path.write_text(json.dumps({"client": client, "channel": channel}))
    return load_config(path, environ=environ).config


@pytest.fixture(params=["inline", "text", "file"])
def schema(request, tmp_path):
    """The schema in each form that the option may have."""
    if request.param == "inline":
        return SCHEMA
    if request.param == "text":
        return json.dumps(SCHEMA)
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    return str(tmp_path / "schema.json")


async def test_clients_and_the_api_are_refused_what_does_not_fit(tmp_path, schema):
    config = loaded(tmp_path, schema)
    check(config)
    server = Server(config)
    async with server.node:
        client = TestClient(server.node)
        await client.connect()
        await client.publish("chat:1", {"text": "hi"})
        await client.publish("free", {"anything": 1})
        for bad, path in (
            ({}, "$"),
            ({"text": 1}, "$.text"),
            ({"text": "", "likes": ["x"]}, "$.likes[]"),
        ):
            with pytest.raises(flyball.Error) as refused:
                await client.publish("chat:1", bad)
            assert refused.value.code == 107
            assert server.node.metrics.payload_faults["chat:*", path] == 1
        request = messages.PublishRequest("chat:1", flyball.Raw(b'{"text":1}'))
        with pytest.raises(ApiError) as failed:
            await server.api.call(METHODS["publish"], request)
        assert failed.value.entry.code == 107
    assert server.node.metrics.payload_faults["chat:*", "$.text"] == 2


async def test_a_reload_takes_a_new_schema_and_keeps_the_counts(tmp_path):
    server = Server(loaded(tmp_path, SCHEMA, "without"))
    async with server.node:
        client = TestClient(server.node)
        await client.connect()
        with pytest.raises(flyball.Error):
            await client.publish("a", {"text": 1})
        server.reload(loaded(tmp_path, {"required": ["number"]}, "without"))
        with pytest.raises(flyball.Error):
            await client.publish("a", {"text": "hi"})
        await client.publish("a", {"number": 1})
    assert dict(server.node.metrics.payload_faults) == {("*", "$.text"): 1, ("*", "$"): 1}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("/no/such/file.json", "cannot read '/no/such/file.json': No such file or directory"),
        ("{", "is no JSON"),
        ("file:list", "must be an object"),
        ("file:large", "has more than 1048576 bytes"),
        ({"type": "nothing"}, "is no JSON Schema"),
        ({"$ref": "http://127.0.0.1:9/x"}, "none is fetched"),
    ],
)
def test_what_is_no_schema_stops_the_start(tmp_path, schema, said):
    if schema in ("file:list", "file:large"):
        (tmp_path / "x").write_text("[]" if schema == "file:list" else " " * 1048577)
        schema = str(tmp_path / "x")
    with pytest.raises(ConfigProblems) as caught:
        check(loaded(tmp_path, schema))
    assert "channel.namespaces[0].publication_schema" in str(caught.value)
    assert said in str(caught.value)


def test_the_log_is_told_the_rule_and_the_path(tmp_path):
    rules = channel_rules(loaded(tmp_path, SCHEMA))
    decision = decide(
        PUBLISH,
        rules.resolve("chat:1"),
        user="",
        subscribed=False,
        insecure=False,
        data=flyball.Raw(b'{"text":1}'),
    )
    assert not decision.allowed
    assert "publication_schema (the payload does not fit" in str(decision.exception("publish"))
    assert "at `$.text`" in str(decision.exception("publish"))
