"""The HTTP side: keys, verbs, bodies, error modes, the legacy route."""

from __future__ import annotations

import asyncio
import json

import pytest
from asking import ask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from flyball.core.types import PublishResult
from flyball.http.asgi_bridge import serve
from flyball.http.routes import Routes
from flyball.server.api import messages as m
from flyball.server.api.auth import ApiKeyCheck
from flyball.server.api.http import ApiHandler, HttpApiOptions
from flyball.server.api.methods import METHODS
from flyball.server.api.schema import API
from flyball.server.logs import Redactor

PUBLISH = '{"channel":"news","data":{}}'


# -- the key


@pytest.mark.parametrize(
    ("headers", "query", "allowed"),
    [
        ({}, "", False),
        ({"x-api-key": "secret"}, "", True),
        ({"x-api-key": "Secret"}, "", False),
        ({"x-api-key": "secret "}, "", False),
        ({"authorization": "apikey secret"}, "", True),
        ({"authorization": "ApiKey   secret"}, "", True),
        ({"authorization": "bearer secret"}, "", False),
        ({"authorization": "apikey"}, "", False),
        ({"authorization": "apikey secret more"}, "", False),
        # the header hides the other one, right or wrong; an empty one does not
        ({"x-api-key": "bad", "authorization": "apikey secret"}, "", False),
        ({"x-api-key": "", "authorization": "apikey secret"}, "", True),
        # the query is the last resort of all
        ({}, "api_key=secret", True),
        ({"x-api-key": "bad"}, "api_key=secret", True),
        ({"authorization": "apikey bad"}, "a=b&api_key=secret", True),
        ({"x-api-key": "bad"}, "api_key=bad", False),
        ({}, "api_key=", False),
        ({}, "api_key=bad&api_key=secret", False),
        ({}, "api_key=sec%72et", True),
        ({}, "api_key=%ff%zz", False),
        ({"x-api-key": "secr\u00e9t"}, "", False),
        ({"x-api-key": "secr\u20act"}, "", False),
    ],
)
def test_key(headers: dict[str, str], query: str, allowed: bool) -> None:
    assert ApiKeyCheck("secret")(headers, query) is allowed


def test_key_beyond_ascii() -> None:
    check = ApiKeyCheck("cl\u00e9")
    assert check({"x-api-key": "cl\u00e9".encode().decode("latin-1")}, "")
    assert check({}, "api_key=cl%C3%A9")
    assert not check({"x-api-key": "cl\u00e9"}, "")


@pytest.mark.parametrize("query", ["", "api_key="])
def test_without_a_key_nobody_gets_in(query: str) -> None:
    assert not ApiKeyCheck("")({"x-api-key": ""}, query)


async def test_insecure_asks_for_no_key(api) -> None:
    handler = ApiHandler(api.service, HttpApiOptions(insecure=True))
    assert ask(handler.routes(), "POST", "/api/publish", "", {}, PUBLISH.encode()).status == 200


async def test_route_is_looked_at_before_verb_and_key(api) -> None:
    assert (await api.request("/api/nosuch", PUBLISH, {}, "GET")).status == 404
    assert (await api.request("/api/publish", PUBLISH, {}, "GET")).status == 405
    assert (await api.request("/api/publish", PUBLISH, {})).status == 401


@pytest.mark.parametrize("name", [n for n, own in METHODS.items() if not own.available])
async def test_unavailable_methods_have_no_route(api, name: str) -> None:
    assert (await api.request(f"/api/{name}", "{}")).status == 404


@pytest.mark.parametrize(
    ("prefix", "legacy", "publish"),
    [("/api", "/api", "/api/publish"), ("/x/", "/x", "/x/publish"), ("/", "/", "/publish")],
)
async def test_prefix(api, prefix: str, legacy: str, publish: str) -> None:
    handler = ApiHandler(api.service, HttpApiOptions(prefix=prefix, insecure=True))
    paths = {row.path for row in handler.routes()}
    assert {legacy, publish} <= paths
    assert len(paths) == sum(own.available for own in METHODS.values()) + 1
    assert ask(handler.routes(), "POST", publish, "", {}, PUBLISH.encode()).status == 200


