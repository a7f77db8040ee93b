"""Connections, users, channels and explanations over the API."""

import json

import pytest

from flyball.server.api.explain import Question, explain
from flyball.server.api.shared import MAX_KEPT, SharedAnswers
from flyball.testing import TestClock


async def call(api, method, **params):
    return json.loads(await api.text(f"/api/{method}", json.dumps(params)))


async def result(api, method, **params):
    return (await call(api, method, **params))["result"]


async def test_connections_and_users(api):
    recorder = api.connect("hist:a", "news")
    api.connect()
    client = recorder.session.client_id
    found = await result(api, "connections", channel="news")
    assert found == {
        "connections": {
            client: {
                "transport": "websocket",
                "protocol": "json",
                "state": {"channels": {"hist:a": {}, "news": {}}},
                "connected_at_ms": 1795495400000,
                "node": api.node.id,
                "num_channels": 2,
            }
        },
        "total": 1,
    }
    first = await result(api, "connections", limit=1)
    assert first["total"] == 2
    rest = await result(api, "connections", limit=1, cursor=first["cursor"])
    assert len({*first["connections"], *rest["connections"]}) == 2
    assert "cursor" not in rest
    assert (await result(api, "connections", anonymous=True))["total"] == 2
    assert (await result(api, "connections", user="ann")) == {"connections": {}}
    assert (await result(api, "users")) == {"users": {}}  # anonymous ones are nobody


@pytest.mark.parametrize(
    ("params", "code"),
    [({"expression": "a"}, 108), ({"label_filter": {}}, 108), ({"limit": 1001}, 107)],
)
async def test_connections_refused(api, params, code):
    assert (await call(api, "connections", **params))["error"]["code"] == code


async def test_channels_all_or_in_pages(api):
    api.connect("news", "hist:a", "hist:b")
    api.connect("news")
    everything = await api.text("/api/channels", "{}")
    assert everything == (
        '{"result":{"channels":{"hist:a":{"num_clients":1},"hist:b":{"num_clients":1},'
        '"news":{"num_clients":2}}}}'
    )
    one = {"num_clients": 1}
    first = await result(api, "channels", limit=1)
    assert first == {"channels": {"hist:a": one}, "cursor": "hist:a", "total": 3}
    rest = await result(api, "channels", limit=5, cursor="hist:a")
    assert rest == {"channels": {"hist:b": one, "news": {"num_clients": 2}}, "total": 3}
    assert await result(api, "channels", cursor="hist:a") == rest
    busiest = await result(api, "channels", order="clients", limit=1)
    assert busiest == {"channels": {"news": {"num_clients": 2}}, "total": 3}
    by_pattern = await result(api, "channels", pattern="hist:*", order="name")
    assert by_pattern == {"channels": {"hist:a": one, "hist:b": one}, "total": 2}


@pytest.mark.parametrize(
    "params",
    [{"limit": 1001}, {"limit": -1}, {"order": "age"}, {"order": "clients", "cursor": "a"}],
)
async def test_channels_refused(api, params):
    assert (await call(api, "channels", **params))["error"]["code"] == 107


async def test_channel_state(api):
    api.connect("hist:a")
    await api.node.publish("hist:a", {}, history_size=10, history_ttl=60)
    found = await result(api, "channel_state", channel="hist:a")
    assert found.pop("epoch")
    assert found == {
        "nodes": {api.node.id: {"num_clients": 1}},
        "num_clients": 1,
        "namespace": "hist",
        "has_presence": True,
        "presence_clients": 1,
        "presence_users": 1,
        "has_history": True,
        "offset": 1,
    }
    assert await result(api, "channel_state", channel="news") == {"nodes": {}, "num_clients": 0}
    assert (await call(api, "channel_state", channel="none:a"))["error"]["code"] == 102


async def test_explain(api):
    found = await result(api, "explain", operation="publish", channel="news", user="ann")
    assert found["verdict"] == "refuse"
    assert (found["code"], found["message"]) == (103, "permission denied")
    assert found["steps"][0] == {"rule": "publish_proxy_enabled", "outcome": "is off"}
    assert found["steps"][-1] == {
        "rule": "nothing allows it",
        "outcome": "refuses it",
        "decided": True,
    }
    for wrong in ({"operation": "fly", "channel": "a"}, {"operation": "publish"}):
        assert (await call(api, "explain", **wrong))["error"]["code"] == 107


# -- one answer for all


async def test_the_same_question_is_asked_once():
    clock, asked = TestClock(), []

    async def ask():
        asked.append(1)
        return len(asked)

    shared = SharedAnswers(clock)
    assert await shared.get("a", ask) == 1
    assert await shared.get("a", ask) == 1
    assert await shared.get("b", ask) == 2
    clock.advance(1)
    assert await shared.get("a", ask) == 3


async def test_failures_are_forgotten():
    async def fail():
        raise ValueError("no")

    async def ask():
        return 1

    shared = SharedAnswers(TestClock())
    with pytest.raises(ValueError, match="no"):
        await shared.get("a", fail)
    assert await shared.get("a", ask) == 1


async def test_questions_are_bounded():
    async def ask():
        return 1

    shared = SharedAnswers(TestClock())
    for number in range(MAX_KEPT + 5):
        await shared.get(number, ask)
    assert len(shared._answers) == MAX_KEPT


# -- explanations


