"""Programs that are right: no type checker has anything to say (``make check``)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from typing import assert_type

import msgspec

import flyball
from flyball import asgi, testing

node = flyball.Node(flyball.NodeOptions(name="here"))


@node.on_connecting
async def who(event: flyball.Connecting) -> flyball.Credentials:
    assert_type(event.token, str)
    return flyball.Credentials(user=event.headers.get("x-user", ""), subs=["news"])


@node.on_connected
async def connected(event: flyball.Connected) -> None:
    assert_type(event.connection, flyball.Connection)


@node.on_refresh()
def refresh(event: flyball.Refreshing) -> flyball.RefreshResult:
    return flyball.RefreshResult(expired=not event.token)


@node.on_subscribe
def may_join(event: flyball.Subscribing) -> flyball.SubscribeOptions:
    return flyball.SubscribeOptions(recoverable=True)


@node.on_subscribe("chat:*")
async def may_chat(event: flyball.Subscribing) -> flyball.SubscribeOptions:
    return may_join(event)


@node.on_subscribe("either:*")
def either(
    event: flyball.Subscribing,
) -> flyball.SubscribeOptions | Awaitable[flyball.SubscribeOptions]:
    return may_join(event) if event.user else may_chat(event)


@node.on_publish("chat:*")
@flyball.eager
async def may_write(event: flyball.Publishing) -> flyball.PublishOptions | flyball.PublishResult:
    if event.user:
        return flyball.PublishOptions(history_size=10, history_ttl=60)
    return await node.publish(event.channel, event.data)


@node.on_publish("open:*")
def anybody(event: flyball.Publishing) -> flyball.PublishOptions:
    return flyball.PublishOptions()


@node.on_presence
def may_see(event: flyball.PresenceQuery) -> bool:
    return event.connection.is_subscribed(event.channel)


@node.on_history
async def may_read(event: flyball.HistoryQuery) -> bool | flyball.HistoryFilter:
    return event.query if event.user else False


@node.on_rpc("add")
def add(event: flyball.Rpc) -> int:
    return sum(event.json())


@node.on_message
def message(event: flyball.Message) -> None:
    print(event.json())


@node.on_disconnected
def gone(event: flyball.Disconnected) -> None:
    print(event.code, event.reason)


assert_type(may_join(flyball.Subscribing(channel="x", connection=NotImplemented)).positioned, bool)


async def main() -> None:
    async with node:
        result = await node.publish("news", {"a": 1}, history_size=10, history_ttl=60.0)
        assert_type(result, flyball.PublishResult)
        await node.publish("news", b"[]", flyball.PublishOptions(), tags={"a": "b"})
        await node.subscribe_user("42", "news", recoverable=True, client="c")
        async with node.subscribe("news", since=flyball.StreamPosition(1, "e")) as reader:
            async for publication in reader:
                assert_type(publication, flyball.Publication)
    async with flyball.serve(node, port=0, origins=["*"]) as listener:
        port: int = listener.port
        print(port)
        client = testing.TestClient(node)
        await client.connect("token")


def served() -> None:
    application = asgi.app(node, origins=["https://example.com"])
    assert_type(application, asgi.App)
    flyball.run(node, host="", port=8000, ssl_context=ssl.create_default_context())
    asyncio.run(main())


def from_a_thread() -> None:
    assert_type(node.threadsafe.publish("news", 1, history_size=1), flyball.PublishResult)
    node.threadsafe.subscribe_user("42", "news", recoverable=True)


def from_another_process() -> None:
    with flyball.Publisher("http://localhost:8000/api", key="secret") as publisher:
        assert_type(publisher.publish("news", {"a": 1}, delta=True), flyball.PublishResult)
        assert_type(publisher.broadcast(["a", "b"], b"[]"), list[flyball.PublishResult])
    with flyball.Publisher("redis://localhost:6379") as publisher:
        publisher.publish("news", 1, history_size=1, history_ttl=9.5, idempotency_ttl=1.5)
    flyball.Publisher(flyball.Engine())


async def from_another_async_process() -> None:
    async with flyball.AsyncPublisher("http://localhost:8000/api", key="secret") as publisher:
        assert_type(await publisher.publish("news", 1), flyball.PublishResult)


class Line(msgspec.Struct):
    text: str


chat = node.channel("typed:*", Line)


@chat.on_publish
def checked(event: flyball.Publishing) -> flyball.PublishOptions:
    assert_type(event.json(Line), Line)
    assert_type(event.data, flyball.Data)
    return flyball.PublishOptions()


@node.on_rpc("sum", schema=list[int])
def total(event: flyball.Rpc) -> int:
    return sum(event.json(list[int]))


async def typed() -> None:
    await chat.publish("typed:1", Line("hello"), history_size=1)
    async with chat.subscribe("typed:1") as lines:
        async for line in lines:
            assert_type(line, Line)
    publication = await anext(node.subscribe("news"))
    assert_type(publication.json(Line), Line)
