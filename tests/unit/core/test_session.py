"""Corners of a session's life."""

import asyncio
import logging

import pytest
from core_harness import BIDI, UNI, Wire, error

import flyball
from flyball.core.node import Node, NodeOptions
from flyball.core.types import to_payload
from flyball.protocol import messages
from flyball.protocol.messages import Publication
from flyball.testing import ControlledBroker, TestClient, settle

KEPT = {"history_size": 9, "history_ttl": 600}


async def test_a_client_that_goes_while_it_is_asked(node):
    gate = asyncio.Event()

    async def slow(event):
        await gate.wait()
        return flyball.Credentials()

    node._handlers.on_connecting.plain = slow
    wire = Wire(node)
    wire.ask(connect={})
    await settle()
    wire.session.connection_lost()
    wire.session.connection_lost()
    gate.set()
    await settle()
    assert wire.take() == []
    assert not node.hub.sessions
    assert not node.pending_sessions


async def test_a_session_need_not_hurry_if_so_wished(clock):
    async with Node(NodeOptions(stale_close_delay=0), clock=clock, clients=False) as node:
        wire = Wire(node)
        clock.advance(1000)
        assert wire.closed_by is None
        wire.session.on_timer(clock.monotonic())


async def test_nothing_is_done_for_a_closed_session(node, wire, clock):
    session = wire.session
    session.connection_lost()
    session.on_timer(clock.monotonic() + 1e6)
    session.disconnect(flyball.Disconnect(4000))
    session.reply(messages.Reply(id=1), "x")
    session.reply_published(1)
    session.reply_error(flyball.Error(100), "x", 1)
    session.push(messages.Push(channel="x"), "x")
    session.check_positions_soon()
    wire.close(flyball.Disconnect(4000))
    assert wire.take() == []
    assert wire.closed_by is None


async def test_an_expired_refresh_ends_the_connection(node, wire):
    node.on_refresh(lambda event: flyball.RefreshResult(expired=True))
    wire.ask(refresh={"token": "t"})
    assert wire.closed_by == 3005


async def test_refusals_are_told_to_the_log(node, wire, caplog):
    assert error(wire.one(rpc={"method": "x"})) == 108
    (told,) = caplog.records
    assert (told.name, told.levelname) == ("flyball.refusals", "WARNING")
    who = f"for user 'u1' (client {wire.session.client_id}, test)"
    assert told.message == (
        f"rpc 'x' is refused {who}: 108 not available: no on_rpc handler for 'x'"
    )
    caplog.clear()
    wire.raw("{")
    (told,) = caplog.records
    assert told.message.startswith(f"connection is refused {who}: 3501 bad request: ")


async def test_refusals_are_told_of_now_and_then(node, wire, clock, caplog):
    for _ in range(100):
        wire.ask(subscribe={"channel": "x" * 999})
    assert len(caplog.records) == 20
    clock.advance(10)
    wire.ask(presence={"channel": "plain:1"})
    wire.ask(rpc={"method": "x"})
    assert len(caplog.records) == 21
    assert caplog.records[-1].message.endswith("; 80 more refusals were not told of")


async def test_a_program_may_tell_of_refusals_itself(clock, caplog):
    options = flyball.NodeOptions(warn_of_refusals=False)
    async with flyball.Node(options, clock=clock, clients=False) as node:
        node.on_connecting(lambda event: flyball.Credentials("ann"))
        wire = Wire(node)
        wire.connect()
        wire.ask(rpc={"method": "x"})
        assert not caplog.records
        caplog.set_level(logging.DEBUG, "flyball.refusals")
        wire.ask(rpc={"method": "x"})
        assert caplog.records[0].levelname == "DEBUG"


async def test_a_disconnect_by_a_handler_is_told(node, wire, caplog):
    @node.on_rpc
    def rpc(event):
        raise flyball.Disconnect(4501, "enough", detail="tried too often")

    wire.ask(rpc={"method": "x"})
    assert "rpc 'x' is refused for user 'u1'" in caplog.text
    assert "4501 enough: tried too often" in caplog.text


