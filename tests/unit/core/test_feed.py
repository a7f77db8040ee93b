"""Feeds: what a program sends to one subscription alone, from its beginning to its end."""

import asyncio
import logging

import pytest
from core_harness import Wire, error

import flyball
from flyball.protocol import codes
from flyball.testing import ControlledBroker, settle

UNSUBSCRIBED = [
    {"push": {"channel": "f:1", "unsubscribe": {"code": code, "reason": reason}}}
    for code, reason in ((2000, "server unsubscribe"), (2500, "insufficient state"))
]
ENDED, FAILED = UNSUBSCRIBED


class Source:
    """A feed that the test moves; ``closed`` counts how often it was closed."""

    def __init__(self, *items):
        self.waiting = asyncio.Queue()
        self.closed = 0
        for item in items:
            self.give(item)

    def give(self, item):
        self.waiting.put_nowait(item)

    async def __aiter__(self):
        while True:
            item = await self.waiting.get()
            if isinstance(item, Exception):
                raise item
            if item is StopAsyncIteration:
                return
            yield item

    async def aclose(self):
        self.closed += 1


@pytest.fixture
def source(node):
    made = Source()
    allow(node, feed=made)
    return made


def allow(node, **options):
    @node.on_subscribe("f:*")
    def subscribe(event):
        return flyball.SubscribeOptions(**options)


def data(messages):
    return [m["push"]["pub"] for m in messages if "pub" in m.get("push", {})]


def tasks(node):
    return len(node.tasks)


async def test_what_it_gives_follows_the_reply(node, wire):
    async def feed():
        yield {"n": 1}
        yield b"2"
        yield flyball.Publication(flyball.Raw(b"3"), tags={"k": "v"}, offset=7)
        await asyncio.Event().wait()

    allow(node, feed=feed())
    assert wire.subscribe("f:1") == {}
    await settle()
    assert data(wire.take()) == [{"data": {"n": 1}}, {"data": 2}, {"data": 3, "tags": {"k": "v"}}]
    assert tasks(node) == 1


async def test_nobody_else_gets_it(node, wire):
    other = Wire(node)
    other.connect()

    @node.on_subscribe("f:*")
    def subscribe(event):
        mine = event.client_id == wire.session.client_id
        return flyball.SubscribeOptions(feed=Source(1) if mine else None)

    wire.subscribe("f:1")
    other.subscribe("f:1")
    await settle()
    assert data(wire.take()) == [{"data": 1}]
    assert other.take() == []
    await node.publish("f:1", 2)
    assert data(wire.take()) == data(other.take()) == [{"data": 2}]


async def test_its_end_ends_the_subscription(node, wire, source):
    ended = []
    node.on_unsubscribed(ended.append)
    wire.subscribe("f:1")
    source.give(1)
    source.give(StopAsyncIteration)
    await settle()
    assert [*data(wire.take()[:1])] == [{"data": 1}]
    assert [(e.channel, e.code) for e in ended] == [("f:1", 2000)]
    assert not wire.session.subscriptions
    assert (source.closed, tasks(node)) == (1, 0)
    assert wire.subscribe("f:1") == {}


async def test_a_clean_end_is_told(wire, source):
    wire.subscribe("f:1")
    source.give(StopAsyncIteration)
    await settle()
    assert wire.take() == [ENDED]


class Told(Exception):
    logged = True


@pytest.mark.parametrize(
    ("problem", "level"),
    [
        (RuntimeError("broken"), logging.ERROR),
        (flyball.Error(1000, "no more"), logging.WARNING),
        (Told(), None),
    ],
)
async def test_a_failure_makes_the_client_come_back(wire, source, caplog, problem, level):
    wire.subscribe("f:1")
    source.give(problem)
    await settle()
    assert wire.take() == [FAILED]
    levels = [record.levelno for record in caplog.records if "the feed of" in record.message]
    assert levels == ([level] if level else [])
    assert source.closed == 1


async def test_what_is_no_payload_is_a_failure(wire, source):
    wire.subscribe("f:1")
    source.give(object())
    await settle()
    assert wire.take() == [FAILED]


async def test_what_cannot_be_iterated_is_a_failure(node, wire):
    allow(node, feed=5)
    wire.subscribe("f:1")
    await settle()
    assert wire.take() == [FAILED]


@pytest.mark.parametrize(("last", "code"), [(StopAsyncIteration, None), (ValueError(), 3010)])
async def test_a_subscription_made_by_the_server(node, last, code):
    source = Source(1, last)
    node._handlers.on_connecting.plain = lambda event: flyball.Credentials(
        subs={"f:1": flyball.SubscribeOptions(feed=source)}
    )
    wire = Wire(node)
    wire.connect()
    await settle()
    messages = wire.take()
    assert data(messages) == [{"data": 1}]
    assert wire.closed_by == code
    assert (ENDED in messages) is (code is None)
    assert source.closed == 1


async def test_it_may_end_the_connection(node, wire, source):
    wire.subscribe("f:1")
    source.give(flyball.Disconnect(4501, "enough"))
    await settle()
    assert wire.closed_by == 4501
    assert (source.closed, tasks(node)) == (1, 0)


async def test_the_client_ends_it(node, wire, source):
    wire.subscribe("f:1")
    await settle()
    assert wire.one(unsubscribe={"channel": "f:1"}) == {"id": 1, "unsubscribe": {}}
    await settle()
    assert (source.closed, tasks(node)) == (1, 0)
    source.give(1)
    await settle()
    assert wire.take() == []


async def test_the_end_of_the_connection_ends_it(node, wire, source):
    wire.subscribe("f:1")
    await settle()
    wire.session.connection_lost()
    await settle()
    assert (source.closed, tasks(node)) == (1, 0)


