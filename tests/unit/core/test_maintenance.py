"""What is done for sessions from time to time, with stores that are slow or away."""

import asyncio

import pytest

import flyball
from flyball.core.errors import EngineError
from flyball.core.memory import MemoryPresenceManager
from flyball.core.node import Node, NodeOptions
from flyball.testing import TestClient, settle

KEPT = {"history_size": 9, "history_ttl": 600}
INTERVAL = 27


class Presence(MemoryPresenceManager):
    """Fails, or waits, as the test says."""

    error = None
    gate = None

    async def add_presence(self, channel, client_id, info):
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        await super().add_presence(channel, client_id, info)


@pytest.fixture
def presence(clock):
    return Presence(clock)


@pytest.fixture
async def node(clock, broker, presence):
    options = NodeOptions(ping_interval=0)
    async with Node(
        options, clock=clock, broker=broker, presence_manager=presence, clients=False
    ) as node:
        node.on_connecting(lambda event: flyball.Credentials(user="ann"))
        node.on_subscribe(lambda event: flyball.SubscribeOptions(presence=True, recoverable=True))
        yield node


@pytest.fixture
async def client(node):
    client = TestClient(node)
    await client.connect()
    await client.subscribe("news")
    return client


async def wait(clock, seconds=INTERVAL):
    clock.advance(seconds)
    await settle()


class TestPresence:
    async def test_it_is_prolonged(self, node, client, clock):
        for _ in range(4):
            await wait(clock)
            assert len(await node.presence("news")) == 1

    async def test_a_store_that_is_away(self, node, client, clock, presence, caplog):
        presence.error = OSError("the store is away")
        await wait(clock)
        assert "cannot prolong presence in 'news': the store is away" in caplog.text
        assert client.closed_code is None
        presence.error = None
        await wait(clock)
        assert len(await node.presence("news")) == 1

    async def test_who_leaves_meanwhile_leaves_no_entry(self, node, client, clock, presence):
        presence.gate = asyncio.Event()
        await wait(clock)
        await client.unsubscribe("news")
        presence.gate.set()
        await settle()
        assert await node.presence("news") == {}

    async def test_who_goes_meanwhile_leaves_no_entry(self, node, client, clock, presence):
        await client.subscribe("olds")
        presence.gate = asyncio.Event()
        await wait(clock)
        client.drop()
        presence.gate.set()
        await settle()
        assert await node.presence("news") == await node.presence("olds") == {}

    async def test_a_slow_store_is_asked_once_at_a_time(self, client, clock, presence):
        presence.gate = asyncio.Event()
        calls = []
        waits = presence.gate.wait

        async def wait_and_count():
            calls.append(1)
            await waits()

        presence.gate.wait = wait_and_count
        for _ in range(3):
            await wait(clock)
        assert len(calls) == 1
        presence.gate.set()
        await settle()
        await wait(clock)
        assert len(calls) == 2


class TestPositions:
    async def test_a_store_that_is_away(self, node, client, clock, broker, caplog):
        broker.fail_with(OSError("the store is away"))
        await wait(clock, 60)
        assert "cannot check the position in 'news': the store is away" in caplog.text
        assert client.take() == []
        broker.fail_with(None)

    async def test_who_leaves_meanwhile_is_not_looked_at(self, node, client, clock, broker):
        broker.hold("history")
        await wait(clock, 60)
        assert broker.held
        await client.unsubscribe("news")
        broker.forget("news")
        broker.release()
        await settle()
        assert client.take() == []

    async def test_what_is_on_its_way_is_waited_for(self, node, client, clock, broker):
        broker.hold_deliveries()
        await node.publish("news", 1, **KEPT)
        while client.session.subscriptions["news"].suspect_offset < 0:
            await wait(clock, 0.5)
        assert client.take() == []
        broker.deliver()
        await wait(clock, 2)
        (push,) = client.take()
        assert push.pub.offset == 1

    async def test_what_is_lost_is_told_at_the_second_look(self, node, client, clock, broker):
        broker.hold_deliveries()
        await node.publish("news", 1, **KEPT)
        broker.lose_deliveries()
        broker.deliver()
        await wait(clock, 60)
        await wait(clock, 2)
        (push,) = client.take()
        assert push.unsubscribe.code == 2500

    async def test_the_top_is_read_once_for_all(self, node, client, clock, broker):
        others = [TestClient(node) for _ in range(3)]
        for other in others:
            await other.connect()
            await other.subscribe("news")
        broker.hold("history")
        node._run.on_broker_restored()
        await wait(clock, 0.1)
        before = node.metrics.history_reads
        assert len(broker.held) == 1  # the other three wait for the next one, together
        broker.release()
        await settle()
        assert node.metrics.history_reads == before + 1
        broker.hold("history")
        for session in node.hub.sessions.values():
            session.check_positions_soon()
        await wait(clock, 0.1)
        assert not broker.held  # it was read a moment ago
        broker.release()

    async def test_what_was_read_before_a_link_was_lost_says_nothing(
        self, node, client, clock, broker
    ):
        broker.hold("history")
        node._run.on_broker_restored()
        await wait(clock, 0.1)
        await wait(clock, 0.1)
        node._run.on_broker_restored()
        await settle()
        broker.release()
        await settle()
        assert node.hub.channels["news"].top is None

    async def test_a_check_that_failed_is_made_again(self, node, client, clock, broker):
        await node.publish("news", 1, history_size=5, history_ttl=60)
        broker.fail_with(EngineError("the store is away"))
        node._run.on_broker_restored()
        await wait(clock, 0.1)
        broker.fail_with(None)
        broker.forget("news")
        client.take("news")
        await wait(clock, 10.1)
        (push,) = client.take("news")
        assert push.unsubscribe.code == 2500

    async def test_a_stream_that_went_back_gets_a_fresh_epoch(self, node, client, clock, broker):
        for n in (1, 2, 3):
            await node.publish("news", n, history_size=5, history_ttl=60)
        client.take("news")
        before = broker.inner._streams["news"].epoch
        broker.inner._streams["news"].top = 2  # a replica without the last publication took over
        node._run.on_broker_restored()
        await wait(clock, 0.1)
        (push,) = client.take("news")
        assert push.unsubscribe.code == 2500
        assert broker.inner._streams["news"].epoch != before

    async def test_checks_can_be_switched_off(self, clock, broker):
        options = NodeOptions(ping_interval=0, channel_position_check_delay=0)
        async with Node(options, clock=clock, broker=broker, clients=False) as node:
            node.on_connecting(lambda event: flyball.Credentials())
            node.on_subscribe(lambda event: flyball.SubscribeOptions(recoverable=True))
            client = TestClient(node)
            await client.connect()
            await client.subscribe("news")
            broker.forget("news")
            await wait(clock, 120)
            assert client.take() == []


