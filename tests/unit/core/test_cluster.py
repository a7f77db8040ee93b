"""Nodes that hear of each other, act for each other and answer each other."""

import asyncio

import pytest

import flyball
from flyball.core.broker import Controller
from flyball.core.control import DisconnectUser, encode
from flyball.core.errors import Error
from flyball.core.memory import MemoryBroker
from flyball.core.node import Node, NodeOptions
from flyball.testing import ControlledBroker, TestClient, settle


@pytest.fixture
async def nodes(clock, bus):
    found = [
        Node(NodeOptions(name=name), clock=clock, controller=bus.controller())
        for name in ("one", "two", "three")
    ]
    for node in found:
        node.on_connecting(lambda event: flyball.Credentials(user=event.token))
        node.on_subscribe(lambda event: flyball.SubscribeOptions())
        await node.start()
    pass_time(clock, 3)
    yield found
    for node in found:
        await node.shutdown()


def pass_time(clock, seconds):
    for _ in range(seconds):
        clock.advance(1)


async def connected(node, user="ann"):
    client = TestClient(node)
    await client.connect(token=user)
    return client


async def names(node):
    return {info.name for info in await node.info()}


async def test_nodes_know_each_other(nodes):
    for node in nodes:
        assert await names(node) == {"one", "two", "three"}
        assert node.num_nodes == 3


async def test_what_nodes_say_of_themselves(nodes, clock):
    await connected(nodes[1])
    pass_time(clock, 3)
    info = {i.name: i for i in await nodes[0].info()}["two"]
    assert (info.uid, info.num_clients, info.num_users) == (nodes[1].id, 1, 1)
    assert info.uptime == 6


async def test_a_node_that_leaves_is_forgotten_at_once(nodes):
    await nodes[2].shutdown()
    assert await names(nodes[0]) == {"one", "two"}


async def test_a_silent_node_is_forgotten_after_seven_seconds(nodes, clock, bus):
    bus.cut(nodes[2].id)
    pass_time(clock, 6)
    assert await names(nodes[0]) == {"one", "two", "three"}
    pass_time(clock, 2)
    assert await names(nodes[0]) == {"one", "two"}
    bus.mend(nodes[2].id)
    pass_time(clock, 3)
    assert await names(nodes[0]) == {"one", "two", "three"}


async def test_operations_reach_sessions_on_every_node(nodes):
    clients = [await connected(node) for node in nodes]
    other = await connected(nodes[1], "bob")
    options = flyball.SubscribeOptions(data=b'{"d":1}')
    await nodes[0].subscribe_user("ann", "news", options)
    await settle()
    for client in clients:
        (push,) = client.take("news")
        assert bytes(push.subscribe.data) == b'{"d":1}'
        assert "news" in client.session.subscriptions
    assert not other.session.subscriptions
    await nodes[2].unsubscribe_user("ann", "news")
    await settle()
    for client in clients:
        (push,) = client.take("news")
        assert push.unsubscribe.code == 2000
    await nodes[1].disconnect_user("ann", whitelist=[clients[0].session.client_id])
    await settle()
    assert [client.closed_code for client in clients] == [None, 3503, 3503]
    assert other.closed_code is None


async def test_expiry_is_changed_everywhere(nodes, clock):
    client = await connected(nodes[1])
    await nodes[0].refresh_user("ann", expired=True)
    await settle()
    assert client.closed_code == 3005


async def test_survey(nodes):
    for node in nodes:
        node.on_survey("sum", lambda data, node=node: data + node.options.name.encode())
    answers = await nodes[0].survey("sum", b"from ")
    assert {a.data for a in answers.values()} == {b"from one", b"from two", b"from three"}
    answers = await nodes[0].survey("sum", b"to ", nodes[2].id)
    assert [(uid, a.data) for uid, a in answers.items()] == [(nodes[2].id, b"to three")]


async def test_surveys_carry_errors(nodes):
    def refuse(data):
        raise Error(103)

    nodes[1].on_survey("ask", refuse)
    answers = await nodes[0].survey("ask", b"", nodes[1].id)
    assert answers[nodes[1].id].code == 103
    answers = await nodes[0].survey("ask", b"", nodes[2].id)
    assert answers[nodes[2].id].code == 104


async def test_a_survey_waits_ten_seconds_and_no_longer(nodes, clock, bus):
    nodes[1].on_survey("ask", lambda data: b"")
    bus.cut(nodes[1].id)
    asking = asyncio.ensure_future(nodes[0].survey("ask", b"", nodes[1].id))
    await settle()
    clock.advance(9.9)
    await settle()
    assert not asking.done()
    clock.advance(0.2)
    with pytest.raises(TimeoutError, match="0 of 1 nodes answered 'ask' in 10 s"):
        await asking