class Verifier:
    """Takes tokens for what they say of themselves."""

    async def verify_connect_token(self, token):
        from flyball.server.auth.errors import InvalidToken, TokenExpired

        if token == "old":
            raise TokenExpired
        if token == "bad":
            raise InvalidToken("signature")
        return type("Verified", (), {"user": token, "channel": "", "client": ""})()

    async def verify_subscribe_token(self, token):
        verified = await self.verify_connect_token(token.partition("@")[0])
        verified.channel = token.partition("@")[2]
        return verified


CASES = [
    (
        {"operation": "subscribe", "channel": "open:a", "user": "u"},
        "allow",
        "allow_subscribe_for_client",
    ),
    ({"operation": "subscribe", "channel": "open:a"}, "refuse", "nothing allows it"),
    ({"operation": "subscribe", "channel": "none:a"}, "refuse", "unknown namespace"),
    (
        {"operation": "subscribe", "channel": "$a", "user": "u"},
        "refuse",
        "a private channel needs a token",
    ),
    (
        {
            "operation": "subscribe",
            "channel": "open:a",
            "subscription_token": "u@open:a",
            "user": "u",
        },
        "allow",
        "token",
    ),
    (
        {"operation": "subscribe", "channel": "open:a", "subscription_token": "u@b", "user": "u"},
        "refuse",
        "the token is for another channel, 'b'",
    ),
    (
        {"operation": "subscribe", "channel": "open:a", "subscription_token": "old"},
        "refuse",
        "token",
    ),
    (
        {"operation": "subscribe", "channel": "open:a", "subscription_token": "bad"},
        "refuse",
        "token",
    ),
    (
        {"operation": "subscribe", "channel": "open:a", "connection_token": "u"},
        "allow",
        "allow_subscribe_for_client",
    ),
    (
        {"operation": "subscribe", "channel": "open:a", "connection_token": "old"},
        "refuse",
        "connection token",
    ),
    (
        {"operation": "subscribe", "channel": "open:a", "connection_token": "bad"},
        "refuse",
        "connection token",
    ),
    ({"operation": "publish", "channel": "open:a", "user": "u"}, "refuse", "nothing allows it"),
    (
        {"operation": "publish", "channel": "open:a", "user": "u", "subscribed": True},
        "allow",
        "allow_publish_for_subscriber",
    ),
    ({"operation": "publish", "channel": "asks:a", "user": "u"}, "ask", "publish_proxy_enabled"),
    ({"operation": "presence", "channel": "open:a", "user": "u"}, "refuse", "presence is off"),
    ({"operation": "rpc", "channel": "ping"}, "refuse", "no proxy and no built-in method is on"),
]


@pytest.fixture
def policy():
    from flyball.server.api.explain import Policy
    from flyball.server.channels import ChannelRules, ChannelRulesOptions
    from flyball.server.channels.options import ChannelOptions

    open_ = ChannelOptions(allow_subscribe_for_client=True, allow_publish_for_subscriber=True)
    names = {"open": open_, "asks": ChannelOptions(publish_proxy_enabled=True)}
    return Policy(ChannelRules(ChannelRulesOptions(namespaces=names)), tokens=Verifier())


@pytest.mark.parametrize(("asked", "verdict", "rule"), CASES)
async def test_explanations(policy, asked, verdict, rule):
    found = await explain(policy, Question(**asked))
    assert found.verdict == verdict
    assert found.steps[-1].rule == rule
    assert [step.decided for step in found.steps] == [False] * (len(found.steps) - 1) + [True]
    assert all(step.outcome for step in found.steps)
    assert asked["channel"] in found.sentence


async def test_reasons_of_what_allows(policy):
    asked = Question(operation="publish", channel="open:a", user="u", subscribed=True)
    found = await explain(policy, asked)
    assert [(step.rule, step.outcome) for step in found.steps] == [
        ("publish_proxy_enabled", "is off"),
        ("subscribe_stream_proxy_enabled", "is off"),
        ("allow_publish_for_client", "is off"),
        ("allow_publish_for_subscriber", "allows it"),
    ]
    assert found.namespace == "open"


async def test_tokens_where_nobody_verifies(policy):
    from dataclasses import replace

    bare = replace(policy, tokens=None)
    for token in ("connection_token", "subscription_token"):
        asked = Question(operation="subscribe", channel="open:a", **{token: "u"})
        found = await explain(bare, asked)
        assert found.steps[-1].outcome == "cannot be verified here"


async def test_insecure_allows_and_says_what_was_before(policy):
    from dataclasses import replace

    asked = Question(operation="publish", channel="open:a")
    found = await explain(replace(policy, insecure=True), asked)
    assert [(step.rule, step.outcome) for step in found.steps][2:] == [
        ("allow_publish_for_client", "is off"),
        ("allow_publish_for_subscriber", "is not for anonymous users"),
        ("insecure", "allows it"),
    ]
    asked = Question(operation="publish", channel="open:a", user="u")
    found = await explain(replace(policy, insecure=True), asked)
    assert found.steps[-2].outcome == "is for subscribers only"


def test_rules_that_are_no_options_have_a_reason_too():
    from flyball.server.channels.decision import Decision, Verdict
    from flyball.server.channels.trace import Asker, trace

    steps = trace(Decision(Verdict.ALLOW, "x", looked_at=("a rule of its own",)), Asker())
    assert [(step.rule, step.outcome) for step in steps] == [
        ("a rule of its own", "did not decide"),
        ("x", "allows it"),
    ]
