"""What the methods do on a node."""

from __future__ import annotations

import asyncio
import json

import pytest

from flyball.aio.eager import start_eagerly
from flyball.core.cluster import NodeMetrics
from flyball.core.expiry import MAX_EXPIRY
from flyball.server.api import concurrent
from flyball.server.api import messages as m
from flyball.server.api.concurrent import map_concurrently
from flyball.server.api.errors import NOT_FOUND, ApiError
from flyball.server.api.methods import METHODS

NOW = 1795495400.0
"""What the clock of the fixture shows."""
YEAR = 365 * 24 * 3600


async def call(api, method: str, **fields):
    """The decoded result or error of one request."""
    answer = json.loads(await api.text(f"/api/{method}", json.dumps(fields)))
    return answer.get("result", answer.get("error", answer))


def pushes(recorder) -> list[dict]:
    """What a client got without asking."""
    lines = b"\n".join(recorder.frames).split(b"\n")
    return [push["push"] for push in map(json.loads, lines) if "push" in push]


BAD_REQUEST = {"code": 107, "message": "bad request"}
NOT_AVAILABLE = {"code": 108, "message": "not available"}
UNKNOWN_CHANNEL = {"code": 102, "message": "unknown channel"}

WITH_CHANNEL = {
    "publish": {"data": 1},
    "subscribe": {"user": "u"},
    "presence": {},
    "presence_stats": {},
    "history": {},
    "history_remove": {},
    "map_publish": {"key": "k", "data": 1},
    "map_remove": {"key": "k"},
    "map_read_state": {},
    "map_read_stream": {},
    "map_stats": {},
    "map_clear": {},
    "shared_poll_publish": {"key": "k", "data": 1, "version": 1},
}


@pytest.mark.parametrize("method", WITH_CHANNEL)
async def test_channel_is_checked(api, method: str) -> None:
    assert await call(api, method, **WITH_CHANNEL[method]) == BAD_REQUEST
    assert await call(api, method, channel="nons:x", **WITH_CHANNEL[method]) == UNKNOWN_CHANNEL


@pytest.mark.parametrize("method", [name for name in WITH_CHANNEL if "map_" in name])
async def test_map_methods(api, method: str) -> None:
    assert await call(api, method, channel="news", **WITH_CHANNEL[method]) == BAD_REQUEST
    assert await call(api, method, channel="map:a", **WITH_CHANNEL[method]) == NOT_AVAILABLE
    if "key" in WITH_CHANNEL[method]:
        assert await call(api, method, channel="map:a") == BAD_REQUEST


async def test_shared_poll_publish(api) -> None:
    refused = await call(api, "shared_poll_publish", channel="sp:a", version=1)
    assert refused == BAD_REQUEST
    refused = await call(api, "shared_poll_publish", channel="none:a", key="k")
    assert refused == BAD_REQUEST  # before the channel is looked at
    refused = await call(api, "shared_poll_publish", channel="map:a", key="k", version=1)
    assert refused == BAD_REQUEST
    refused = await call(api, "shared_poll_publish", channel="sp:a", key="k", version=1)
    assert refused == NOT_AVAILABLE


@pytest.mark.parametrize(
    ("channel", "fields", "fine"),
    [
        ("news", {"data": ""}, True),
        ("news", {"b64data": "e30="}, True),
        ("news", {"b64data": "e3\r\n0="}, True),
        ("news", {"b64data": "e30"}, False),
        ("news", {"b64data": "e30=="}, False),
        ("news", {"b64data": "\u00e9"}, False),
        ("news", {"data": {}, "b64data": "!"}, False),
        ("obj:a", {"data": {}}, True),
        ("obj:a", {"data": [1]}, False),
        ("obj:a", {"b64data": "e30="}, True),
        ("obj:a", {"b64data": "e30h"}, False),
        ("obj:a", {}, False),
        ("json:a", {"data": [1]}, True),
        ("json:a", {"b64data": "AAE="}, False),
        ("json:a", {}, False),
        ("bin:a", {"b64data": "AAE="}, True),
        ("bin:a", {}, True),
    ],
)
async def test_data(api, channel: str, fields: dict, fine: bool) -> None:
    result = await call(api, "publish", channel=channel, **fields)
    assert (result != BAD_REQUEST) is fine


async def test_publish_reaches_subscribers(api) -> None:
    client = api.connect("hist:a")
    await call(api, "publish", channel="hist:a", data={"n": 1}, tags={"a": "b"})
    (push,) = pushes(client)
    assert push["channel"] == "hist:a"
    assert push["pub"]["data"] == {"n": 1}
    assert push["pub"]["tags"] == {"a": "b"}
    assert push["pub"]["offset"] == 1


async def test_idempotency_is_for_each_channel_of_a_broadcast(api) -> None:
    first = await call(api, "broadcast", channels=["hist:a", "hist:b"], data=1, idempotency_key="i")
    again = await call(
        api, "broadcast", channels=["hist:b", "hist:a", "hist:c"], data=2, idempotency_key="i"
    )
    one, two = (reply["result"] for reply in first["responses"])
    assert [reply["result"] for reply in again["responses"][:2]] == [two, one]
    assert again["responses"][2]["result"]["offset"] == 1


