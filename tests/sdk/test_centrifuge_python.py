"""centrifuge-python, the official SDK, JSON and Protobuf, with a network that breaks."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from importlib.metadata import version

import aiohttp
import centrifuge
import pytest
from centrifuge import ClientEventHandler, SubscriptionEventHandler
from sdk_gate import Gate
from sdk_server import API_KEY, token
from waiting import PATIENCE, until


def in_seconds(seconds):
    return int(time.time()) + seconds


class Events(ClientEventHandler):
    """What a client is told, in order, as ``(event, context)``."""

    def __init__(self):
        self.seen = []

    async def on_connecting(self, ctx):
        self.seen.append(("connecting", ctx))

    async def on_connected(self, ctx):
        self.seen.append(("connected", ctx))

    async def on_disconnected(self, ctx):
        self.seen.append(("disconnected", ctx))

    async def on_subscribed(self, ctx):
        self.seen.append(("subscribed", ctx))

    async def on_unsubscribed(self, ctx):
        self.seen.append(("unsubscribed", ctx))

    async def on_publication(self, ctx):
        self.seen.append(("publication", ctx))

    def of(self, event):
        return [ctx for name, ctx in self.seen if name == event]


class SubEvents(Events, SubscriptionEventHandler):
    """What a subscription is told."""

    async def on_subscribing(self, ctx):
        self.seen.append(("subscribing", ctx))

    async def on_join(self, ctx):
        self.seen.append(("join", ctx))

    async def on_leave(self, ctx):
        self.seen.append(("leave", ctx))

    async def on_error(self, ctx):
        self.seen.append(("error", ctx))


class Kit:
    """Clients of one test, through a gate, and the server API."""

    def __init__(self, gate, server, http, *, protobuf, name):
        self.gate, self.server, self.http = gate, server, http
        self.protobuf = protobuf
        self.me = f"py-{name}"
        """User and end of channel names: tests share the server."""
        self.clients = []

    def client(self, **options):
        events = Events()
        options.setdefault("token", token(self.me))
        made = centrifuge.Client(
            self.gate.websocket,
            events=events,
            use_protobuf=self.protobuf,
            min_reconnect_delay=0.05,
            max_reconnect_delay=0.2,
            proxy=None,
            **options,
        )
        made.events = events
        self.clients.append(made)
        return made

    async def connected(self, **options):
        made = self.client(**options)
        await made.connect()
        await made.ready(PATIENCE)
        return made

    async def subscribed(self, client, channel, **options):
        events = SubEvents()
        sub = client.new_subscription(channel, events=events, **options)
        sub.events = events
        await sub.subscribe()
        await sub.ready(PATIENCE)
        await until(lambda: events.of("subscribed"), "subscribed")
        return sub

    async def api(self, method, **request):
        headers = {"X-API-Key": API_KEY}
        url = f"{self.server.api}/{method}"
        async with self.http.post(url, json=request, headers=headers) as response:
            answer = await response.json()
        assert "error" not in answer, answer
        return answer["result"]

    async def publish(self, channel, *values):
        for value in values:
            await self.api("publish", channel=channel, data=value)

    def encode(self, value):
        return json.dumps(value).encode() if self.protobuf else value

    def decode(self, data):
        return json.loads(data) if self.protobuf else data

    def data(self, sub):
        return [self.decode(ctx.pub.data) for ctx in sub.events.of("publication")]


@asynccontextmanager
async def kit_of(request, server):
    async with Gate(server.port) as gate, aiohttp.ClientSession() as http:
        name = f"{request.function.__name__}-{request.param}"
        kit = Kit(gate, server, http, protobuf=request.param == "protobuf", name=name)
        yield kit
        for client in kit.clients:
            await client.disconnect()


@pytest.fixture(params=["json", "protobuf"])
async def kit(request, server):
    async with kit_of(request, server) as kit:
        yield kit


@pytest.fixture(params=["json", "protobuf"])
async def pinged_kit(request, pinging):
    async with kit_of(request, pinging) as kit:
        yield kit


def test_version_of_the_sdk():
    assert tuple(map(int, version("centrifuge-python").split("."))) >= (0, 7, 0)


async def test_connect(kit):
    client = await kit.connected()
    (context,) = client.events.of("connected")
    assert len(context.client) == 36
    assert context.version.endswith(" OSS")
    await client.disconnect()
    assert client.events.of("disconnected")[0].code == 0


async def test_publish(kit):
    channel = f"chat:{kit.me}"
    subs = [await kit.subscribed(await kit.connected(), channel) for _ in range(2)]
    await subs[0].publish(kit.encode({"text": "<b>&\u2028 ü"}))
    await kit.publish(channel, {"from": "api"})
    for sub in subs:
        await until(lambda s=sub: len(kit.data(s)) == 2, "both publications")
        assert kit.data(sub) == [{"text": "<b>&\u2028 ü"}, {"from": "api"}]
        first, second = (ctx.pub for ctx in sub.events.of("publication"))
        assert (first.offset, second.offset) == (1, 2)
        assert first.info.user == kit.me
        assert second.info is None


async def test_history(kit):
    channel = f"chat:{kit.me}"
    await kit.publish(channel, *range(1, 6))
    sub = await kit.subscribed(await kit.connected(), channel)
    everything = await sub.history(limit=10)
    assert [kit.decode(p.data) for p in everything.publications] == [1, 2, 3, 4, 5]
    assert everything.offset == 5
    since = centrifuge.StreamPosition(2, everything.epoch)
    assert [p.offset for p in (await sub.history(limit=2, since=since)).publications] == [3, 4]
    assert [p.offset for p in (await sub.history(limit=2, reverse=True)).publications] == [5, 4]
    with pytest.raises(centrifuge.ReplyError) as refused:
        await sub.history(limit=1, since=centrifuge.StreamPosition(1, "wrong"))
    assert refused.value.code == 112


async def test_presence(kit):
    channel = f"chat:{kit.me}"
    ann = await kit.connected(token=token(f"{kit.me}-ann", info={"name": "Ann"}))
    sub = await kit.subscribed(ann, channel)
    bob = await kit.connected(token=token(f"{kit.me}-bob"))
    await kit.subscribed(bob, channel)
    clients = (await sub.presence()).clients
    assert {info.user for info in clients.values()} == {f"{kit.me}-ann", f"{kit.me}-bob"}
    own = clients[ann.events.of("connected")[0].client]
    assert kit.decode(own.conn_info) == {"name": "Ann"}
    stats = await sub.presence_stats()
    assert (stats.num_clients, stats.num_users) == (2, 2)
    await bob.disconnect()
    await until(lambda: sub.events.of("leave"), "leave")
    assert [ctx.info.user for ctx in sub.events.of("join")][-1] == f"{kit.me}-bob"
    assert sub.events.of("leave")[0].info.user == f"{kit.me}-bob"
    assert (await sub.presence_stats()).num_clients == 1


async def test_recovery_after_a_drop(kit):
    channel = f"chat:{kit.me}"
    sub = await kit.subscribed(await kit.connected(), channel)
    await kit.publish(channel, 1, 2)
    await until(lambda: len(kit.data(sub)) == 2, "live publications")
    kit.gate.shut()
    await kit.publish(channel, 3, 4, 5)
    kit.gate.reopen()
    await until(lambda: len(sub.events.of("subscribed")) == 2, "subscribed again")
    context = sub.events.of("subscribed")[1]
    assert (context.was_recovering, context.recovered) == (True, True)
    await kit.publish(channel, 6)
    await until(lambda: len(kit.data(sub)) >= 6, "recovered and live publications")
    assert kit.data(sub) == [1, 2, 3, 4, 5, 6]


async def test_too_much_missed(kit):
    channel = f"short:{kit.me}"
    sub = await kit.subscribed(await kit.connected(), channel)
    kit.gate.shut()
    await kit.publish(channel, 1, 2, 3, 4)
    kit.gate.reopen()
    await until(lambda: len(sub.events.of("subscribed")) == 2, "subscribed again")
    context = sub.events.of("subscribed")[1]
    assert (context.was_recovering, context.recovered) == (True, False)
    assert kit.data(sub) == []


async def test_cache_recovery(kit):
    channel = f"cache:{kit.me}"
    await kit.publish(channel, 1, 2)
    sub = await kit.subscribed(await kit.connected(), channel)
    await until(lambda: kit.data(sub) == [2], "the latest value")


async def test_connection_token_refresh(kit):
    asked = []

    async def get_token():
        asked.append(time.monotonic())
        return token(kit.me, exp=in_seconds(3600))

    client = await kit.connected(token=token(kit.me, exp=in_seconds(2)), get_token=get_token)
    await until(lambda: asked, "get_token")
    await asyncio.sleep(3.5)
    assert len(asked) == 1
    assert len(client.events.of("connected")) == 1
    assert not client.events.of("disconnected")


async def test_subscription_tokens(kit):
    channel = f"private:{kit.me}"
    asked = []

    async def get_token(name):
        assert name == channel
        asked.append(name)
        return token(kit.me, channel=channel, exp=in_seconds(2 if len(asked) == 1 else 3600))

    sub = await kit.subscribed(await kit.connected(), channel, get_token=get_token)
    await until(lambda: len(asked) == 2, "the second token")
    await asyncio.sleep(2.5)
    assert len(sub.events.of("subscribed")) == 1


async def test_refused_subscription(kit):
    client = await kit.connected()
    events = SubEvents()
    sub = client.new_subscription(f"private:{kit.me}", events=events)
    await sub.subscribe()
    await until(lambda: events.of("unsubscribed"), "unsubscribed")
    assert events.of("unsubscribed")[0].code == 103


async def test_rpc(kit):
    client = await kit.connected()
    await client.rpc("ping", kit.encode({}))
    with pytest.raises(centrifuge.ReplyError) as refused:
        await client.rpc("nothing", kit.encode({}))
    assert refused.value.code == 104


async def test_delta(kit):
    channel = f"delta:{kit.me}"
    values = [{"text": "the same text again " * 30, "n": n, "ü": "☃"} for n in range(6)]
    client = await kit.connected()
    sub = await kit.subscribed(client, channel, delta=centrifuge.DeltaType.FOSSIL)
    await kit.publish(channel, *values[:3])
    await until(lambda: len(kit.data(sub)) == 3, "patched publications")
    kit.gate.shut()
    await kit.publish(channel, *values[3:5])
    kit.gate.reopen()
    await until(lambda: len(kit.data(sub)) == 5, "recovered publications")
    await kit.publish(channel, values[5])
    await until(lambda: len(kit.data(sub)) == 6, "live publication")
    assert kit.data(sub) == values


async def test_tags_filter(kit):
    channel = f"tags:{kit.me}"
    wanted = centrifuge.Filter.all(
        centrifuge.Filter.is_in("kind", ["a", "b"]),
        centrifuge.Filter.negate(centrifuge.Filter.gte("n", "10")),
    )
    sub = await kit.subscribed(await kit.connected(), channel, tags_filter=wanted)
    for value, tags in (
        (1, {"kind": "a", "n": "1"}),
        (2, {"kind": "a", "n": "11"}),
        (3, {"kind": "c"}),
        (4, {"kind": "b"}),
    ):
        await kit.api("publish", channel=channel, data=value, tags=tags)
    await until(lambda: len(kit.data(sub)) == 2, "matching publications")
    assert kit.data(sub) == [1, 4]
    assert sub.events.of("publication")[0].pub.tags == {"kind": "a", "n": "1"}


async def test_server_side_subscriptions(kit):
    channel = f"chat:{kit.me}"
    client = await kit.connected(token=token(kit.me, channels=[channel]))
    events = client.events
    await until(lambda: len(events.of("subscribed")) == 2, "subscribed at connect")
    assert {ctx.channel for ctx in events.of("subscribed")} == {channel, f"#{kit.me}"}
    await kit.publish(channel, 1)
    await until(lambda: events.of("publication"), "publication")
    kit.gate.shut()
    await kit.publish(channel, 2, 3)
    kit.gate.reopen()
    await until(lambda: len(events.of("publication")) == 3, "recovered publications")
    assert [kit.decode(ctx.pub.data) for ctx in events.of("publication")] == [1, 2, 3]


async def test_server_ends_a_subscription(kit):
    sub = await kit.subscribed(await kit.connected(), f"chat:{kit.me}")
    await kit.api("unsubscribe", user=kit.me, channel=f"chat:{kit.me}")
    await until(lambda: sub.events.of("unsubscribed"), "unsubscribed")
    assert sub.events.of("unsubscribed")[0].code == 2000


@pytest.mark.parametrize(
    ("disconnect", "code", "returns"),
    [
        (None, 3503, False),
        ({"code": 4500, "reason": "go"}, 4500, False),
        ({"code": 4000, "reason": "come back"}, 4000, True),
    ],
)
async def test_disconnect_codes(kit, disconnect, code, returns):
    client = await kit.connected()
    request = {"user": kit.me} | ({"disconnect": disconnect} if disconnect else {})
    await kit.api("disconnect", **request)
    if returns:
        await until(lambda: len(client.events.of("connected")) == 2, "connected again")
        assert client.events.of("connecting")[1].code == code
    else:
        await until(lambda: client.events.of("disconnected"), "disconnected")
        assert client.events.of("disconnected")[0].code == code


async def test_invalid_token(kit):
    client = kit.client(token=token(kit.me) + "x")
    await client.connect()
    await until(lambda: client.events.of("disconnected"), "disconnected")
    assert client.events.of("disconnected")[0].code == 3500


async def test_pings(pinged_kit):
    client = await pinged_kit.connected()
    await asyncio.sleep(8.5)  # pings every 3 s, pongs within 2 s
    assert len(client.events.of("connecting")) == 1
