"""Connections, users and channels of all nodes, in pages."""

import asyncio

import msgspec
import pytest
from core_harness import Wire

from flyball.core import census, channel_census
from flyball.core.census import ConnectionsQuery
from flyball.core.engine import Engine
from flyball.core.errors import Error
from flyball.core.events import Connecting
from flyball.core.node import Node
from flyball.core.options import NodeOptions
from flyball.core.types import Credentials, SubscribeOptions


def node_on(clock, controller=None, ping_interval=0):
    options = NodeOptions(ping_interval=ping_interval, pong_timeout=ping_interval / 2)
    node = Node(options, engine=Engine(controller=controller), clock=clock)

    @node.on_connecting
    def connecting(event: Connecting):
        return Credentials(user=event.connection.version)

    node.on_subscribe(lambda _event: SubscribeOptions())
    return node


def connect(node, user="", *channels, name="js"):
    wire = Wire(node)
    request = {"name": name, "version": user}
    wire.session.receive(msgspec.json.encode({"id": 1, "connect": request}))
    for number, channel in enumerate(channels, 2):
        wire.session.receive(msgspec.json.encode({"id": number, "subscribe": {"channel": channel}}))
    return wire.session


@pytest.fixture
async def node(clock):
    async with node_on(clock) as node:
        yield node


async def test_a_connection_is_described(node, clock):
    session = connect(node, "ann", "b", "a")
    (entry,) = (await node.connections()).connections
    assert entry == census.ConnectionEntry(
        client=session.client_id,
        user="ann",
        node=node.id,
        name="js",
        version="ann",
        transport="test",
        protocol="json",
        remote_addr="",
        connected_at=clock.time(),
        latency=0.0,
        num_channels=2,
        channels=["a", "b"],
    )


async def test_what_an_answer_to_a_ping_took(clock):
    async with node_on(clock, ping_interval=10) as node:
        wire = Wire(node)
        wire.connect()
        wire.await_ping(clock)
        assert (await node.connections()).connections[0].latency == 0
        clock.advance(0.25)
        wire.session.receive(b"{}")
        took = (await node.connections()).connections[0].latency
        assert 0.25 <= took <= 0.36  # the ping was sent within the last 0.1 s
        assert wire.session.connection.latency == took


async def test_an_address_is_asked_of_the_transport_where_the_session_has_none(node, monkeypatch):
    session = connect(node, "ann")
    monkeypatch.setattr(type(session.transport), "remote_address", lambda _self: "192.0.2.1:5000")
    assert (await node.connections()).connections[0].remote_addr == "192.0.2.1:5000"
    session._remote_addr = "198.51.100.1:6000"
    assert session.connection.remote_addr == "198.51.100.1:6000"


async def test_filters(node, clock):
    old = connect(node, "ann", "news")
    clock.advance(60)
    connect(node, "bob", name="swift")
    anonymous = connect(node)

    async def found(**fields):
        page = await node.connections(**fields)
        assert page.total == len(page.connections)
        return {entry.client for entry in page.connections}

    assert await found(user="ann") == {old.client_id}
    assert await found(user="") == {anonymous.client_id}
    assert await found(user="nobody") == set()
    assert await found(name="swift") == {s.client_id for s in node.hub.sessions_of("bob")}
    assert await found(channel="news") == {old.client_id}
    assert await found(min_age=60) == {old.client_id}
    assert await found(transport="sse") == set()
    assert len(await found(transport="test")) == 3
    assert await found(client=old.client_id) == {old.client_id}
    assert await found(client="none") == set()
    assert await found(client=old.client_id, user="bob") == set()
    query = ConnectionsQuery(user="ann")
    assert len((await node.connections(query)).connections) == 1


async def test_pages_over_two_nodes(clock, bus, monkeypatch):
    monkeypatch.setattr(census, "SLICE", 3)
    async with node_on(clock, bus.controller()) as one, node_on(clock, bus.controller()) as two:
        await one.tasks.drain()
        await two.tasks.drain()
        assert one.num_nodes == two.num_nodes == 2
        sessions = [connect(node, f"u{n % 3}", "c") for n in range(7) for node in (one, two)]
        seen, cursor = [], ""
        while True:
            page = await one.connections(limit=4, cursor=cursor)
            assert page.total == 14
            seen += [entry.client for entry in page.connections]
            cursor = page.cursor
            if not cursor:
                break
            assert len(page.connections) == 4
        assert seen == sorted(session.client_id for session in sessions)
        state = await one.channel_state("c")
        assert state.nodes == {one.id: 7, two.id: 7}
        assert state.num_clients == 14
        assert (await two.channel_state("empty")).nodes == {}
        first = await one.users(limit=2)
        assert [(u.user, u.num_clients) for u in first.users] == [("u0", 6), ("u1", 4)]
        rest = await one.users(limit=2, cursor=first.cursor)
        assert [(u.user, u.num_clients) for u in rest.users] == [("u2", 4)]
        assert not rest.cursor
        assert [u.user for u in (await one.users("*1")).users] == ["u1"]


