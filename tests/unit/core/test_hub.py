"""The hub: who is where, and the forms of one publication."""

import pytest
from core_harness import Wire

import flyball
from flyball.core.node import Node, NodeOptions
from flyball.protocol.messages import Publication
from flyball.testing import TestClient, settle

KEPT = {"history_size": 9, "history_ttl": 600}


class Listener:
    def take(self, publication, position):
        pass

    check = stop = take


async def test_what_is_not_there_can_be_removed(node, wire):
    hub, session = node.hub, wire.session
    wire.subscribe("plain:1")
    sub = session.subscriptions["plain:1"]
    wire.ask(unsubscribe={"channel": "plain:1"})
    assert not hub.remove_subscription(sub)
    hub.regroup(sub)
    other = Wire(node, framing=type(wire.framing)())
    other.connect()
    other.subscribe("plain:1")
    assert not hub.remove_subscription(sub), "a framing that nobody has here"
    hub.regroup(sub)
    assert not hub.remove_listener("plain:1", Listener())
    assert not hub.remove_listener("plain:2", Listener())
    listener = Listener()
    assert not hub.add_listener("plain:1", listener)
    assert hub.listeners() == [listener]
    assert not hub.remove_listener("plain:1", listener)
    wire.session.connection_lost()
    hub.remove_session(session)
    assert hub.num_clients == 1


async def test_a_session_once_removed(node):
    first, second = Wire(node), Wire(node)
    first.connect()
    second.connect()
    assert node.hub.num_users == 1
    first.session.connection_lost()
    assert node.hub.num_users == 1
    second.session.connection_lost()
    assert node.hub.num_users == 0


async def test_one_group_for_each_framing(node):
    clients = [TestClient(node, protocol=p) for p in ("json", "json", "protobuf", "protobuf")]
    for client in clients:
        await client.connect()
        await client.subscribe("rec:1", delta="fossil")
    for text in ("a" * 100, "a" * 100 + "b", "short", "another"):
        await node.publish("rec:1", text, delta=True, **KEPT)
    for client in clients:
        assert len(client.take_publications("rec:1")) == 4
    assert clients[0].transport.frames[-4:] == clients[1].transport.frames[-4:]
    assert clients[2].transport.frames[-4:] == clients[3].transport.frames[-4:]


@pytest.mark.parametrize("delta", [False, True])
async def test_gaps_and_repeats(node, delta):
    client = TestClient(node)
    await client.connect()
    await client.subscribe("rec:1", **({"delta": "fossil"} if delta else {}))
    await node.publish("rec:1", 1, **KEPT)
    (publication,) = (await node.broker.history("rec:1", flyball.HistoryFilter())).publications
    position = flyball.StreamPosition(1, (await node.history("rec:1")).position.epoch)
    node.hub.broadcast("rec:1", publication, position)
    await settle()
    assert len(client.take_publications()) == 1, "an old one is dropped"
    late = Publication(flyball.Raw(b"3"), offset=3)
    node.hub.broadcast("rec:1", late, flyball.StreamPosition(3, position.epoch))
    await settle()
    (push,) = client.take()
    assert push.unsubscribe.code == 2500


@pytest.mark.parametrize("delta", [False, True])
async def test_what_comes_too_late_is_a_gap(clock, delta):
    options = NodeOptions(channel_position_max_time_lag=5, ping_interval=0)
    async with Node(options, clock=clock, clients=False) as node:
        node.on_connecting(lambda event: flyball.Credentials())
        allowed = flyball.SubscribeOptions(recoverable=True, allowed_deltas=frozenset({"fossil"}))
        node.on_subscribe(lambda event: allowed)
        client = TestClient(node)
        await client.connect()
        await client.subscribe("news", **({"delta": "fossil"} if delta else {}))
        for offset, age in ((1, 1), (2, 6)):
            publication = Publication(flyball.Raw(b"1"), offset=offset)
            epoch = client.positions["news"].epoch
            position = flyball.StreamPosition(offset, epoch)
            node.hub.broadcast("news", publication, position, lag=age)
        await settle()
        first, second = client.take()
        assert first.pub.offset == 1
        assert second.unsubscribe.code == 2500
        assert node.metrics.pub_sub_lag.count == 2


async def test_a_filter_that_lets_nothing_pass(node):
    client = TestClient(node)
    await client.connect()
    await client.subscribe("rec:1", tf={"key": "k", "cmp": "eq", "val": "v"})
    await node.publish("rec:1", 1, **KEPT)
    await node.publish("rec:1", 2, tags={"k": "v"}, **KEPT)
    assert [p.offset for p in client.take_publications()] == [2]
    assert node.metrics.tags_filter_dropped == 1