async def test_channels_of_all_nodes(nodes):
    for node in nodes:
        client = await connected(node)
        await client.subscribe("a:1")
    client = await connected(nodes[0])
    await client.subscribe("b:1")
    assert await nodes[1].channels() == {"a:1": 3, "b:1": 1}
    assert await nodes[1].channels("b*") == {"b:1": 1}


async def test_what_is_not_understood_is_left_alone(nodes, bus, caplog):
    bus.send(nodes[1].id, b"\xff", nodes[0].id)
    assert "not understood" in caplog.text
    assert await names(nodes[0]) == {"one", "two", "three"}


class Stumbling(Controller):
    """A controller whose sending fails as long as the test says so."""

    def __init__(self, inner):
        self.inner, self.error = inner, None

    async def start(self, events, node_id):
        await self.inner.start(events, node_id)

    async def publish_control(self, message, node_id=""):
        if self.error is not None:
            raise self.error
        await self.inner.publish_control(message, node_id)

    async def close(self):
        await self.inner.close()


@pytest.fixture
async def stumbling(nodes, clock, bus):
    node = Node(
        NodeOptions(name="four"), clock=clock, controller=Stumbling(bus.controller()), clients=False
    )
    await node.start()
    yield node
    node.controller.error = None
    await node.shutdown()


async def test_a_failing_controller_does_not_end_the_heartbeat(nodes, clock, stumbling, caplog):
    stumbling.controller.error = OSError("the link is down")
    pass_time(clock, 9)
    assert await names(nodes[0]) == {"one", "two", "three"}
    assert stumbling.metrics.background_failures["heartbeat of the node"] == 3
    told = [r for r in caplog.records if r.message == "heartbeat of the node failed"]
    assert len(told) == 1, "once in a minute"
    assert "the link is down" in caplog.text
    stumbling.controller.error = None
    pass_time(clock, 3)
    assert await names(nodes[0]) == {"one", "two", "three", "four"}


async def test_failing_work_for_other_nodes_is_logged_and_counted(nodes, stumbling, caplog):
    stumbling.on_survey("ask", lambda data: b"")
    stumbling.controller.error = OSError("the link is down")
    asking = asyncio.ensure_future(nodes[0].survey("ask", b"", stumbling.id))
    await settle()
    assert stumbling.metrics.background_failures == {"answer to a survey": 1}
    assert "answer to a survey failed" in caplog.text
    asking.cancel()


async def test_a_survey_handler_that_breaks_is_an_answer(nodes, caplog):
    def broken(data):
        raise ZeroDivisionError

    nodes[1].on_survey("ask", broken)
    answers = await nodes[0].survey("ask", b"", nodes[1].id)
    assert answers[nodes[1].id].code == 100
    assert "ZeroDivisionError" in caplog.text


def refuses(event):
    raise Error(103)


def ends(event):
    raise flyball.Disconnect(4000, "no")


def breaks(event):
    raise ZeroDivisionError


@pytest.mark.parametrize("raising", [refuses, ends, breaks])
@pytest.mark.parametrize("channel", ["news", ""])
async def test_a_raising_notification_stops_no_operation(nodes, caplog, raising, channel):
    """The user's other sessions are unsubscribed, here and on all other nodes."""
    clients = [await connected(node) for node in (nodes[0], nodes[0], nodes[1])]
    for client in clients:
        await client.subscribe("news")
    for node in nodes:
        node.on_unsubscribed(raising)
        node.on_channel_vacated(raising)
    await nodes[0].unsubscribe_user("ann", channel)
    await settle()
    for client in clients:
        (push,) = client.take("news")
        assert push.unsubscribe.code == 2000
        assert client.closed_code is None
    assert "on_unsubscribed handler" in caplog.text
    assert not nodes[0].hub.channels


@pytest.mark.parametrize("raising", [refuses, ends, breaks])
async def test_raising_notifications_leave_connections_alone(nodes, caplog, raising):
    (node, *_) = nodes
    for on in (node.on_connected, node.on_subscribed, node.on_channel_occupied):
        on(raising)
    client = await connected(node)
    await client.subscribe("news")
    await settle()
    assert client.closed_code is None
    await node.publish("news", 1)
    assert len(client.take_publications("news")) == 1
    for kind in ("connected", "subscribed", "channel_occupied"):
        assert f"on_{kind} handler" in caplog.text
    node.on_disconnected(raising)
    client.drop()
    await settle()
    assert "on_disconnected handler" in caplog.text
    assert not node.metrics.background_failures


class Forgetful(MemoryBroker):
    """A broker that cannot unsubscribe."""

    async def unsubscribe(self, channel):
        raise OSError("the store is away")


