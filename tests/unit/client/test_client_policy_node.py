"""The policy on a real node: what clients see."""

import asyncio
import base64
import hmac
import json

import pytest
from policy_fakes import Claims, ConnectToken, FakeTokens, SubscribeToken, make_rules
from policy_node import Client, ManualClock, make_node

from flyball.core.errors import ConfigError
from flyball.server.auth.options import TokenOptions
from flyball.server.auth.verifier import TokenVerifier
from flyball.server.channels import RpcRulesOptions
from flyball.server.channels.options import ChannelOptions
from flyball.server.client import ClientPolicy, ClientPolicyOptions, PersonalChannelOptions

CHAT = ChannelOptions(
    allow_subscribe_for_client=True,
    allow_publish_for_subscriber=True,
    allow_presence_for_subscriber=True,
    allow_history_for_subscriber=True,
    presence=True,
    join_leave=True,
    history_size=10,
    history_ttl=60.0,
    allow_user_limited_channels=True,
)


@pytest.fixture
def clock():
    return ManualClock()


async def test_a_life(clock):
    tokens = FakeTokens(t=ConnectToken("42", clock.time() + 60))
    node, _ = make_node(clock, tokens, {"chat": CHAT})
    async with node:
        client = Client(node)
        connected = await client.call("connect", token="t")
        assert (connected["expires"], connected["ttl"]) == (True, 60)
        assert await client.call("publish", channel="chat:1", data=1) == 103
        result = await client.call("subscribe", channel="chat:1", recoverable=True, join_leave=True)
        assert result["recoverable"]
        assert await client.call("publish", channel="chat:1", data={"a": 1}) == {}
        publication = client.pushes("pub")[0]
        assert publication["data"] == {"a": 1}
        assert publication["info"]["user"] == "42"
        assert publication["offset"] == 1
        assert client.pushes("join")[0]["info"]["user"] == "42"
        history = await client.call("history", channel="chat:1", limit=-1)
        assert len(history["publications"]) == 1
        presence = await client.call("presence", channel="chat:1")
        assert [info["user"] for info in presence["presence"].values()] == ["42"]
        assert await client.call("presence_stats", channel="chat:1") == {
            "num_clients": 1,
            "num_users": 1,
        }
        assert client.closed_with is None


@pytest.mark.parametrize(
    ("request_", "answer", "closed"),
    [
        ({"token": "expired"}, 109, None),
        ({"token": "unknown_namespace"}, 102, None),
        ({"token": "past"}, 110, None),
        ({"token": "bad"}, None, 3500),
        ({"token": "anonymous"}, None, 3507),
        ({}, None, 3501),
    ],
)
async def test_refused_connects(clock, request_, answer, closed):
    tokens = FakeTokens(
        unknown_namespace=ConnectToken("1", subs={"nope:1": Claims()}),
        past=ConnectToken("1", clock.time() - 1),
        anonymous=ConnectToken(),
    )
    node, _ = make_node(clock, tokens, disallow_anonymous_connection_tokens=True)
    async with node:
        client = Client(node)
        assert await client.call("connect", **request_) == answer
        assert client.closed_with == closed


async def test_server_side_subscriptions(clock):
    tokens = FakeTokens(t=ConnectToken("42", subs={"chat:1": Claims()}))
    node, _ = make_node(
        clock, tokens, {"chat": CHAT}, personal_channel=PersonalChannelOptions(enabled=True)
    )
    async with node:
        client = Client(node)
        wishes = {"chat:2": {}, "$chat:3": {}, "chat:4#7": {}, "chat:5#42": {}}
        connected = await client.call("connect", token="t", subs=wishes)
        assert set(connected["subs"]) == {"chat:1", "#42", "chat:2", "chat:5#42"}
        await node.publish("#42", {"for": "you"})
        assert client.pushes("pub")[0]["data"] == {"for": "you"}


async def test_single_connection(clock):
    tokens = FakeTokens(t=ConnectToken("42"))
    personal = PersonalChannelOptions(enabled=True, single_connection=True)
    node, _ = make_node(clock, tokens, personal_channel=personal)
    async with node:
        first, second = Client(node), Client(node)
        await first.call("connect", token="t")
        await second.call("connect", token="t")
        assert first.closed_with == 3504
        assert second.closed_with is None


async def test_user_from_header(clock):
    node, _ = make_node(clock, user_id_http_header="X-User")
    async with node:
        client = Client(node, **{"x-user": "7"})
        assert await client.call("connect", subs={"chat:1": {}})
        assert client.session.user == "7"
        assert client.session.subscriptions == {}