# -- bodies


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "{bad",
        "[]",
        '"x"',
        "5",
        PUBLISH + "{}",
        '{"channel":["news"]}',
        '{"channel":"news","data":{},"version":-1}',
        '{"channel":"news","data":{},"version":18446744073709551616}',
        '{"channel":"news","data":{},"version":1.5}',
        '{"channel":"news","data":{},"tags":{"a":1}}',
        '{"channel":"news","data":{},"tags":["a"]}',
        '{"channel":"news","data":{},"delta":"true"}',
        '{"channel":"news","data":nan}',
        '{"channel":"news","data":' + "[" * 100_000,
        '{"unknown":1,"data":' + "[" * 100_000,
        b'{"channel":"news","data":"\xff"}',
        b'{"channel":"\xff","data":{}}',
        b'{"unknown":"\xff","channel":"news","data":{}}',
    ],
)
async def test_malformed_bodies(api, body: str | bytes) -> None:
    response = await api.request("/api/publish", body)
    assert (response.status, response.body) == (400, b"Bad Request\n")
    assert response.content_type == "text/plain; charset=utf-8"
    assert api.service.metrics.errors == {("http", "publish", "unmarshal"): 1}


@pytest.mark.parametrize(
    "body",
    [
        '{"Channel":"news","DATA":{}}',
        '{"channel":"news","data":{},"unknown":{"a":[1]}}',
        '{"channel":"news","data":{},"tags":null,"b64data":null,"version":null,"delta":null}',
        '{"channel":"news","data":{},"tags":{"a":null}}',
        '{"channel":"news","data":{},"version":18446744073709551615}',
        ' \n{"channel" : "news" , "data" : null}\t',
        '{"channel":"news","data":"\\ud800 alone"}',
        '{"channel":"news","data":"\\ud83d\\ude00"}',
    ],
)
async def test_tolerated_bodies(api, body: str) -> None:
    assert await api.text("/api/publish", body) == '{"result":{}}'


async def test_null_is_an_empty_request(api) -> None:
    answer = await api.text("/api/publish", "null")
    assert answer == '{"error":{"code":107,"message":"bad request"}}'


async def test_nested_names_in_any_case(api) -> None:
    body = '{"Commands":[{"Publish":{"Channel":"news","data":{}}},{"HISTORY":null}],"x":1}'
    answer = await api.text("/api/batch", body)
    assert answer == ('{"replies":[{"publish":{}},{"error":{"code":104,"message":"not found"}}]}')


async def test_lists_in_tolerated_bodies(api) -> None:
    answer = await api.text("/api/broadcast", '{"Channels":["news",null],"data":1}')
    assert [reply.get("error", {}).get("code") for reply in responses(answer)] == [None, 107]
    filters = '{"op":"or","nodes":[{"key":"k","vals":[null]},null]}'
    body = f'{{"Channel":"news","user":"u","label_filter":{filters}}}'
    assert await api.text("/api/subscribe", body) == '{"result":{}}'
    body = body.replace('"vals":[null]', '"vals":[1]')
    assert (await api.request("/api/subscribe", body)).status == 400


def responses(answer: str) -> list[dict]:
    return json.loads(answer)["result"]["responses"]


async def test_lone_surrogates_in_payloads_are_passed_on(api) -> None:
    await api.text("/api/publish", r'{"channel":"hist:s","data":"\ud800\\ud800\ud83d\ude00"}')
    history = await api.text("/api/history", '{"channel":"hist:s","limit":1}')
    assert r'"data":"\ud800\\ud800\ud83d\ude00"' in history


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "channel",
        "channels",
        "data",
        "b64data",
        "limit",
        "since",
        "offset",
        "epoch",
        "user",
        "commands",
        "publish",
        "tags",
        "version",
        "override",
        "presence",
        "method",
        "params",
        "id",
    ]
)
bodies = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(
        names, json_values | st.dictionaries(names, json_values, max_size=3), max_size=4
    ).map(lambda value: json.dumps(value).encode()),
    st.lists(json_values, max_size=3).map(lambda v: "".join(map(json.dumps, v)).encode()),
)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    path=st.sampled_from(["", *(f"/{n}" for n, own in METHODS.items() if own.available)]),
    body=bodies,
)
def test_any_body_gets_an_answer(api, path: str, body: bytes) -> None:
    response = ask(api.handler.routes(), "POST", "/api" + path, "", {"x-api-key": "api-key"}, body)
    if isinstance(response, asyncio.Future):  # only surveys wait, and not on a single node
        response.cancel()
        pytest.fail("the memory engine made a request wait")
    assert response.status in (200, 400)
    if response.status == 200 and response.body:
        for line in response.body.split(b"\n"):
            assert isinstance(json.loads(line), dict)


# -- errors


async def test_transport_errors_by_option(api) -> None:
    options = HttpApiOptions(insecure=True, transport_errors=True)
    handler = ApiHandler(api.service, options)
    response = ask(handler.routes(), "POST", "/api/presence", "", {}, b'{"channel":"news"}')
    assert (response.status, response.body) == (400, b'{"code":108,"message":"not available"}')
    batch = b'{"commands":[{"presence":{"channel":"news"}}]}'
    response = ask(handler.routes(), "POST", "/api/batch", "", {}, batch)
    assert response.status == 200
    legacy = b'{"method":"presence","params":{"channel":"news"}}'
    assert ask(handler.routes(), "POST", "/api", "", {}, legacy).status == 200


