"""cent, the official Python client of the server API, against our ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import cent
import pytest

from flyball.core.node import Node
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.routes import Routes
from flyball.server.api.http import ApiHandler, HttpApiOptions
from flyball.server.api.service import ApiService
from flyball.server.channels.options import ChannelOptions
from flyball.server.channels.rules import ChannelRules, ChannelRulesOptions

KEY = "secret"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Address of a served API."""
    node = Node(clients=False)
    history = ChannelOptions(presence=True, history_size=10, history_ttl=60.0)
    service = ApiService(node, ChannelRules(ChannelRulesOptions(namespaces={"hist": history})))
    routes = ApiHandler(service, HttpApiOptions(key=KEY)).routes()
    listener = Listener(ListenerOptions("127.0.0.1"), Routes(routes))
    await node.start()
    await listener.start()
    yield f"http://127.0.0.1:{listener.port}/api"
    listener.stop_accepting()
    await node.shutdown()
    await listener.close()


@pytest.fixture
async def client(url: str) -> AsyncIterator[cent.AsyncClient]:
    async with aiohttp.ClientSession() as session:
        yield cent.AsyncClient(url, KEY, session=session)


async def test_publications(client: cent.AsyncClient) -> None:
    published = await client.publish(
        cent.PublishRequest(
            channel="hist:a",
            data={"n": 1},
            tags={"k": "v"},
            idempotency_key="i",
            skip_history=False,
        )
    )
    assert published.offset == 1
    sent = await client.broadcast(
        cent.BroadcastRequest(channels=["hist:a", "news", "nons:a"], data={"n": 2}, b64data="e30=")
    )
    first, second, third = sent.responses
    assert first.result.offset == 2
    assert (second.result.offset, second.result.epoch) == (0, "")
    assert third.error.code == 102
    history = await client.history(
        cent.HistoryRequest(
            channel="hist:a",
            limit=10,
            since=cent.StreamPosition(offset=1, epoch=published.epoch),
            reverse=False,
        )
    )
    assert [p.data for p in history.publications] == [{}]
    assert (history.offset, history.epoch) == (2, published.epoch)
    await client.history_remove(cent.HistoryRemoveRequest(channel="hist:a"))
    history = await client.history(cent.HistoryRequest(channel="hist:a", limit=-1))
    assert history.publications == []


async def test_connections(client: cent.AsyncClient) -> None:
    await client.subscribe(
        cent.SubscribeRequest(
            user="42",
            channel="hist:a",
            info={"i": 1},
            data={"d": 1},
            b64info="e30=",
            b64data="e30=",
            client="c",
            session="s",
            recover_since=cent.StreamPosition(offset=1, epoch="e"),
            override=cent.ChannelOptionsOverride(presence=cent.BoolValue(value=True)),
        )
    )
    await client.unsubscribe(cent.UnsubscribeRequest(user="42", channel="hist:a", client="c"))
    await client.refresh(cent.RefreshRequest(user="42", expired=False, expire_at=1))
    await client.disconnect(
        cent.DisconnectRequest(
            user="42", whitelist=["c"], disconnect=cent.Disconnect(code=4000, reason="r")
        )
    )


async def test_questions(client: cent.AsyncClient) -> None:
    presence = await client.presence(cent.PresenceRequest(channel="hist:a"))
    assert presence.presence == {}
    stats = await client.presence_stats(cent.PresenceStatsRequest(channel="hist:a"))
    assert (stats.num_clients, stats.num_users) == (0, 0)
    channels = await client.channels(cent.ChannelsRequest(pattern="hist:*"))
    assert channels.channels == {}
    info = await client.info(cent.InfoRequest())
    assert len(info.nodes) == 1


async def test_batch(client: cent.AsyncClient) -> None:
    requests = [
        cent.PublishRequest(channel="hist:b", data=1),
        cent.PresenceRequest(channel="hist:b"),
        cent.InfoRequest(),
    ]
    for parallel in (True, False):
        result = await client.batch(cent.BatchRequest(requests=requests, parallel=parallel))
        assert len(result.replies) == 3


async def test_errors(client: cent.AsyncClient, url: str) -> None:
    with pytest.raises(cent.CentApiResponseError) as refused:
        await client.presence(cent.PresenceRequest(channel="news"))
    assert refused.value.code == 108
    async with aiohttp.ClientSession() as session:
        stranger = cent.AsyncClient(url, "wrong", session=session)
        with pytest.raises(cent.CentUnauthorizedError):
            await stranger.info(cent.InfoRequest())


async def test_synchronous_client(url: str) -> None:
    client = cent.Client(url, KEY)
    try:
        result = await asyncio.to_thread(
            client.publish, cent.PublishRequest(channel="hist:c", data="x")
        )
    finally:
        client.close()
    assert result.offset == 1