async def test_other_nodes_are_told_whatever_fails_here(nodes, clock, bus):
    controller = bus.controller()
    async with Node(
        clock=clock, broker=Forgetful(clock), controller=controller, clients=False
    ) as node:
        ended = []
        node.on_connecting(lambda event: flyball.Credentials(user=event.token))
        node.on_subscribe(lambda event: flyball.SubscribeOptions())
        node.on_unsubscribed(lambda event: ended.append(event.channel))
        clients = [await connected(n) for n in (node, node, nodes[0])]
        for client in clients:
            await client.subscribe("news")
        with pytest.raises(OSError, match="the store is away"):
            await node.unsubscribe_user("ann", "news")
        await settle()
        for client in clients:
            (push,) = client.take("news")
            assert push.unsubscribe.code == 2000
        assert ended == ["news", "news"]


async def test_codes_of_other_nodes_are_looked_at_as_well(nodes, bus, caplog):
    client = await connected(nodes[0])
    bus.send(
        nodes[1].id,
        encode(DisconnectUser(uid="x", user="ann", code=65536, reason="", whitelist=[])),
        nodes[0].id,
    )
    assert client.closed_code is None
    assert "65536 is no disconnect code" in caplog.text


async def test_a_slow_controller_gets_one_heartbeat_at_a_time(nodes, clock, bus):
    gate = asyncio.Event()

    class Slow(Stumbling):
        async def publish_control(self, message, node_id=""):
            if not node_id:  # greetings go to one
                sent.append(message)
                await gate.wait()

    sent = []
    async with Node(clock=clock, controller=Slow(bus.controller()), clients=False):
        pass_time(clock, 9)
        assert len(sent) == 1
        gate.set()
        await settle()
        pass_time(clock, 3)
        assert len(sent) == 2


async def test_an_answer_that_comes_too_late_is_dropped(nodes, bus):
    gate = asyncio.Event()

    async def slow(data):
        await gate.wait()
        return b""

    nodes[1].on_survey("ask", slow)
    asking = asyncio.ensure_future(nodes[0].survey("ask", b"", nodes[1].id))
    await settle()
    asking.cancel()
    gate.set()
    await settle()
    assert not nodes[0].metrics.background_failures


class TestSubscribeUser:
    """Subscriptions that the server makes for live connections."""

    @pytest.fixture
    async def node(self, clock, broker):
        async with Node(clock=clock, broker=broker, clients=False) as node:
            node.on_connecting(lambda event: flyball.Credentials(user=event.token))
            node.on_subscribe(lambda event: flyball.SubscribeOptions())
            yield node

    async def test_there_already(self, node):
        client = await connected(node)
        await client.subscribe("news")
        again = flyball.SubscribeOptions(presence=True, info=flyball.Raw(b'{"i":1}'))
        await node.subscribe_user("ann", "news", again)
        (push,) = client.take()
        assert push.subscribe is not None
        (entry,) = (await node.presence("news")).values()
        assert bytes(entry.chan_info) == b'{"i":1}'
        assert len(client.session.subscriptions) == 1
        assert node.hub.num_subscriptions == 1

    async def test_an_expiry_below_zero_is_none(self, node):
        client = await connected(node)
        await node.subscribe_user("ann", "news", flyball.SubscribeOptions(expire_at=-5))
        assert client.session.subscriptions["news"].expire_at == 0
        await node.refresh_user("ann", expire_at=-1)
        assert client.closed_code is None

    @pytest.mark.parametrize("field", ["data", "info"])
    async def test_what_the_client_cannot_be_sent_is_refused_before(self, node, field):
        client = await connected(node)
        broken = flyball.SubscribeOptions(**{field: flyball.Raw(b"{")}, join_leave=True)
        with pytest.raises(flyball.Error) as caught:
            await node.subscribe_user("ann", "news", broken)
        assert caught.value.code == 100
        assert client.take() == []
        assert client.closed_code is None
        assert not node.hub.channels

    async def test_expired(self, node, clock, caplog):
        client = await connected(node)
        over = flyball.SubscribeOptions(expire_at=clock.time() - 1)
        with pytest.raises(flyball.Error) as caught:
            await node.subscribe_user("ann", "news", over)
        assert caught.value.code == 100
        assert "cannot subscribe" in caplog.text
        assert client.take() == []
        assert not client.session.subscriptions
        assert client.closed_code is None

    async def test_a_failing_store_leaves_nothing_behind(self, node, broker):
        client = await connected(node)
        broker.fail_with(OSError("the store is away"))
        with pytest.raises(OSError, match="the store is away"):
            await node.subscribe_user("ann", "news", flyball.SubscribeOptions())
        broker.fail_with(None)
        assert not client.session.subscriptions
        assert not node.hub.channels

    async def test_a_connection_that_ends_meanwhile(self, node, broker):
        client = await connected(node)
        broker.hold("history")
        options = flyball.SubscribeOptions(recoverable=True)
        subscribing = asyncio.ensure_future(node.subscribe_user("ann", "news", options))
        await settle()
        client.drop()
        broker.release()
        await subscribing
        assert not node.hub.channels

    async def test_a_hole_ends_the_connection(self, node, broker):
        client = await connected(node)
        broker.hold("history")
        options = flyball.SubscribeOptions(recoverable=True)
        subscribing = asyncio.ensure_future(node.subscribe_user("ann", "news", options))
        await settle()
        broker.held[0].perform()
        kept = {"history_size": 9, "history_ttl": 60}
        broker.hold_deliveries()
        await node.publish("news", 1, **kept)
        broker.lose_deliveries()
        broker.deliver()
        await node.publish("news", 2, **kept)
        broker.release()
        await subscribing
        assert client.closed_code == 3010