async def test_other_error_modes_mean_nothing(api) -> None:
    headers = {"x-api-key": "api-key", "x-centrifugo-error-mode": "other"}
    assert (await api.request("/api/presence", '{"channel":"news"}', headers)).status == 200


async def test_engine_failure_is_an_internal_error(api, monkeypatch) -> None:
    async def fail(*_args):
        raise OSError("store is gone")

    monkeypatch.setattr(api.node.broker, "publish", fail)
    answer = await api.text("/api/publish", PUBLISH)
    assert answer == '{"error":{"code":100,"message":"internal server error"}}'
    answer = await api.text("/api/broadcast", '{"channels":["news","nons:a"],"data":{}}')
    assert [reply["error"]["code"] for reply in responses(answer)] == [100, 102]
    assert api.service.metrics.errors == {
        ("http", "publish", "100"): 1,
        ("http", "broadcast_publish", "100"): 1,
        ("http", "broadcast_publish", "102"): 1,
    }


async def test_waits_only_if_the_engine_waits(api, monkeypatch) -> None:
    released = asyncio.Event()

    async def slow(*_args):
        await released.wait()
        return PublishResult(7, "abcd")

    monkeypatch.setattr(api.node.broker, "publish", slow)
    headers = {"x-api-key": "api-key"}
    pending = ask(api.handler.routes(), "POST", "/api/publish", "", headers, PUBLISH.encode())
    assert isinstance(pending, asyncio.Task)
    released.set()
    assert (await pending).body == b'{"result":{"offset":7,"epoch":"abcd"}}'


async def test_binary_data_cannot_be_shown(api) -> None:
    await api.text("/api/publish", '{"channel":"bin:b","b64data":"AAH/"}')
    legacy = '{"method":"history","params":{"channel":"bin:b","limit":1}}'
    batch = '{"commands":[{"history":{"channel":"bin:b","limit":1}}]}'
    for path, body in (("/api", legacy), ("/api/batch", batch)):
        response = await api.request(path, body)
        assert (response.status, response.body) == (500, b"Internal Server Error\n")
    assert api.service.metrics.errors == {
        ("http", "history", "marshal"): 1,
        ("http", "batch", "marshal"): 1,
    }


async def test_payloads_cannot_escape_their_place(api) -> None:
    # base64 of: 1},{"data":2
    await api.text("/api/publish", '{"channel":"bin:i","b64data":"MX0seyJkYXRhIjoy"}')
    assert (await api.request("/api/history", '{"channel":"bin:i","limit":1}')).status == 500


async def test_output_is_compact_and_safe_in_html(api) -> None:
    body = '{"channel":"hist:h","data":{ "a" : "<x> & \u2028\u2029 y" },"tags":{"z":"<","a":"b"}}'
    await api.text("/api/publish", body)
    history = await api.text("/api/history", '{"channel":"hist:h","limit":1}')
    assert (
        r'{"data":{"a":"\u003cx\u003e \u0026 \u2028\u2029 y"},"offset":1,'
        r'"tags":{"a":"b","z":"\u003c"}}'
    ) in history


@pytest.mark.parametrize(
    "result",
    [
        m.RPCResult(Raw(b'{ "a": "<" }')),
        m.MapReadStateResult([m.MapEntry("k", Raw(b'{ "a": "<" }'))]),
        m.MapReadStreamResult([m.MapEntry("k", Raw(b'{ "a": "<" }'))]),
    ],
)
def test_every_payload_is_made_fit(result) -> None:
    assert rb'"data":{"a":"\u003c"}' in API.json_writer.encode(result)