async def test_joins_during_a_subscribe_come_after_the_reply(flyball_node, flyball_broker):
    node = flyball_node
    node.on_connecting(lambda event: flyball.Credentials(user=event.token))

    @node.on_subscribe
    def subscribing(event):
        reads = event.connection.user == "early"
        return flyball.SubscribeOptions(recoverable=reads, join_leave=True, push_join_leave=True)

    early, late = TestClient(node), TestClient(node)
    await early.connect(token="early")
    await late.connect(token="late")
    flyball_broker.hold("history")
    number = early.send(subscribe={"channel": "news"})
    await settle()
    await late.subscribe("news")
    assert early.take() == []
    flyball_broker.release()
    await early.reply(number)
    await settle()
    assert [bool(p.join) for p in early.take("news")] == [True, True]


async def test_ended_before_it_was_live(flyball_node, flyball_broker):
    node = flyball_node
    node.on_connecting(lambda event: flyball.Credentials(user="ann"))
    node.on_subscribe(lambda event: flyball.SubscribeOptions(recoverable=True))
    client = TestClient(node)
    await client.connect()
    flyball_broker.hold("history")
    number = client.send(subscribe={"channel": "news"})
    await settle()
    await node.unsubscribe_user("ann", "news")
    flyball_broker.release()
    await client.reply(number)
    await settle()
    (push,) = client.take("news")
    assert push.unsubscribe.code == 2000
    assert not node.hub.channels


async def test_two_broker_calls_for_one_channel_wait_for_each_other(flyball_node, flyball_broker):
    node = flyball_node
    node.on_connecting(lambda event: flyball.Credentials())
    node.on_subscribe(lambda event: flyball.SubscribeOptions())
    clients = [TestClient(node) for _ in range(2)]
    for client in clients:
        await client.connect()
    flyball_broker.hold("subscribe", "unsubscribe")
    numbers = [client.send(subscribe={"channel": "news"}) for client in clients]
    await settle()
    assert len(flyball_broker.held) == 1
    flyball_broker.release()
    for client, number in zip(clients, numbers, strict=True):
        await client.reply(number)
    assert flyball_broker.subscribed == {"news"}


class TestSubRefresh:
    @pytest.fixture
    async def client(self, node, clock):
        options = {
            "client": flyball.SubscribeOptions(expire_at=clock.time() + 60),
            "server": flyball.SubscribeOptions(client_side_refresh=False),
        }
        node._handlers.on_subscribe.plain = lambda event: options[event.channel]
        node.on_sub_refresh(lambda event: flyball.RefreshResult(float(event.token)))
        client = TestClient(node)
        await client.connect()
        for channel in options:
            await client.subscribe(channel)
        return client

    async def test_prolonged_and_lifted(self, client, clock):
        result = await client.sub_refresh("client", str(clock.time() + 100))
        assert (result.expires, result.ttl) == (True, 100)
        result = await client.sub_refresh("client", "0")
        assert (result.expires, result.ttl) == (False, 0)

    @pytest.mark.parametrize(
        ("request_", "code"),
        [
            ({"channel": "other", "token": "1"}, 103),
            ({"channel": "client", "type": 1}, 107),
            ({"channel": "client", "token": "1", "type": 9}, 110),
            ({"channel": "client"}, 107),
            ({"channel": "client", "token": "1"}, 110),
        ],
    )
    async def test_refused(self, client, request_, code):
        with pytest.raises(flyball.Error) as raised:
            await client.request(sub_refresh=request_)
        assert raised.value.code == code

    @pytest.mark.parametrize("channel", ["", "server"])
    async def test_not_for_the_client_to_ask(self, client, channel):
        client.send(sub_refresh={"channel": channel, "token": "1"})
        await settle()
        assert client.closed_code == 3501


async def test_a_full_frame_begins_another(node):
    client = TestClient(node)
    client.send_raw(
        b"\n".join(
            [b'{"id":1,"connect":{}}']
            + [b'{"id":%d,"unsubscribe":{"channel":"x"}}' % n for n in range(2, 41)]
        )
    )
    await settle()
    assert len(client.replies) == 40


async def test_presence_stats_of_the_program(node, wire):
    wire.subscribe("pres:1")
    assert await node.presence_stats("pres:1") == flyball.PresenceStats(1, 1)