async def test_broadcast_to_very_many_channels(api, monkeypatch) -> None:
    under_way = peak = 0
    publish = api.node.broker.publish

    async def slow(*args):
        nonlocal under_way, peak
        under_way += 1
        peak = max(peak, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return await publish(*args)

    monkeypatch.setattr(api.node.broker, "publish", slow)
    channels = [f"hist:{n}" for n in range(3000)]
    result = await call(api, "broadcast", channels=channels, data=1)
    assert len(result["responses"]) == 3000
    assert all(reply["result"]["offset"] == 1 for reply in result["responses"])
    assert 1 < peak <= concurrent.MAX_CONCURRENCY


async def test_broadcast_needs_good_base64(api) -> None:
    assert await call(api, "broadcast", channels=["news"], b64data="!") == BAD_REQUEST


async def test_history_reads(api) -> None:
    for number in range(1, 6):
        await call(api, "publish", channel="hist:a", data=number)
    epoch = (await call(api, "history", channel="hist:a"))["epoch"]

    async def read(**fields) -> list[int]:
        result = await call(api, "history", channel="hist:a", **fields)
        return [publication["data"] for publication in result["publications"]]

    assert await read() == []
    assert await read(limit=-1) == [1, 2, 3, 4, 5]
    assert await read(limit=-7) == [1, 2, 3, 4, 5]
    assert await read(limit=2) == [1, 2]
    assert await read(limit=1000) == [1, 2, 3, 4, 5]
    since = {"offset": 3, "epoch": epoch}
    assert await read(limit=-1, since=since) == [4, 5]
    assert await read(limit=-1, since=since, reverse=True) == [2, 1]
    since = {"offset": 0, "epoch": epoch}
    assert await read(limit=1, since=since) == [1]
    failed = await call(api, "history", channel="hist:a", limit=1, since=since, reverse=True)
    assert failed["code"] == 100
    since = {"offset": 0, "epoch": "zzzz"}
    assert (await call(api, "history", channel="hist:a", since=since))["code"] == 112


async def test_history_tells_the_publisher(api) -> None:
    client = api.connect()
    await api.node.publish(
        "hist:i", b"1", history_size=5, history_ttl=60.0, info=m.ClientInfo("u", "c", b"[ 1 ]")
    )
    assert client.closed_with is None
    body = await api.text("/api/history", '{"channel":"hist:i","limit":1}')
    assert '{"data":1,"info":{"user":"u","client":"c","conn_info":[1]},"offset":1}' in body


async def test_subscribe_with_everything(api) -> None:
    client = api.connect()
    await call(api, "publish", channel="hist:s", data=1)
    position = await call(api, "history", channel="hist:s")
    since = {"offset": position["offset"], "epoch": position["epoch"]}
    result = await call(
        api,
        "subscribe",
        user="",
        client=client.session.client_id,
        channel="hist:s",
        info={"unused": 1},
        b64info="eyJpIjoxfQ==",
        b64data="eyJkIjoxfQ==",
        expire_at=int(NOW) + 60,
        recover_since=since,
        override={"force_recovery": {"value": True}, "presence": {"value": False}},
        label_filter={"op": "and"},
        all_users=True,
    )
    assert result == {}
    (push,) = pushes(client)
    assert push["channel"] == "hist:s"
    assert push["subscribe"]["data"] == {"d": 1}
    assert push["subscribe"]["recoverable"] is True
    assert (await call(api, "presence", channel="hist:s")) == {"presence": {}}
    subscription = client.session.subscriptions["hist:s"]
    assert bytes(subscription.options.info) == b'{"i":1}'
    assert subscription.options.expire_at == NOW + 60


async def test_subscribe_elsewhere_is_success(api) -> None:
    client = api.connect()
    assert await call(api, "subscribe", user="", client="other", channel="news") == {}
    assert await call(api, "subscribe", user="", session="other", channel="news") == {}
    assert not client.session.subscriptions
    assert await call(api, "subscribe", channel="news", b64info="!") == BAD_REQUEST
    assert await call(api, "subscribe", channel="news", b64data="!") == BAD_REQUEST


@pytest.mark.parametrize(
    ("asked", "kept"),
    [(0, 0.0), (int(NOW) + 10, NOW + 10), (int(NOW) + 3 * YEAR, NOW + MAX_EXPIRY), (5, 5.0)],
)
async def test_expiry_is_cut_to_a_year(api, monkeypatch, asked: int, kept: float) -> None:
    seen: dict[str, float] = {}

    async def subscribe_user(user, channel, options, **_):
        seen["subscribe"] = options.expire_at

    async def refresh_user(user, *, expire_at, **_):
        seen["refresh"] = expire_at

    monkeypatch.setattr(api.node, "subscribe_user", subscribe_user)
    monkeypatch.setattr(api.node, "refresh_user", refresh_user)
    await call(api, "subscribe", channel="news", expire_at=asked)
    await call(api, "refresh", expire_at=asked)
    assert seen == {"subscribe": kept, "refresh": kept}


async def test_unsubscribe_one_or_all(api) -> None:
    client = api.connect("hist:a", "news", "plain:a")
    assert await call(api, "unsubscribe", user="", channel="news") == {}
    assert set(client.session.subscriptions) == {"hist:a", "plain:a"}
    assert await call(api, "unsubscribe", user="") == {}
    assert not client.session.subscriptions
    assert {push["unsubscribe"]["code"] for push in pushes(client)} == {2000}
    assert await call(api, "unsubscribe", user="", channel="nons:a") == UNKNOWN_CHANNEL


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({}, 3503, "force disconnect"),
        ({"disconnect": {"code": 4501, "reason": "bye"}}, 4501, "bye"),
        ({"disconnect": {}}, 3503, "force disconnect"),
    ],
)
async def test_disconnect(api, fields: dict, code: int, reason: str) -> None:
    spared, closed = api.connect(), api.connect()
    spared_id = spared.session.client_id
    assert await call(api, "disconnect", user="", whitelist=[spared_id], **fields) == {}
    assert spared.closed_with is None
    assert (closed.closed_with.code, closed.closed_with.reason) == (code, reason)