# -- the legacy route


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ('{"params":' + PUBLISH + "}", '{"result":{}}'),
        ('{"method":"PubLish","params":' + PUBLISH + "}", '{"result":{}}'),
        ('{"method":0,"params":' + PUBLISH + '}{"id":2,"params":' + PUBLISH + "}",
         '{"result":{}}\n{"id":2,"result":{}}'),
        ('{"method":7,"params":{"channel":"hist:q"}}', '{"result":{}}'),
        ('{"id":1,"method":999}', '{"id":1,"error":{"code":104,"message":"not found"}}'),
        ('{"id":1,"method":13}', '{"id":1,"error":{"code":104,"message":"not found"}}'),
        ('{"method":"block_user"}', '{"error":{"code":104,"message":"not found"}}'),
        ('{"method":"presence"}', '{"error":{"code":107,"message":"bad request"}}'),
        ('{"id":4,"method":"presence","params":{"channel":5}}',
         '{"id":4,"error":{"code":107,"message":"bad request"}}'),
        ("null", '{"error":{"code":107,"message":"bad request"}}'),
        (" \n ", ""),
    ],
)  # fmt: skip
async def test_legacy(api, body: str, answer: str) -> None:
    assert await api.text("/api", body) == answer


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '{"method":"batch","params":{}}',
        '{"method":"0"}',
        '{"method":1.5}',
        '{"method":null}',
        '{"method":{}}',
        '{"id":-1}',
        '{"id":"x"}',
        b"\xff",
        "[" * 100_000,
    ],
)
async def test_legacy_malformed(api, body: str | bytes) -> None:
    assert (await api.request("/api", body)).status == 400


async def test_legacy_commands_before_a_malformed_one_are_done(api) -> None:
    command = '{"params":{"channel":"hist:l","data":1}}'
    assert (await api.request("/api", command + command + "{")).status == 400
    history = json.loads(await api.text("/api/history", '{"channel":"hist:l"}'))
    assert history["result"]["offset"] == 2


async def test_legacy_info_looks_at_no_parameters(api) -> None:
    (reply,) = (await api.text("/api", '{"method":"info","params":[1]}')).splitlines()
    assert json.loads(reply)["result"]["nodes"][0]["uid"] == api.node.id


async def test_legacy_refuses_while_shutting_down(api) -> None:
    await api.node.shutdown()
    assert (await api.request("/api", '{"method":"info"}')).status == 503
    assert (await api.request("/api/info", "{}")).status == 200


# -- ASGI


async def run_asgi(api, scope: dict, *messages: dict) -> list[dict]:
    incoming = iter(messages)
    sent: list[dict] = []

    async def receive() -> dict:
        return next(incoming)

    async def send(message: dict) -> None:
        sent.append(message)

    await serve(Routes(api.handler.routes()), scope, receive, send)
    return sent


def http_scope(path: str = "/api/publish", **changes) -> dict:
    headers = [(b"X-Api-Key", b"api-key")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    return {**scope, "query_string": b"", **changes}


@pytest.mark.parametrize("root", ["", "/mounted"])
async def test_asgi_request(api, root: str) -> None:
    scope = http_scope(root + "/api/publish", root_path=root)
    start, body = await run_asgi(
        api,
        scope,
        {"type": "http.request", "body": PUBLISH[:5].encode(), "more_body": True},
        {"type": "http.request", "body": PUBLISH[5:].encode()},
    )
    assert start["status"] == 200
    assert dict(start["headers"]) == {
        b"content-length": b"13",
        b"content-type": b"application/json",
    }
    assert body["body"] == b'{"result":{}}'


async def test_asgi_refuses_before_reading_the_body(api) -> None:
    start, body = await run_asgi(api, http_scope(headers=[]))
    assert (start["status"], body["body"]) == (401, b"")
    start, _ = await run_asgi(api, http_scope(headers=[], query_string=b"api_key=bad"))
    assert start["status"] == 401


async def test_asgi_peer_goes_away(api) -> None:
    assert await run_asgi(api, http_scope(), {"type": "http.disconnect"}) == []


async def test_asgi_waits_for_the_engine(api, monkeypatch) -> None:
    async def slow(*_args):
        await asyncio.sleep(0)
        return PublishResult(7, "abcd")

    monkeypatch.setattr(api.node.broker, "publish", slow)
    _, body = await run_asgi(api, http_scope(), {"type": "http.request", "body": PUBLISH.encode()})
    assert body["body"] == b'{"result":{"offset":7,"epoch":"abcd"}}'


@pytest.mark.parametrize(
    ("key", "headers", "query", "why"),
    [
        ("", {"x-api-key": "k"}, "", "no API key is configured"),
        ("secret", {}, "", "no API key:"),
        ("secret", {"x-api-key": "wrong"}, "", "a wrong API key"),
        ("secret", {"authorization": "apikey wrong"}, "", "a wrong API key"),
        ("secret", {}, "api_key=wrong", "a wrong API key"),
    ],
)
def test_the_log_is_told_why_without_the_key_and_in_whole_words(key, headers, query, why) -> None:
    check = ApiKeyCheck(key)
    assert not check(headers, query)
    line = f"HTTP 401 from 127.0.0.1:1: {check.why(headers, query)}: POST /api/publish"
    assert why in line
    assert "secret" not in line
    assert Redactor()(None, "info", {"event": line}) == {"event": line}