class TestConnect:
    """Subscriptions at connect that have to wait for the store."""

    async def test_all_come_to_an_end_before_any_is_undone(self, clock):
        broker = ControlledBroker(clock)
        async with Node(clock=clock, broker=broker, clients=False) as node:
            options = flyball.SubscribeOptions(recoverable=True)
            subs = {"a": options, "b": options, "c": options}
            node.on_connecting(lambda event: flyball.Credentials(subs=subs))
            broker.hold("history")
            client = TestClient(node)
            number = client.send(connect={})
            await settle()
            broker.held[0].fail(OSError("the store is away"))
            await settle()
            assert len(node.hub.channels) == 3
            broker.release()
            with pytest.raises(flyball.Disconnect) as raised:
                await client.reply(number)
            assert raised.value.code == 3004
            await settle()
            assert not node.hub.channels
            assert not node.hub.sessions

    async def test_a_client_that_goes_meanwhile(self, clock):
        broker = ControlledBroker(clock)
        async with Node(clock=clock, broker=broker, clients=False) as node:
            subs = {"a": flyball.SubscribeOptions(recoverable=True)}
            node.on_connecting(lambda event: flyball.Credentials(subs=subs))
            broker.hold("history")
            client = TestClient(node)
            client.send(connect={})
            await settle()
            client.drop()
            broker.release()
            await settle()
            assert not node.hub.channels

    async def test_server_time(self, clock):
        options = NodeOptions(connect_include_server_time=True)
        async with Node(options, clock=clock, clients=False) as node:
            node.on_connecting(lambda event: flyball.Credentials())
            result = await TestClient(node).connect()
            assert result.time == int(clock.time() * 1000)

    async def test_a_hole_in_one_leaves_none_behind(self, clock):
        broker = ControlledBroker(clock)
        async with Node(clock=clock, broker=broker, clients=False) as node:
            options = flyball.SubscribeOptions(recoverable=True)
            node.on_connecting(lambda event: flyball.Credentials(subs={"a": options, "b": options}))
            broker.hold("history")
            client = TestClient(node)
            client.send(connect={})
            await settle()
            for call in broker.held:
                call.perform()
            kept = {"history_size": 9, "history_ttl": 60}
            broker.hold_deliveries()
            await node.publish("a", 1, **kept)
            broker.lose_deliveries()
            broker.deliver()
            await node.publish("a", 2, **kept)
            broker.release()
            await settle()
            assert client.closed_code == 3010
            assert not node.hub.channels
            assert sum(node.metrics.subscriptions_inflight.values()) == 0

    async def test_a_client_that_goes_while_others_are_told(self, clock):
        broker = ControlledBroker(clock)
        heard = []
        async with Node(clock=clock, broker=broker, clients=False) as node:
            options = flyball.SubscribeOptions(join_leave=True)
            node.on_connecting(lambda event: flyball.Credentials(subs={"a": options, "b": options}))
            node.on_subscribed(lambda event: heard.append(("+", event.channel)))
            node.on_unsubscribed(lambda event: heard.append(("-", event.channel)))
            client = TestClient(node)
            broker.hold("publish_join_leave")
            client.send(connect={})
            await settle()
            client.drop()
            broker.release()
            await settle()
            assert not node.hub.channels
            assert ("+", "b") not in heard


async def test_a_newcomer_is_greeted_at_once(nodes, clock, bus):
    async with Node(
        NodeOptions(name="four"), clock=clock, controller=bus.controller(), clients=False
    ) as late:
        assert await names(late) == {"one", "two", "three", "four"}


async def test_metrics_are_told_once_in_a_minute_and_kept(nodes, clock):
    told = iter(range(1000))
    nodes[1].metrics_source = lambda: flyball.NodeMetrics(60.0, {"n": next(told)})

    async def seen():
        return {i.name: i.metrics for i in await nodes[0].info()}["two"]

    assert await seen() is None
    pass_time(clock, 3)
    first = await seen()
    pass_time(clock, 54)
    assert (await seen()) == first
    pass_time(clock, 9)
    assert (await seen()).items["n"] > first.items["n"]