@pytest.mark.parametrize("code", [1, 999, 5000, 65536, 4294967295])
async def test_disconnect_with_a_code_that_no_frame_carries(api, code: int) -> None:
    client = api.connect()
    answer = await call(api, "disconnect", user="", disconnect={"code": code})
    assert answer == {"code": 107, "message": "bad request"}
    assert client.closed_with is None


async def test_refresh(api) -> None:
    client = api.connect()
    assert await call(api, "refresh", user="", expire_at=int(NOW) + 60) == {}
    (push,) = pushes(client)
    assert push == {"refresh": {"expires": True, "ttl": 60}}
    assert await call(api, "refresh", user="", expired=True) == {}
    assert client.closed_with.code == 3005


async def test_info_shows_metrics(api) -> None:
    items = {"b": 6.5e-06, "a": 2.0, "c": float("nan")}
    api.node.metrics_source = lambda: NodeMetrics(interval=60.0, items=items)
    body = await api.text("/api/info", "{}")
    assert '"metrics":{"interval":60,"items":{"a":2,"b":6.5e-06}}' in body
    (node,) = json.loads(body)["result"]["nodes"]
    assert node["name"] == "node"
    assert node["version"] == "1.0"


async def test_batch_in_order_and_parallel(api) -> None:
    commands = [{"publish": {"channel": "hist:a", "data": n}} for n in range(3)]
    for parallel in (False, True):
        result = await call(api, "batch", commands=commands, parallel=parallel)
        assert len(result["replies"]) == 3
    assert (await call(api, "history", channel="hist:a"))["offset"] == 6


async def test_batch_counts_its_commands(api) -> None:
    commands = [{"publish": {"channel": "news"}}, {}, {"block_user": {}}, {"info": {}}]
    result = await call(api, "batch", commands=commands)
    assert [reply.get("error", {}).get("code") for reply in result["replies"]] == [
        107,
        104,
        104,
        None,
    ]
    metrics = api.service.metrics
    assert metrics.errors == {("http", "publish", "107"): 1, ("http", "unknown", "104"): 2}
    assert set(metrics.durations) == {("http", "publish"), ("http", "info")}
    assert metrics.durations["http", "info"].count == 1


async def test_unavailable_method(api) -> None:
    with pytest.raises(ApiError) as caught:
        await api.service.call(METHODS["block_user"], m.InfoRequest())
    assert caught.value.entry is NOT_FOUND
    assert str(caught.value) == "104 not found: not part of this edition"


async def test_reload_changes_the_rules(api) -> None:
    from flyball.server.channels.rules import ChannelRules, ChannelRulesOptions

    assert await call(api, "presence", channel="hist:a") == {"presence": {}}
    api.service.rules = ChannelRules(ChannelRulesOptions())
    assert await call(api, "presence", channel="hist:a") == UNKNOWN_CHANNEL
    assert await call(api, "presence", channel="news") == NOT_AVAILABLE


async def test_concurrent_failure_cancels_the_rest() -> None:
    ended = []

    async def work(item: int) -> int:
        try:
            await (asyncio.sleep(0) if item == 1 else asyncio.Event().wait())
        finally:
            ended.append(item)
        raise ValueError("one failed")

    # 1 fails at once, the others would wait for ever
    with pytest.raises(ValueError, match="one failed"):
        await map_concurrently(work, [0, 1, 2], limit=2)
    assert ended == [1, 0]


async def test_concurrent_without_waiting_makes_no_task() -> None:
    async def work(item: int) -> int:
        return item * 2

    assert start_eagerly(map_concurrently(work, [1, 2, 3])) == [2, 4, 6]