@pytest.mark.parametrize(
    ("request_", "answer", "closed"),
    [
        ({"channel": "chat:1"}, 103, None),  # anonymous
        ({"channel": "nope:1"}, 102, None),
        ({"channel": "chat:é"}, 107, None),
        ({"channel": "$chat:1"}, 103, None),
        ({"channel": "chat:1", "token": "expired"}, 109, None),
        ({"channel": "chat:1", "token": "bad"}, 103, None),
        ({"channel": "chat:1", "token": "other"}, None, 3500),
        ({"channel": "chat:1", "token": "past"}, 110, None),
        ({"channel": "chat:1", "type": 1}, 103, None),
        ({"channel": "chat:1", "type": 4}, 108, None),
        ({"channel": "map:1", "type": 1}, 108, None),
        ({"channel": "open:1", "type": 9}, None, 3004),
    ],
)
async def test_subscribe_outcomes(clock, request_, answer, closed):
    tokens = FakeTokens(
        other=SubscribeToken("", "chat:2"), past=SubscribeToken("", "chat:1", "", 1.0)
    )
    everyone = {"allow_subscribe_for_client": True, "allow_subscribe_for_anonymous": True}
    namespaces = {
        "chat": CHAT,
        "open": ChannelOptions(**everyone),
        "map": ChannelOptions(**everyone, subscription_type="map"),
    }
    node, _ = make_node(clock, tokens, namespaces, allow_anonymous_connect_without_token=True)
    async with node:
        client = Client(node)
        await client.call("connect")
        assert await client.call("subscribe", **request_) == answer
        assert client.closed_with == closed


async def test_subscription_token(clock):
    token = SubscribeToken("", "$chat:1", "", clock.time() + 30)
    node, _ = make_node(clock, FakeTokens(t=token), {"chat": CHAT}, insecure=True)
    async with node:
        client = Client(node)
        await client.call("connect")
        assert await client.call("subscribe", channel="$chat:1") == 103
        result = await client.call("subscribe", channel="$chat:1", token="t")
        assert (result["expires"], result["ttl"]) == (True, 30)


async def test_expired_sub_refresh_keeps_the_deadline(clock):
    tokens = FakeTokens(
        t=SubscribeToken("", "chat:1", "", clock.time() + 30),
        longer=SubscribeToken("", "chat:1", "", clock.time() + 100),
    )
    node, _ = make_node(clock, tokens, {"chat": CHAT}, insecure=True)
    async with node:
        stays, goes = Client(node), Client(node)
        for client in (stays, goes):
            await client.call("connect")
            await client.call("subscribe", channel="chat:1", token="t")
            assert await client.call("sub_refresh", channel="chat:1", token="expired") == 109
            assert await client.call("sub_refresh", channel="chat:1") == 107
        assert (await stays.call("sub_refresh", channel="chat:1", token="longer"))["ttl"] == 100
        await clock.move(30 + 25 + 28)  # expiry, grace, and a look at it
        assert goes.pushes("unsubscribe") == [{"code": 2501, "reason": "subscription expired"}]
        assert stays.pushes("unsubscribe") == []


async def test_sub_refresh_with_somebody_s_token(clock):
    tokens = FakeTokens(other=SubscribeToken("1", "chat:1"))
    node, _ = make_node(clock, tokens, {"chat": CHAT}, insecure=True)
    async with node:
        client = Client(node)
        await client.call("connect")
        await client.call("subscribe", channel="chat:1")
        assert await client.call("sub_refresh", channel="chat:1", token="other") is None
        assert client.closed_with == 3500


@pytest.mark.parametrize(
    ("token", "closed"),
    [("expired", 3005), ("bad", 3500), ("other", 3500), ("more", 3010), ("", 3501)],
)
async def test_refused_refresh(clock, token, closed):
    end = clock.time() + 60
    tokens = FakeTokens(
        t=ConnectToken("42", end),
        other=ConnectToken("43", end),
        more=ConnectToken("42", end, subs={"chat:1": Claims()}),
    )
    node, _ = make_node(clock, tokens, {"chat": CHAT})
    async with node:
        client = Client(node)
        await client.call("connect", token="t")
        assert await client.call("refresh", token=token) is None
        assert client.closed_with == closed


async def test_refresh_without_expiry_lifts_the_deadline(clock):
    tokens = FakeTokens(t=ConnectToken("42", clock.time() + 60), forever=ConnectToken("42"))
    node, _ = make_node(clock, tokens)
    async with node:
        stays, goes = Client(node), Client(node)
        for client in (stays, goes):
            await client.call("connect", token="t")
        assert await stays.call("refresh", token="forever") == {}
        await clock.move(60 + 26)
        assert goes.closed_with == 3005
        assert stays.closed_with is None


async def test_refresh_with_personal_and_token_channels(clock):
    end = clock.time() + 60
    tokens = FakeTokens(
        t=ConnectToken("42", end, subs={"chat:1": Claims()}),
        same=ConnectToken("42", end + 60, subs={"chat:1": Claims()}),
        none=ConnectToken("42", end + 60),
    )
    node, _ = make_node(
        clock, tokens, {"chat": CHAT}, personal_channel=PersonalChannelOptions(enabled=True)
    )
    async with node:
        client = Client(node)
        await client.call("connect", token="t", subs={"chat:2": {}})
        assert (await client.call("refresh", token="same"))["ttl"] == 120
        await client.call("refresh", token="none")
        assert client.closed_with == 3010


