"""The testing kit, used as its users do."""

import msgspec
import pytest

import flyball
from flyball.aio.eager import start_eagerly
from flyball.protocol import messages
from flyball.testing import (
    ControlledBroker,
    MemoryTransport,
    NoReplyError,
    TestClient,
    TestClock,
    memory_framing,
    settle,
)

HISTORY = {"history_size": 10, "history_ttl": 60}


@pytest.fixture
def node(flyball_node):
    """Everybody is welcome everywhere."""
    flyball_node.on_connecting(lambda e: flyball.Credentials(user=e.token or "ann"))
    flyball_node.on_subscribe(lambda e: flyball.SubscribeOptions(recoverable=True, presence=True))
    flyball_node.on_publish(lambda e: flyball.PublishOptions(**HISTORY))
    flyball_node.on_presence(lambda e: True)
    flyball_node.on_history(lambda e: True)
    flyball_node.on_rpc(lambda e: e.json() * 2)
    return flyball_node


async def test_example_of_the_package(flyball_node, flyball_clock, flyball_client):
    flyball_node.on_connecting(lambda event: flyball.Credentials(user="ann"))
    flyball_node.on_subscribe(lambda event: flyball.SubscribeOptions(recoverable=True))
    await flyball_client.connect()
    await flyball_client.subscribe("news")
    flyball_client.drop()
    flyball_clock.advance(3600)
    await flyball_node.publish("news", "late", history_size=10, history_ttl=60)
    flyball_client.reopen()
    await flyball_client.connect()
    result = await flyball_client.subscribe("news", recover=True)
    assert result.recovered
    assert [bytes(p.data) for p in result.publications] == [b'"late"']


@pytest.mark.parametrize("protocol", ["json", "protobuf"])
async def test_every_command(node, protocol):
    client = TestClient(node, protocol=protocol)
    connected = await client.connect("bob")
    assert connected.client == client.session.client_id
    result = await client.subscribe("ch")
    assert (result.recoverable, result.offset) == (True, 0)
    await client.publish("ch", {"n": 1})
    (publication,) = client.take_publications("ch")
    assert msgspec.json.decode(publication.data) == {"n": 1}
    assert client.positions["ch"] == flyball.StreamPosition(1, result.epoch)
    assert (await client.presence("ch"))[connected.client].user == "bob"
    assert (await client.presence_stats("ch")).num_users == 1
    history = await client.history("ch", limit=10)
    assert [p.offset for p in history.publications] == [1]
    assert await client.rpc("double", 21) == b"42"
    await client.unsubscribe("ch")
    await node.publish("ch", 2, **HISTORY)
    assert client.take() == []
    assert (await client.subscribe("ch", recover=True)).publications[0].offset == 2
    assert client.positions["ch"].offset == 2


async def test_refusals_are_exceptions(node):
    client = TestClient(node)
    await client.connect()
    await client.subscribe("ch")
    with pytest.raises(flyball.Error) as refused:
        await client.subscribe("ch")
    assert refused.value.code == 105
    with pytest.raises(flyball.Disconnect) as ended:
        await client.request(ping={})
    assert ended.value.code == client.closed_code == 3501


async def test_a_missing_reply_is_told(node):
    client = TestClient(node)
    await client.connect()
    client.drop()
    with pytest.raises(NoReplyError, match="command 2"):
        await client.request(rpc={"method": "x"})


async def test_refresh_and_messages(node):
    node.on_refresh(lambda e: flyball.RefreshResult(expire_at=node.clock.time() + 60))
    node.on_sub_refresh(lambda e: flyball.RefreshResult(expire_at=node.clock.time() + 30))
    seen = []
    node.on_message(lambda e: seen.append(bytes(e.data)))
    client = TestClient(node, headers={"x-a": "1"}, remote_addr="10.0.0.1")
    assert client.session.headers == {"x-a": "1"}
    await client.connect()
    await client.subscribe("ch")
    assert (await client.refresh("t")).ttl == 60
    assert (await client.sub_refresh("ch", "t")).ttl == 30
    client.message([1])
    assert seen == [b"[1]"]


async def test_pings_are_answered(node, flyball_clock):
    client = TestClient(node)
    await client.connect()
    for _ in range(100):
        flyball_clock.advance(1)
        await settle()
    assert client.pings >= 3
    assert client.closed_by is None
    client.answer_pings = False
    flyball_clock.advance(60)
    assert client.closed_code == 3012


async def test_unidirectional(node):
    client = TestClient(node, unidirectional=True)
    client.connect_unidirectional("bob")
    (push,) = client.take()
    assert push.connect.client == client.session.client_id
    await node.subscribe_user("bob", "ch", flyball.SubscribeOptions())
    await settle()
    await node.publish("ch", 1)
    subscribed, published = client.take("ch")
    assert subscribed.subscribe is not None
    assert bytes(published.pub.data) == b"1"


def test_unknown_protocol():
    with pytest.raises(flyball.ConfigError, match=r"'xml'.*json, protobuf"):
        memory_framing("xml")