async def test_an_end_before_its_first_turn(node, wire, source):
    wire.subscribe("f:1")
    wire.session.connection_lost()
    await settle()
    assert tasks(node) == 0


async def test_shutdown_ends_it(node, wire, source):
    wire.subscribe("f:1")
    await settle()
    await node.shutdown()
    assert source.closed == 1


@pytest.mark.parametrize("raises", [False, True])
async def test_a_refused_subscription_closes_it(node, wire, caplog, raises):
    source = Source()
    if raises:

        async def aclose():
            raise OSError("cannot be closed")

        source.aclose = aclose
    allow(node, feed=source, expire_at=1)
    assert error(wire.one(subscribe={"channel": "f:1"})) == 110
    assert source.closed == (not raises)
    assert ("cannot be closed" in caplog.text) is raises
    assert tasks(node) == 0


async def test_a_source_without_a_close(node, wire):
    class Plain:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

    allow(node, feed=Plain(), expire_at=1)
    assert error(wire.one(subscribe={"channel": "f:1"})) == 110
    allow_again = flyball.SubscribeOptions(feed=Plain())
    node.on_subscribe("g:*")(lambda event: allow_again)
    wire.subscribe("g:1")
    await settle()
    assert wire.take()[0]["push"]["unsubscribe"]["code"] == 2000


async def test_an_unsubscribe_that_overtakes_the_subscribe(clock):
    broker = ControlledBroker(clock)
    node, source = flyball.Node(broker=broker, clock=clock), Source(1)
    node.on_connecting(lambda event: flyball.Credentials(user="u1"))
    allow(node, feed=source)
    async with node:
        wire = Wire(node)
        wire.connect()
        broker.hold("subscribe")
        wire.ask(subscribe={"channel": "f:1"})
        await node.unsubscribe_user("u1", "f:1")
        broker.release()
        await settle()
        assert wire.take()[-1] == ENDED
        assert source.closed == 1


async def test_it_may_end_its_own_subscription(node, wire):
    closed = []

    async def feed(last):
        try:
            yield 1
            await node.unsubscribe_user("u1", "f:1")
            if last is None:
                yield 2
            elif last:
                raise RuntimeError("after the end")
            await asyncio.Event().wait()
        finally:
            closed.append(last)

    for last in (None, False, True):
        node.on_subscribe.__self__._handlers.on_subscribe.patterns.clear()
        allow(node, feed=feed(last))
        wire.subscribe("f:1")
        await settle()
        messages = wire.take()
        assert data(messages) == [{"data": 1}]
        assert messages[-1] == ENDED
    assert closed == [None, False, True]
    assert tasks(node) == 0


async def test_one_that_never_waits_leaves_turns_to_others(node, wire):
    async def feed():
        while True:
            yield "x" * 1000

    allow(node, feed=feed())
    wire.subscribe("f:1")
    wire.pause()
    await settle(100)
    assert wire.closed_by == codes.DISCONNECT_SLOW.code
    assert tasks(node) == 0


async def test_filters_and_delta_hold(node, wire):
    source = Source()
    allow(node, feed=source, allow_tags_filter=True, allowed_deltas=frozenset({"fossil"}))
    only_a = {"key": "k", "cmp": "eq", "val": "a"}
    assert wire.subscribe("f:1", tf=only_a, delta="fossil") == {"delta": True}
    for value in "ab":
        source.give(flyball.Publication(flyball.Raw(b'{"v":1}'), tags={"k": value}))
    await settle()
    assert data(wire.take()) == [{"data": '{"v":1}', "tags": {"k": "a"}}]


async def test_data_that_the_client_cannot_read(wire, source):
    wire.subscribe("f:1")
    source.give(b"\xff")
    await settle()
    assert wire.closed_by == codes.DISCONNECT_INAPPROPRIATE_PROTOCOL.code


async def test_another_channel_as_a_feed(node, wire):
    node.on_subscribe("f:*")(lambda e: flyball.SubscribeOptions(feed=node.subscribe("all")))
    wire.subscribe("f:1")
    await settle()
    await node.publish("all", 1, tags={"k": "v"})
    await settle()
    assert data(wire.take()) == [{"data": 1, "tags": {"k": "v"}}]
    wire.ask(unsubscribe={"channel": "f:1"})
    await settle()
    assert "all" not in node.hub.channels


async def test_a_typed_channel_as_a_feed(node, wire):
    numbers = node.channel("n:*", int)
    node.on_subscribe("f:*")(lambda e: flyball.SubscribeOptions(feed=numbers.subscribe("n:1")))
    wire.subscribe("f:1")
    await settle()
    await node.publish("n:1", 5)
    await settle()
    assert data(wire.take()) == [{"data": 5}]
    wire.session.connection_lost()
    await settle()
    assert "n:1" not in node.hub.channels


async def test_it_does_not_go_to_other_nodes(node):
    with pytest.raises(flyball.ConfigError, match="subscribe_user takes no feed"):
        await node.subscribe_user("u1", "f:1", feed=Source())


async def test_what_the_client_publishes_can_go_into_it(node, wire):
    @node.on_publish("f:*")
    def publish(event):
        sub = event.connection.subscription(event.channel)
        if sub is None:
            raise flyball.PermissionDenied("not subscribed")
        sub.options.feed.give({"echo": event.json()})
        return flyball.PublishResult()

    allow(node, feed=Source())
    assert error(wire.one(publish={"channel": "f:1", "data": 1})) == 103
    wire.subscribe("f:1")
    assert wire.one(publish={"channel": "f:1", "data": 1}) == {"id": 1, "publish": {}}
    await settle()
    assert data(wire.take()) == [{"data": {"echo": 1}}]