async def test_messages_end_the_connection(clock):
    node, _ = make_node(clock, insecure=True)
    async with node:
        client = Client(node)
        await client.call("connect")
        client.session.receive(b'{"send":{"data":1}}')
        assert client.closed_with == 3508


async def test_rpc(clock):
    node, _ = make_node(clock, insecure=True, rpc=RpcRulesOptions(ping_enabled=True))
    async with node:
        client = Client(node)
        await client.call("connect")
        assert await client.call("rpc", method="ping") == {}
        assert await client.call("rpc", method="nope") == 104


async def test_reload(clock):
    node, policy = make_node(clock, FakeTokens(old=ConnectToken("1")), {"chat": CHAT})
    async with node:
        client = Client(node)
        await client.call("connect", token="old")
        assert await client.call("subscribe", channel="new:1") == 102
        policy.reload(
            rules=make_rules(new=CHAT),
            tokens=FakeTokens(new=ConnectToken("2")),
            options=ClientPolicyOptions(rpc=RpcRulesOptions(ping_enabled=True)),
        )
        assert "positioned" not in await client.call("subscribe", channel="new:1")
        assert await client.call("subscribe", channel="chat:1") == 102
        assert await client.call("rpc", method="ping") == {}
        second = Client(node)
        await second.call("connect", token="old")
        assert second.closed_with == 3500
        assert await Client(node).call("connect", token="new")
        assert policy.rules.namespace("new:1") is not None
        assert policy.options.rpc.ping_enabled


async def test_a_node_has_one_policy(clock):
    node, _ = make_node(clock)
    with pytest.raises(ConfigError, match="on_connecting has a handler already"):
        ClientPolicy(node, make_rules(), FakeTokens())


def signed(secret, **claims):
    """A token as a backend would make it."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.digest(secret.encode(), text, "sha256"))).decode()


async def test_real_tokens(clock):
    verifier = TokenVerifier(TokenOptions(hmac_secret_key="one"), clock)
    sub_verifier = TokenVerifier(TokenOptions(hmac_secret_key="two"), clock)
    node, policy = make_node(clock, namespaces={"chat": CHAT})
    policy.reload(rules=policy.rules, tokens=verifier, sub_tokens=sub_verifier)
    now = int(clock.time())
    async with node:
        client = Client(node)
        token = signed(
            "one",
            sub="42",
            exp=now + 60,
            info={"name": "Ann"},
            subs={"chat:1": {"override": {"presence": {"value": False}}, "data": {"a": 1}}},
        )
        connected = await client.call("connect", token=token)
        assert (connected["ttl"], connected["subs"]["chat:1"]["data"]) == (60, {"a": 1})
        assert await node.presence("chat:1") == {}
        private = signed("two", sub="42", channel="$chat:1", exp=now + 30)
        assert (await client.call("subscribe", channel="$chat:1", token=private))["ttl"] == 30
        longer = signed("two", sub="42", channel="$chat:1", exp=now + 90)
        assert (await client.call("sub_refresh", channel="$chat:1", token=longer))["ttl"] == 90
        wrong_key = signed("one", sub="42", channel="$chat:2")
        assert await client.call("subscribe", channel="$chat:2", token=wrong_key) == 103
        again = signed("one", sub="42", exp=now + 120, channels=["chat:1"])
        assert (await client.call("refresh", token=again))["ttl"] == 120
        past = Client(node)
        assert await past.call("connect", token=signed("one", sub="1", exp=now - 1)) == 109
        forged = Client(node)
        await forged.call("connect", token=signed("three", sub="1"))
        assert forged.closed_with == 3500


class WaitingTokens(FakeTokens):
    """Has to ask somebody first, as with keys from an endpoint."""

    async def verify_connect_token(self, token):
        await asyncio.shield(asyncio.create_task(asyncio.sleep(0)))
        return await super().verify_connect_token(token)

    async def verify_subscribe_token(self, token):
        await asyncio.shield(asyncio.create_task(asyncio.sleep(0)))
        return await super().verify_subscribe_token(token)


async def test_tokens_that_take_time(clock):
    tokens = WaitingTokens(t=ConnectToken("42"), s=SubscribeToken("42", "$chat:1"))
    node, _ = make_node(clock, tokens, {"chat": CHAT})
    async with node:
        client = Client(node)
        assert await client.call("connect", token="t")
        assert await client.call("subscribe", channel="$chat:1", token="s") is not None
        assert "$chat:1" in client.session.subscriptions
        assert await client.call("subscribe", channel="$chat:2", token="expired") == 109
        assert "$chat:2" not in client.session.subscriptions