class TestExpiry:
    @pytest.fixture
    def expiring(self, node, clock):
        """Subscriptions that the server refreshes; ``answers`` are what the program says."""
        answers = []

        @node.on_sub_refresh
        def sub_refresh(event):
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        node._handlers.on_subscribe.plain = lambda event: flyball.SubscribeOptions(
            expire_at=clock.time() + 60, client_side_refresh=False
        )
        return answers

    @pytest.mark.parametrize(
        "answer",
        [flyball.RefreshResult(expired=True), flyball.Error(100), flyball.RefreshResult(1)],
    )
    async def test_what_is_not_prolonged_ends(self, node, clock, expiring, answer):
        expiring.append(answer)
        client = TestClient(node)
        await client.connect()
        await client.subscribe("news")
        for _ in range(5):
            await wait(clock)
        (push,) = client.take()
        assert push.unsubscribe.code == 2501

    async def test_what_is_prolonged_lives_on(self, node, clock, expiring):
        expiring += [
            flyball.RefreshResult(clock.time() + 600, info=flyball.Raw(b"1")),
        ]
        client = TestClient(node)
        await client.connect()
        await client.subscribe("news")
        for _ in range(5):
            await wait(clock)
        assert client.take() == []
        assert client.session.connection.subscription("news").expire_at == clock.time() - 135 + 600
        assert not expiring

    async def test_a_server_side_one_ends_the_connection(self, node, clock):
        over = flyball.SubscribeOptions(expire_at=clock.time() + 10)
        node._handlers.on_connecting.plain = lambda event: flyball.Credentials(subs={"news": over})
        client = TestClient(node)
        await client.connect()
        for _ in range(3):
            await wait(clock)
        assert client.closed_code == 3006

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (flyball.RefreshResult(expired=True), 3005),
            (flyball.Error(100), 3005),
            (flyball.Disconnect(4001), 4001),
            (flyball.RefreshResult(), None),
        ],
    )
    async def test_connections_that_the_server_refreshes(self, node, clock, answer, code):
        @node.on_refresh
        def refresh(event):
            if isinstance(answer, Exception):
                raise answer
            return answer

        soon = clock.time() + 10
        node._handlers.on_connecting.plain = lambda event: flyball.Credentials(
            expire_at=soon, client_side_refresh=False
        )
        client = TestClient(node)
        await client.connect()
        await wait(clock, 11)
        assert client.closed_code == code


async def test_a_store_that_is_away_at_the_end(node, client, broker, caplog):
    ended = []
    node.on_unsubscribed(lambda event: ended.append(event.channel))
    node.on_disconnected(lambda event: ended.append(event.code))
    broker.fail_with(OSError("the store is away"))
    client.drop()
    await settle()
    broker.fail_with(None)
    assert "leaving 'news' failed: the store is away" in caplog.text
    assert ended == ["news", 3000]
    assert not node.hub.channels


class TestBinary:
    """What the protocol of a client cannot carry ends its connection, and nobody else's."""

    @pytest.fixture
    async def clients(self, node):
        found = [TestClient(node, protocol=p) for p in ("json", "protobuf")]
        for client in found:
            await client.connect()
            await client.subscribe("news")
        return found

    async def test_publications(self, node, clients):
        await node.publish("news", b"\xff", **KEPT)
        await settle()
        assert [client.closed_code for client in clients] == [3506, None]
        assert [bytes(p.data) for p in clients[1].take_publications()] == [b"\xff"]

    async def test_pushes(self, node, clients):
        options = flyball.SubscribeOptions(data=flyball.Raw(b"\xff"))
        with pytest.raises(flyball.Error):  # refused before anything is done
            await node.subscribe_user("ann", "olds", options)
        assert [client.closed_code for client in clients] == [None, None]
        assert [client.session.is_subscribed("olds") for client in clients] == [False, True]

    async def test_during_a_subscribe(self, node, broker):
        client = TestClient(node)
        await client.connect()
        broker.hold("history")
        client.send(subscribe={"channel": "news"})
        await settle()
        broker.held[0].perform()
        await node.publish("news", b"\xff", **KEPT)
        broker.release()
        await settle()
        assert client.closed_code == 3506