def test_transport_records(flyball_node):
    ended = []
    transport = MemoryTransport(on_close=ended.append)
    transport.pause()
    transport.send(b"a")
    assert transport.frames == []
    transport.resume()
    assert transport.frames == [b"a"]
    transport.pause_reading()
    assert not transport.reading
    transport.resume_reading()
    assert transport.reading
    transport.linger(5)
    assert transport.lingers == 5
    transport.close(flyball.Disconnect(3001))
    assert ended[0].code == transport.closed_by.code == 3001


class TestTheClock:
    def test_calls_come_in_order_at_their_time(self):
        clock = TestClock()
        start, seen = clock.monotonic(), []
        for delay in (3, 1, 2):
            clock.call_later(delay, lambda d=delay: seen.append((d, clock.monotonic() - start)))
        clock.call_later(9, lambda: seen.append("late"))
        cancelled = clock.call_later(1, lambda: seen.append("cancelled"))
        cancelled.cancel()
        assert clock.pending == 4
        clock.advance(5)
        assert seen == [(1, 1), (2, 2), (3, 3)]
        assert clock.pending == 1

    def test_a_call_may_ask_for_another(self):
        clock, seen = TestClock(), []
        clock.call_later(1, lambda: clock.call_later(1, lambda: seen.append(clock.time())))
        before = clock.time()
        clock.advance(1.5)
        assert seen == []
        clock.advance(10)
        assert seen == [before + 2]
        assert clock.time() == before + 11.5


class TestTheControlledBroker:
    async def test_calls_wait(self, node, flyball_broker):
        client = TestClient(node)
        await client.connect()
        flyball_broker.hold("history")
        number = client.send(subscribe=messages.SubscribeRequest(channel="ch"))
        await settle()
        assert number not in client.replies
        (call,) = flyball_broker.held
        assert repr(call) == "<HeldCall history 'ch'>"
        await node.publish("ch", 1, **HISTORY)
        call.perform()
        await node.publish("ch", 2, **HISTORY)
        assert client.pushes == []
        call.release()
        call.release()
        assert (await client.reply(number)).subscribe.offset == 1
        assert [p.offset for p in client.take_publications()] == [2]

    async def test_calls_are_let_go_one_by_one(self, flyball_node, flyball_broker):
        flyball_broker.hold()
        tasks = [start_eagerly(flyball_node.publish("ch", n)) for n in (1, 2)]
        assert len(tasks) == len(flyball_broker.held) == 2
        assert flyball_broker.release_next().method == "publish"
        assert len(flyball_broker.held) == 1
        flyball_broker.release()
        assert flyball_broker.held == []
        await settle()
        await flyball_node.remove_history("ch")

    async def test_failures(self, node, flyball_broker):
        client = TestClient(node)
        await client.connect()
        flyball_broker.hold("history")
        number = client.send(subscribe={"channel": "ch"})
        await settle()
        flyball_broker.held[0].fail(flyball.Error(100))
        with pytest.raises(flyball.Error):
            await client.reply(number)
        flyball_broker.fail_with(ConnectionError("gone"))
        with pytest.raises(ConnectionError):
            await node.publish("ch", 1)
        flyball_broker.fail_with(None)
        await node.publish("ch", 1)

    async def test_deliveries(self, node, flyball_broker):
        client = TestClient(node)
        await client.connect()
        await client.subscribe("ch")
        flyball_broker.hold_deliveries()
        for n in range(3):
            await node.publish("ch", n, **HISTORY)
        assert client.pushes == []
        assert flyball_broker.deliver(1) == 1
        assert [p.offset for p in client.take_publications()] == [1]
        assert flyball_broker.lose_deliveries() == 2
        flyball_broker.deliver()
        await node.publish("ch", 3, **HISTORY)
        await settle()
        (push,) = client.take()
        assert push.unsubscribe.code == 2500

    async def test_lost_epoch(self, node, flyball_broker):
        client = TestClient(node)
        await client.connect()
        first = await client.subscribe("ch")
        client.drop()
        flyball_broker.forget("ch")
        client.reopen()
        await client.connect()
        result = await client.subscribe("ch", recover=True)
        assert (result.was_recovering, result.recovered) == (True, False)
        assert result.epoch != first.epoch

    async def test_restored_link_checks_positions(self, node, flyball_broker, flyball_clock):
        client = TestClient(node)
        await client.connect()
        await client.subscribe("ch")
        flyball_broker.hold_deliveries()
        await node.publish("ch", 1, **HISTORY)
        flyball_broker.lose_deliveries()
        flyball_broker.restore()
        for _ in range(4):
            flyball_clock.advance(1)
            await settle()
        assert client.take()[0].unsubscribe.code == 2500

    async def test_closing_fails_what_waits(self, flyball_node, flyball_broker):
        flyball_broker.hold("history")
        reading = start_eagerly(flyball_node.history("ch"))
        await flyball_broker.close()
        with pytest.raises(ConnectionError):
            await reading

    def test_unknown_methods(self):
        with pytest.raises(flyball.ConfigError, match=r"'histroy'.*subscribe"):
            ControlledBroker().hold("histroy")