async def test_a_recovery_that_the_protocol_cannot_carry(node):
    client = TestClient(node)
    await client.connect()
    await client.subscribe("rec:1", delta="fossil")
    client.drop()
    for _ in range(2):
        await node.publish("rec:1", b"\xff" * 9, **KEPT)
    client.reopen()
    await client.connect()
    client.send(
        subscribe={
            "channel": "rec:1",
            "recover": True,
            "delta": "fossil",
            "offset": 0,
            "epoch": client.positions["rec:1"].epoch,
        }
    )
    await settle()
    assert client.closed_code == 3506


async def test_commands_that_waited_are_dropped_with_the_session(node):
    gate = asyncio.Event()

    async def slow(event):
        await gate.wait()
        raise flyball.Disconnect(4000)

    node.on_rpc(slow)
    wire = Wire(node)
    wire.connect()
    wire.say(*({"id": n, "rpc": {"method": "x"}} for n in (1, 2)))
    assert not wire.reading
    gate.set()
    await settle()
    assert wire.closed_by == 4000


async def test_a_waiting_command_ends_the_connection(node):
    gate = asyncio.Event()

    async def slow(event):
        await gate.wait()

    def last(event):
        raise flyball.Disconnect(4000)

    node.on_rpc("slow")(slow)
    node.on_rpc("last")(last)
    wire = Wire(node)
    wire.connect()
    wire.say({"id": 1, "rpc": {"method": "slow"}}, {"id": 2, "rpc": {"method": "last"}})
    gate.set()
    await settle()
    assert wire.closed_by == 4000
    assert not wire.reading


async def test_a_refresh_with_new_info(node, wire):
    wire.subscribe("pres:1")
    node.on_refresh(lambda event: flyball.RefreshResult(info=flyball.Raw(b'{"n":2}')))
    wire.ask(refresh={"token": "t"})
    assert bytes(wire.session.connection.info) == b'{"n":2}'
    assert bytes(wire.session.subscriptions["pres:1"].info.conn_info) == b'{"n":2}'


async def test_pings_that_are_no_messages(node, clock):
    class Pinging(Wire):
        @property
        def app_ping(self):
            return False

    wire = Pinging(node)
    result = wire.connect()
    assert "ping" not in result
    clock.advance(100)
    assert wire.take() == []
    assert wire.closed_by is None


async def test_a_slow_wire_that_is_corked_stays_so(node, wire):
    wire.pause()
    wire.cork()
    wire.send(b"x")
    wire.resume()
    assert wire.written == []
    wire.uncork()
    assert wire.written == [b"x"]


async def test_publications_without_history_pass_by_positions(node):
    """Also those that come during a subscribe, and for subscribers with delta."""
    clients = [TestClient(node) for _ in range(2)]
    for client, fields in zip(clients, ({}, {"delta": "fossil"}), strict=True):
        await client.connect()
        await client.subscribe("rec:1", **fields)
    await node.publish("rec:1", 1)
    for client in clients:
        assert len(client.take_publications()) == 1


@pytest.mark.parametrize("data", [1, b"\xff"])
async def test_what_comes_during_a_subscribe(clock, data):
    broker = ControlledBroker(clock)
    async with Node(clock=clock, broker=broker, clients=False) as node:
        node.on_connecting(lambda event: flyball.Credentials())
        node.on_subscribe(lambda event: flyball.SubscribeOptions(recoverable=True))
        live, late = TestClient(node), TestClient(node, protocol="json")
        await late.connect()
        await live.connect()
        await live.subscribe("news")
        broker.hold("history")
        number = late.send(subscribe={"channel": "news"})
        await settle()
        await node.publish("news", data)
        broker.release()
        await late.reply(number)
        await settle()
        assert late.closed_code == (None if data == 1 else 3506)


@pytest.mark.parametrize("forget", [False, True])
async def test_a_new_epoch_during_a_subscribe_is_a_hole(clock, forget):
    broker = ControlledBroker(clock)
    async with Node(clock=clock, broker=broker, clients=False) as node:
        node.on_connecting(lambda event: flyball.Credentials())
        node.on_subscribe(lambda event: flyball.SubscribeOptions(recoverable=True))
        client = TestClient(node)
        await client.connect()
        broker.hold("history")
        client.send(subscribe={"channel": "news"})
        await settle()
        broker.held[0].perform()
        if forget:
            broker.forget("news")
        await node.publish("news", 1, **KEPT)
        broker.release()
        await settle()
        assert client.closed_code == (3010 if forget else None)