async def test_many_channels_of_one_connection_are_counted(node, monkeypatch):
    monkeypatch.setattr(census, "MAX_CHANNELS", 1)
    connect(node, "ann", "a", "b")
    (entry,) = (await node.connections()).connections
    assert (entry.num_channels, entry.channels) == (2, ["a"])


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_limits(node, limit):
    for asked in (node.connections(limit=limit), node.users(limit=limit)):
        with pytest.raises(Error) as caught:
            await asked
        assert caught.value.code == 107


async def test_nodes_of_another_kind_have_no_say_and_failures_are_told(node):
    answers = {"a": census_answer(104), "b": census_answer(0, b"3")}
    assert census.join_channel(answers).nodes == {"b": 3}
    with pytest.raises(Error) as caught:
        census.join_channel({"a": census_answer(100)})
    assert caught.value.code == 100


def census_answer(code, data=b""):
    from flyball.core.cluster import SurveyResult

    return SurveyResult(code, data)


# -- channels


async def test_pages_of_channels(node):
    connect(node, "ann", "b", "a")
    connect(node, "bob", "b", "other")
    assert await node.channels() == {"a": 1, "b": 2, "other": 1}
    first = await node.channels_page(limit=2)
    assert [(c.channel, c.num_clients) for c in first.channels] == [("a", 1), ("b", 2)]
    assert (first.total, first.cursor) == (3, "b")
    rest = await node.channels_page(limit=2, cursor=first.cursor)
    assert [c.channel for c in rest.channels] == ["other"]
    assert (rest.total, rest.cursor) == (3, "")
    busy = await node.channels_page(order="clients", limit=2)
    assert [c.channel for c in busy.channels] == ["b", "a"]
    assert (busy.total, busy.cursor) == (3, "")
    fitting = await node.channels_page("[ab]", order="clients")
    assert [c.channel for c in fitting.channels] == ["b", "a"]
    assert fitting.total == 2
    assert await node.channels_page("none*") == census_page()


def census_page(*entries, **fields):
    channels = [channel_census.ChannelEntry(channel=c, num_clients=n) for c, n in entries]
    return channel_census.ChannelsPage(channels=channels, **fields)


async def test_pages_of_channels_over_two_nodes(clock, bus, monkeypatch):
    monkeypatch.setattr(census, "SLICE", 2)
    monkeypatch.setattr(channel_census, "WIRE_SLICE", 2)
    async with node_on(clock, bus.controller()) as one, node_on(clock, bus.controller()) as two:
        await one.tasks.drain()
        await two.tasks.drain()
        for channels in (("a", "b", "c", "d", "e"), ("a", "d")):
            connect(one, "", *channels)
        for channels in (("c", "d", "f"), ("c",), ("c",)):
            connect(two, "", *channels)
        counts = {"a": 2, "b": 1, "c": 4, "d": 3, "e": 1, "f": 1}
        assert await one.channels() == await two.channels() == counts
        assert await two.channels("[cd]") == {"c": 4, "d": 3}
        seen, cursor = {}, ""
        while True:
            page = await two.channels_page(limit=2, cursor=cursor)
            assert not page.total  # "a" is on one, "d" on both: nobody knows
            assert list(seen) == sorted(seen)
            seen |= {entry.channel: entry.num_clients for entry in page.channels}
            cursor = page.cursor
            if not cursor:
                break
            assert len(page.channels) == 2
        assert seen == counts
        # "d" is the second of neither node by itself, and yet counted on both.
        busy = await one.channels_page(order="clients", limit=2)
        assert busy == census_page(("c", 4), ("d", 3))
        alone = await one.channels_page("[ef]", limit=1)
        assert alone == census_page(("e", 1), cursor="e")


async def test_pages_of_channels_that_cannot_be(node):
    for fields in (
        {"limit": 0},
        {"limit": 1001},
        {"order": "age"},
        {"order": "clients", "cursor": "a"},
    ):
        with pytest.raises(Error) as caught:
            await node.channels_page(**fields)
        assert caught.value.code == 107
    with pytest.raises(Error) as caught:
        await node.channels_page("[")
    assert caught.value.code == 100


async def test_channels_that_end_while_they_are_listed(node, monkeypatch):
    monkeypatch.setattr(census, "SLICE", 1)
    monkeypatch.setattr(channel_census, "WIRE_SLICE", 1)
    session = connect(node, "ann", "a", "b", "c")
    listings = [
        asyncio.ensure_future(node.channels()),
        asyncio.ensure_future(node.channels_page()),
        asyncio.ensure_future(node.channels_page(order="clients")),
    ]
    await asyncio.sleep(0)
    session.connection_lost()
    everything, by_name, busiest = await asyncio.gather(*listings)
    assert everything == {"a": 1}
    assert by_name.channels == busiest.channels == []


async def test_no_turn_is_long_however_many_channels(node, monkeypatch):
    """Nobody else waits for a list: many turns, each of a bounded number of channels."""
    monkeypatch.setattr(channel_census, "WIRE_SLICE", 40)
    connect(node, "ann", *(f"c{number}" for number in range(120)))
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count_turns())
    assert len(await node.channels()) == 120
    counting.cancel()
    assert turns >= 4  # two between three slices that are written, as many between those read
