"""cent against a running server: every method, with its effect on a live client."""

import asyncio
import time

import aiohttp
import cent
import centrifuge
import pytest
from sdk_server import API_KEY, token
from test_centrifuge_python import Events, SubEvents
from waiting import PATIENCE, until


@pytest.fixture
def me(request):
    """User and end of channel names: tests share the server."""
    return f"cent-{request.function.__name__}"


@pytest.fixture
async def api(server):
    async with aiohttp.ClientSession() as session:
        yield cent.AsyncClient(server.api, API_KEY, session=session)


@pytest.fixture
async def client(server, me):
    """A connected client of user ``me``."""
    events = Events()
    made = centrifuge.Client(server.websocket, events=events, token=token(me), proxy=None)
    made.events = events
    await made.connect()
    await made.ready(PATIENCE)
    yield made
    await made.disconnect()


@pytest.fixture
async def sub(client, me):
    """Its subscription to ``chat:me``."""
    made = client.new_subscription(f"chat:{me}", events=SubEvents())
    await made.subscribe()
    await made.ready(PATIENCE)
    return made


def data(client):
    return [ctx.pub.data for ctx in client.events.of("publication")]


async def test_publish_and_broadcast(api, client, me):
    channels = [f"chat:{me}-{n}" for n in range(2)]
    for channel in channels:
        await api.subscribe(cent.SubscribeRequest(user=me, channel=channel))
    first = await api.publish(
        cent.PublishRequest(
            channel=channels[0], data={"n": 1}, tags={"k": "v"}, idempotency_key="once"
        )
    )
    again = await api.publish(
        cent.PublishRequest(channel=channels[0], data={"n": 1}, idempotency_key="once")
    )
    assert (first.offset, again.offset) == (1, 1)
    assert first.epoch == again.epoch
    sent = await api.broadcast(
        cent.BroadcastRequest(channels=[*channels, "nowhere:x"], data={"n": 2})
    )
    assert [r.result and r.result.offset for r in sent.responses] == [2, 1, None]
    assert sent.responses[2].error.code == 102
    await until(lambda: len(data(client)) == 3, "publications")
    assert data(client) == [{"n": 1}, {"n": 2}, {"n": 2}]
    assert client.events.of("publication")[0].pub.tags == {"k": "v"}


async def test_history(api, me):
    channel = f"chat:{me}"
    for n in range(4):
        await api.publish(cent.PublishRequest(channel=channel, data=n))
    history = await api.history(cent.HistoryRequest(channel=channel, limit=2, reverse=True))
    assert [p.data for p in history.publications] == [3, 2]
    since = cent.StreamPosition(offset=1, epoch=history.epoch)
    history = await api.history(cent.HistoryRequest(channel=channel, limit=2, since=since))
    assert [p.offset for p in history.publications] == [2, 3]
    await api.history_remove(cent.HistoryRemoveRequest(channel=channel))
    history = await api.history(cent.HistoryRequest(channel=channel, limit=-1))
    assert (history.publications, history.offset) == ([], 4)
    with pytest.raises(cent.CentApiResponseError) as refused:
        await api.history(cent.HistoryRequest(channel=f"bin:{me}", limit=1))
    assert refused.value.code == 108


async def test_subscribe_and_unsubscribe(api, client, me):
    channel = f"private:{me}"
    await api.subscribe(
        cent.SubscribeRequest(
            user=me,
            channel=channel,
            info={"role": "guest"},
            data={"hello": 1},
            override=cent.ChannelOptionsOverride(presence=cent.BoolValue(value=True)),
        )
    )
    await until(
        lambda: channel in [ctx.channel for ctx in client.events.of("subscribed")], "subscribe push"
    )
    assert client.events.of("subscribed")[-1].data == {"hello": 1}
    presence = (await api.presence(cent.PresenceRequest(channel=channel))).presence
    assert [(i.user, i.chan_info) for i in presence.values()] == [(me, {"role": "guest"})]
    await api.unsubscribe(cent.UnsubscribeRequest(user=me, channel=channel))
    await until(lambda: client.events.of("unsubscribed"), "unsubscribe push")
    stats = await api.presence_stats(cent.PresenceStatsRequest(channel=channel))
    assert (stats.num_clients, stats.num_users) == (0, 0)


async def test_presence_and_channels(api, client, sub, me):
    channel = f"chat:{me}"
    presence = (await api.presence(cent.PresenceRequest(channel=channel))).presence
    own = client.events.of("connected")[0].client
    assert {key: info.user for key, info in presence.items()} == {own: me}
    stats = await api.presence_stats(cent.PresenceStatsRequest(channel=channel))
    assert (stats.num_clients, stats.num_users) == (1, 1)
    channels = (await api.channels(cent.ChannelsRequest(pattern=f"chat:{me}*"))).channels
    assert {name: entry.num_clients for name, entry in channels.items()} == {channel: 1}
    assert sub.events.of("subscribed")[0].channel == channel


async def test_refresh(api, client, me):
    await api.refresh(cent.RefreshRequest(user=me, expire_at=int(time.time()) + 3600))
    await api.refresh(cent.RefreshRequest(user=me, expired=True))
    await until(lambda: len(client.events.of("connecting")) > 1, "connection expired")
    assert [context.code for context in client.events.of("connecting")][1:] == [3005]


async def test_disconnect(api, client, me):
    own = client.events.of("connected")[0].client
    await api.disconnect(cent.DisconnectRequest(user=me, whitelist=[own]))
    await api.disconnect(
        cent.DisconnectRequest(user=me, disconnect=cent.Disconnect(code=4600, reason="enough"))
    )
    await until(lambda: client.events.of("disconnected"), "disconnected")
    (context,) = client.events.of("disconnected")
    assert (context.code, context.reason) == (4600, "enough")


@pytest.mark.usefixtures("sub")
async def test_info(api):
    (node,) = (await api.info(cent.InfoRequest())).nodes
    assert node.num_clients >= 1
    assert node.num_users >= 1
    assert node.num_channels >= 1
    assert node.num_subs >= 1
    assert node.uptime >= 0
    assert node.version.endswith(" OSS")


@pytest.mark.parametrize("parallel", [True, False])
async def test_batch(api, me, parallel):
    channel = f"chat:{me}-{parallel}"
    result = await api.batch(
        cent.BatchRequest(
            requests=[
                cent.PublishRequest(channel=channel, data=1),
                cent.PresenceStatsRequest(channel=channel),
                cent.InfoRequest(),
            ],
            parallel=parallel,
        )
    )
    assert len(result.replies) == 3
    assert result.replies[0].offset == 1


async def test_errors(server, api):
    with pytest.raises(cent.CentApiResponseError) as refused:
        await api.publish(cent.PublishRequest(channel="nowhere:x", data=1))
    assert refused.value.code == 102
    async with aiohttp.ClientSession() as session:
        stranger = cent.AsyncClient(server.api, "wrong", session=session)
        with pytest.raises(cent.CentUnauthorizedError):
            await stranger.info(cent.InfoRequest())


async def test_rpc_is_a_route(server):
    """cent has no call for it; every call is an unknown method."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{server.api}/rpc", json={"method": "x"}, headers={"X-API-Key": API_KEY}
        ) as answer,
    ):
        assert (await answer.json())["error"]["code"] == 104


async def test_synchronous_client(server, me):
    with cent.Client(server.api, API_KEY) as client:
        result = await asyncio.to_thread(
            client.publish, cent.PublishRequest(channel=f"chat:{me}", data="x")
        )
    assert result.offset == 1