async def test_a_gap_of_a_subscription_that_has_ended_is_nothing(node, wire):
    wire.subscribe("rec:1")
    epoch = wire.session.subscriptions["rec:1"].epoch
    late = Publication(flyball.Raw(b"3"), offset=3)
    node.hub.broadcast("rec:1", late, flyball.StreamPosition(3, epoch))
    wire.ask(unsubscribe={"channel": "rec:1"})
    await settle()
    assert wire.take() == []
    assert wire.closed_by is None


async def test_a_publication_of_another_epoch_is_a_gap(node, wire):
    wire.subscribe("rec:1")
    publication = Publication(flyball.Raw(b"1"), offset=1)
    node.hub.broadcast("rec:1", publication, flyball.StreamPosition(1, "other"))
    await settle()
    (message,) = wire.take()
    assert message["push"]["unsubscribe"]["code"] == 2500


async def test_numbers_that_spread_timers(node):
    assert 0 <= node.random() < 1


async def test_a_stopped_node_is_not_started_by_the_way(clock):
    node = Node(clock=clock, clients=False)
    await node.ensure_started()
    assert node.running
    await node.shutdown()
    await node.ensure_started()
    assert not node.running


def test_a_node_alone_leaves_a_closed_loop_behind(clock):
    node = Node(clock=clock, clients=False)
    for _ in range(2):
        asyncio.run(node.ensure_started())
    assert node.running


async def test_the_program_as_an_iterator(node):
    reader = node.subscribe("rec:1")
    await reader.open()
    for n in range(3):
        await node.publish("rec:1", n)
    seen = []
    async for publication in reader:
        seen.append(bytes(publication.data))
        if len(seen) == 3:
            break
    await reader.close()
    assert seen == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, b""),
        (flyball.Raw(b"1"), b"1"),
        (flyball.Raw(), b""),
        (b"x", b"x"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        ({"a": 1}, b'{"a":1}'),
    ],
)
def test_payloads(value, data):
    assert bytes(to_payload(value)) == data


def test_a_framing_for_each_way():
    push = messages.Push(channel="x", message=messages.Message(flyball.Raw(b"1")))
    assert BIDI.push_message(push) == b'{"push":{"channel":"x","message":{"data":1}}}'
    assert UNI.push_message(push) == b'{"channel":"x","message":{"data":1}}'


async def test_a_push_that_the_protocol_cannot_carry(node, wire):
    message = messages.Message(flyball.Raw(b"\xff"))
    wire.session.push(messages.Push(channel="x", message=message), "push_message")
    assert wire.closed_by == 3506


async def test_a_unidirectional_connection_that_is_gone_connects_no_more(node):
    wire = Wire(node, framing=UNI)
    wire.session.connection_lost()
    wire.session.connect_unidirectional(messages.ConnectRequest())
    assert wire.take() == []
    assert not node.hub.sessions


async def test_the_server_leaves_a_subscribe_under_way_alone(clock):
    broker = ControlledBroker(clock)
    async with Node(clock=clock, broker=broker, clients=False) as node:
        node.on_connecting(lambda event: flyball.Credentials("ann"))
        node.on_subscribe(lambda event: flyball.SubscribeOptions())
        client = TestClient(node)
        await client.connect()
        broker.hold("subscribe")
        number = client.send(subscribe={"channel": "news"})
        await settle()
        await node.subscribe_user("ann", "news")
        broker.release()
        await client.reply(number)
        assert not client.take()


async def test_what_a_transport_ended_a_session_for_is_told(node, caplog):
    caplog.set_level("DEBUG", "flyball.refusals")
    client = TestClient(node)
    await client.connect()
    session = next(iter(node.hub.sessions.values()))
    session.connection_lost("1009 message size limit exceeded")
    session.connection_lost("1009 again")
    (line,) = caplog.messages
    assert line.startswith("connection is refused")
    assert "1009 message size limit exceeded" in line
