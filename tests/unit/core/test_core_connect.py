"""Connecting, the order of commands, pings, expiry and the end of a session."""

import asyncio
import gc

import pytest
from core_harness import UNI, Wire, error

import flyball
from flyball.core.session import Session
from flyball.core.types import SubscriptionSource
from flyball.protocol import codes
from flyball.protocol.messages import ConnectRequest
from flyball.testing import TestClient


async def test_connect_result(node):
    wire = Wire(node)
    result = wire.connect()
    assert result == {"client": wire.session.client_id, "ping": 25, "pong": True}
    assert node.hub.sessions == {wire.session.client_id: wire.session}


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        '{"id":1}',
        '{"id":1,"subscribe":{"channel":"plain:1"}}',
        '{"id":1,"rpc":{"method":"x"}}',
        '{"id":"1","connect":{}}',
        '{"id":1,"connect":5}',
        '{"id":1,"ping":{}}',
        b"\xff",
    ],
)
async def test_nothing_but_connect_opens_a_connection(node, frame):
    wire = Wire(node)
    wire.raw(frame)
    assert wire.closed_by == 3501
    assert not node.hub.sessions


async def test_second_connect_ends_the_connection(wire):
    assert wire.ask(connect={}) == []
    assert wire.closed_by == 3501


async def test_commands_before_a_broken_one_are_answered(wire):
    messages = wire.raw(
        '{"id":1,"presence_stats":{"channel":"pres:1"}}\n\n{"id":2,"unsubscribe":{}}'
    )
    assert messages == [{"id": 1, "presence_stats": {"num_clients": 0, "num_users": 0}}]
    assert wire.closed_by == 3501


async def test_first_request_of_the_table_wins(wire):
    message = wire.one(rpc={"method": "x"}, subscribe={"channel": "plain:1"})
    assert message == {"id": 1, "subscribe": {}}


async def test_without_a_handler_nobody_connects(clock):
    async with flyball.Node(clock=clock, clients=False) as node:
        wire = Wire(node)
        wire.ask(connect={})
        assert wire.closed_by == 3501


async def test_refused_connect_is_a_dead_connection(clock):
    node = flyball.Node(clock=clock)

    @node.on_connecting
    def refuse(event):
        raise flyball.Error(codes.TOKEN_EXPIRED)

    async with node:
        wire = Wire(node)
        messages = wire.say({"id": 1, "connect": {}}, {"id": 2, "rpc": {"method": "x"}})
        assert messages == [{"id": 1, "error": {"code": 109, "message": "token expired"}}]
        assert wire.lingers == 5.0
        assert wire.ask(rpc={"method": "x"}) == []
        assert wire.closed_by is None
        clock.advance(10.1)  # transports that cannot linger end by this
        assert wire.closed_by == 3502


async def test_application_disconnect_at_connect(clock):
    node = flyball.Node(clock=clock)

    @node.on_connecting
    async def refuse(event):
        raise flyball.Disconnect(4500, "go away")

    async with node:
        wire = Wire(node)
        wire.ask(connect={})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert wire.closed_by == 4500


async def test_clients_that_come_and_go_are_logged(node, wire, caplog):
    caplog.set_level("DEBUG", "flyball.core")
    come = Wire(node)
    come.ask(connect={})
    come.session.disconnect(flyball.Disconnect(4001, "bye"))
    client, name = come.session.client_id, come.session.transport.name
    assert caplog.messages == [
        f"client {client} of {name} connected: user {come.session.user!r}",
        f"client {client} of {name} disconnected: 4001 bye",
    ]


async def test_a_failing_handler_is_an_internal_error(node, wire, caplog):
    @node.on_rpc
    def broken(event):
        raise ZeroDivisionError

    assert wire.one(rpc={"method": "x"}) == {
        "id": 1,
        "error": {"code": 100, "message": "internal server error", "temporary": True},
    }
    assert "ZeroDivisionError" in caplog.text


async def test_stale_connection(node, clock):
    wire = Wire(node)
    clock.advance(9.9)
    assert wire.closed_by is None
    clock.advance(0.2)
    assert wire.closed_by == 3502


async def test_ping_pong(wire, clock):
    wire.await_ping(clock)
    assert wire.raw("{}") == []
    wire.await_ping(clock)
    clock.advance(8.1)
    assert wire.closed_by == 3012


async def test_other_traffic_is_no_pong(wire, clock):
    wire.await_ping(clock)
    wire.ask(unsubscribe={"channel": "x"})
    clock.advance(8.1)
    assert wire.closed_by == 3012


async def test_pong_without_ping(wire):
    wire.raw("{}")
    assert wire.closed_by == 3501


async def test_request_without_id_is_a_pong(wire):
    wire.raw('{"rpc":{"method":"x"}}')
    assert wire.closed_by == 3501


async def test_second_pong(wire, clock):
    wire.await_ping(clock)
    wire.raw("{}\n{}")
    assert wire.closed_by == 3501


@pytest.mark.parametrize("options", [flyball.NodeOptions(pong_timeout=0)])
async def test_pings_without_pongs(node, clock):
    wire = Wire(node)
    assert wire.connect() == {"client": wire.session.client_id, "ping": 25}
    clock.advance(105)
    assert wire.take() == [{}] * 4
    assert wire.closed_by is None


@pytest.mark.parametrize("options", [flyball.NodeOptions(ping_interval=0, pong_timeout=0)])
async def test_no_pings(node, clock):
    wire = Wire(node)
    assert wire.connect() == {"client": wire.session.client_id}
    clock.advance(1000)
    assert wire.take() == []


def test_pong_timeout_must_be_shorter():
    with pytest.raises(flyball.ConfigError, match="ping_interval"):
        flyball.NodeOptions(ping_interval=5, pong_timeout=5)


async def test_first_pings_are_spread(node, clock):
    wires = [Wire(node) for _ in range(200)]
    for wire in wires:
        wire.connect()
    clock.advance(12)
    assert not any(w.take() for w in wires)
    clock.advance(6.5)
    assert 50 < sum(bool(w.take()) for w in wires) < 150


class TestExpiry:
    @pytest.fixture
    async def node(self, clock):
        node = flyball.Node(clock=clock)
        self.refreshed = None

        @node.on_connecting
        def connecting(event):
            return flyball.Credentials(user="u", expire_at=clock.time() + 100)

        async with node:
            yield node

    async def test_ttl_and_close(self, node, clock):
        wire = Wire(node)
        result = wire.connect()
        assert (result["expires"], result["ttl"]) == (True, 100)
        node.timers.cancel(wire.session)
        wire.session._next_ping = float("inf")
        wire.session.arm()
        clock.advance(124)
        assert wire.closed_by is None
        clock.advance(1.1)
        assert wire.closed_by == 3005

    async def test_refresh(self, node, clock):
        @node.on_refresh
        def refresh(event):
            if event.token == "forever":
                return flyball.RefreshResult()
            if event.token == "old":
                return flyball.RefreshResult(expired=True)
            return flyball.RefreshResult(expire_at=clock.time() + 500)

        wire = Wire(node)
        wire.connect()
        assert wire.one(refresh={"token": "x"}) == {
            "id": 1,
            "refresh": {"expires": True, "ttl": 500},
        }
        assert wire.one(refresh={"token": "forever"}) == {"id": 1, "refresh": {}}
        wire.session._next_ping = float("inf")
        clock.advance(1000)
        assert wire.closed_by is None, "a token without expiry lifts the deadline"
        wire.ask(refresh={"token": "old"})
        assert wire.closed_by == 3005

    async def test_refresh_without_token(self, node):
        wire = Wire(node)
        wire.connect()
        wire.ask(refresh={})
        assert wire.closed_by == 3501

    async def test_already_expired(self, clock):
        node = flyball.Node(clock=clock)
        node.on_connecting(lambda _: flyball.Credentials(expire_at=clock.time() - 1))
        async with node:
            wire = Wire(node)
            assert error(wire.one(connect={})) == 110

    async def test_refresh_by_server(self, clock):
        node = flyball.Node(clock=clock, options=flyball.NodeOptions(ping_interval=0))
        answers = [flyball.RefreshResult(expire_at=clock.time() + 200)]
        node.on_connecting(
            lambda _: flyball.Credentials(expire_at=clock.time() + 100, client_side_refresh=False)
        )
        node.on_refresh(
            lambda _: answers.pop(0) if answers else flyball.RefreshResult(expired=True)
        )
        async with node:
            wire = Wire(node)
            assert "ttl" not in wire.connect()
            clock.advance(101)
            assert wire.closed_by is None
            wire2 = Wire(node)
            wire2.connect()
            wire2.ask(refresh={"token": "x"})
            assert wire2.closed_by == 3501
            clock.advance(101)
            assert wire.closed_by == 3005

    async def test_expiry_is_cut_to_a_year(self, clock):
        node = flyball.Node(clock=clock)
        node.on_connecting(lambda _: flyball.Credentials(expire_at=clock.time() + 1e10))
        async with node:
            assert Wire(node).connect()["ttl"] == 365 * 24 * 3600


async def test_waiting_handler_keeps_the_order(node, wire):
    gate = asyncio.Event()

    @node.on_rpc("slow")
    async def slow(event):
        await gate.wait()
        return "slow"

    @node.on_rpc("quick")
    def quick(event):
        return "quick"

    assert (
        wire.say({"id": 1, "rpc": {"method": "slow"}}, {"id": 2, "rpc": {"method": "quick"}}) == []
    )
    assert not wire.reading, "no more is read while commands wait"
    assert wire.say({"id": 3, "rpc": {"method": "quick"}}) == []
    gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert [m["id"] for m in wire.take()] == [1, 2, 3]
    assert wire.reading


async def test_waiting_commands_are_bounded(node):
    gate = asyncio.Event()

    @node.on_rpc
    async def slow(event):
        await gate.wait()

    big = {"rpc": {"method": "x", "data": "x" * 100_000}}
    for command, count in ((big, 43), ({"rpc": {"method": "x"}}, 4097)):
        wire = Wire(node)
        wire.connect()
        for id_ in range(1, count + 1):
            wire.say({"id": id_, **command})
        assert not wire.session.closed
        wire.say({"id": count + 1, **command})
        assert wire.closed_by == 3013
    wire = Wire(node)
    wire.connect()
    for _ in range(2):
        for id_ in range(1, 40):
            wire.say({"id": id_, **big})
        gate.set()
        for _ in range(500):
            await asyncio.sleep(0)
        assert len(wire.take()) == 39
        gate.clear()


@pytest.mark.parametrize("options", [flyball.NodeOptions(concurrency=2)])
async def test_concurrency(node):
    gates = {name: asyncio.Event() for name in "abc"}

    @node.on_rpc
    async def slow(event):
        await gates[event.method].wait()
        return event.method

    wire = Wire(node)
    wire.connect()
    for id_, name in enumerate("abc", 1):
        wire.say({"id": id_, "rpc": {"method": name}})
    for name in "bca":
        gates[name].set()
        for _ in range(5):
            await asyncio.sleep(0)
    assert [m["id"] for m in wire.take()] == [2, 3, 1]


async def test_disconnect_while_a_handler_waits(node, wire):
    gate = asyncio.Event()

    @node.on_rpc
    async def slow(event):
        await gate.wait()

    wire.ask(rpc={"method": "x"})
    wire.session.connection_lost()
    gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert wire.take() == []
    assert not node.tasks


async def test_message_without_handler(wire):
    wire.say({"send": {"data": 1}})
    assert wire.closed_by == 3508


async def test_message(node, wire):
    got = []
    node.on_message(lambda event: got.append(event.json()))
    assert wire.say({"send": {"data": {"a": 1}}}) == []
    assert got == [{"a": 1}]


async def test_message_handlers_cannot_answer(node, wire):
    @node.on_message
    def refuse(event):
        raise flyball.Error(400)

    assert wire.say({"send": {"data": 1}}) == []
    assert wire.closed_by is None


async def test_program_hears_of_connects_and_disconnects(node):
    heard = []
    node.on_connected(lambda e: heard.append(("connected", e.user)))
    node.on_disconnected(lambda e: heard.append(("disconnected", e.user, e.code, e.reason)))
    wire = Wire(node)
    wire.connect(token="bob")
    wire.session.connection_lost()
    assert heard == [("connected", "bob"), ("disconnected", "bob", 3000, "connection closed")]


async def test_shutdown_tells_everybody(node, wire):
    await node.shutdown()
    assert wire.closed_by == 3001
    assert not node.hub.sessions


async def test_shutdown_ends_connections_that_never_connected(node):
    newcomer = Wire(node)
    await node.shutdown()
    assert newcomer.closed_by == 3001
    late = Wire(node)
    await asyncio.sleep(0)
    assert late.closed_by == 3001


@pytest.mark.parametrize("options", [flyball.NodeOptions(user_connection_limit=2)])
async def test_user_connection_limit(node):
    for _ in range(2):
        Wire(node).connect(token="a")
    third = Wire(node)
    third.ask(connect={"token": "a"})
    assert third.closed_by == 3504
    Wire(node).connect(token="b")


async def test_single_connection(clock):
    node = flyball.Node(clock=clock)
    node.on_connecting(lambda e: flyball.Credentials(user=e.token, single_connection=True))
    async with node:
        first, other, second = Wire(node), Wire(node), Wire(node)
        first.connect(token="a")
        other.connect(token="b")
        second.connect(token="a")
        assert (first.closed_by, other.closed_by, second.closed_by) == (3504, None, None)


class TestUnidirectional:
    async def test_connect_push(self, node):
        wire = Wire(node, framing=UNI, disconnect_push=True)
        wire.session.connect_unidirectional(ConnectRequest(token="u"))
        (push,) = wire.take()
        assert push == {
            "connect": {
                "client": wire.session.client_id,
                "ping": 25,
                "session": wire.session.session_id,
            }
        }
        assert node.hub.by_session_id[wire.session.session_id] is wire.session

    @pytest.mark.parametrize(
        ("refusal", "code"), [(109, 3005), (110, 3005), (111, 3013), (103, 3507), (102, 3004)]
    )
    async def test_errors_become_disconnects(self, clock, refusal, code):
        node = flyball.Node(clock=clock)

        @node.on_connecting
        def refuse(event):
            raise flyball.Error(refusal)

        async with node:
            wire = Wire(node, framing=UNI, disconnect_push=True)
            wire.session.connect_unidirectional(ConnectRequest())
            reason = codes.DISCONNECTS[code].reason
            assert wire.take() == [{"disconnect": {"code": code, "reason": reason}}]
            assert wire.closed_by == code

    @pytest.mark.parametrize(
        "options",
        [flyball.NodeOptions(uni_connect_disconnects={102: codes.DisconnectCode(4500, "no")})],
    )
    async def test_configured_disconnects(self, clock, options):
        node = flyball.Node(options, clock=clock)

        @node.on_connecting
        def refuse(event):
            raise flyball.Error(102)

        async with node:
            wire = Wire(node, framing=UNI)
            wire.session.connect_unidirectional(ConnectRequest())
            assert wire.closed_by == 4500

    async def test_pushes_are_bare_and_pings_are_not_answered(self, node, clock):
        wire = Wire(node, framing=UNI)
        wire.session.connect_unidirectional(ConnectRequest())
        wire.take()
        await node.subscribe_user("u1", "plain:1", flyball.SubscribeOptions())
        await node.publish("plain:1", {"a": 1})
        assert wire.take() == [
            {"channel": "plain:1", "subscribe": {}},
            {"channel": "plain:1", "pub": {"data": {"a": 1}}},
        ]
        clock.advance(60)
        assert wire.take() == [{}, {}]
        assert wire.closed_by is None


async def test_disconnect_push_and_flush(node):
    wire = Wire(node, disconnect_push=True)
    wire.connect()
    wire.cork()
    wire.session.receive(b'{"id":1,"unsubscribe":{"channel":"x"}}\n{"id":0}')
    wire.uncork()
    assert wire.take() == [
        {"id": 1, "unsubscribe": {}},
        {"push": {"disconnect": {"code": 3501, "reason": "bad request"}}},
    ]


async def test_emulation_names_session_and_node(node):
    wire = Wire(node, emulation=True)
    result = wire.connect()
    assert (result["session"], result["node"]) == (wire.session.session_id, node.id)


async def test_an_event_kept_in_storage_does_not_keep_its_session(clock):
    node = flyball.Node(clock=clock)

    @node.on_connecting
    def connecting(event):
        event.connection.storage["event"] = event
        return flyball.Credentials()

    wire = Wire(node)
    wire.connect()
    client = wire.session.client_id
    wire.session.connection_lost()
    del wire
    gc.collect()
    assert not [o for o in gc.get_objects() if isinstance(o, Session) and o.client_id == client]


class TestRefreshedChannels:
    """A refresh may name the channels of the new token: those of the connection must fit."""

    @pytest.mark.parametrize(
        ("named", "live", "code"),
        [
            ({"a", "b"}, {"a", "b"}, None),
            # Personal, wished and API subscriptions are nobody's business here.
            ({"a", "b"}, {"a", "b", "#42", "c"}, None),
            ({"a"}, {"a", "b"}, 3010),
            (set(), {"a", "b"}, 3010),
            ({"a", "b", "c"}, {"a", "b"}, 3010),
            # A subscription that ended meanwhile is missed only if the token still names it.
            ({"a"}, {"a"}, None),
            ({"a", "b"}, {"a"}, 3010),
        ],
    )
    async def test_they_are_compared(self, clock, named, live, code):
        sources = {"#42": SubscriptionSource.RULE, "c": SubscriptionSource.CLIENT}
        given = {
            name: flyball.SubscribeOptions(source=sources.get(name))
            for name in ("a", "b", *(live & sources.keys()))
        }
        async with flyball.Node(clock=clock, clients=False) as node:
            node.on_connecting(lambda event: flyball.Credentials("42", subs=given))
            node.on_refresh(lambda event: flyball.RefreshResult(subs=frozenset(named)))
            wire = Wire(node)
            wire.connect()
            for name in given.keys() - live:
                await node.unsubscribe_user("42", name)
            wire.take()
            wire.ask(refresh={"token": "t"})
            assert wire.closed_by == code
            assert wire.session.connection.channels() == (set(live) if code is None else set())

    async def test_named_ones_belong_to_the_credentials_from_then_on(self, clock):
        named = [{"a", "b"}, {"a"}]
        async with flyball.Node(clock=clock, clients=False) as node:
            node.on_connecting(
                lambda event: flyball.Credentials("42", subs={"a": flyball.SubscribeOptions()})
            )
            node.on_refresh(lambda event: flyball.RefreshResult(subs=frozenset(named.pop(0))))
            wire = Wire(node)
            wire.connect()
            await node.subscribe_user("42", "b", flyball.SubscribeOptions())
            assert wire.session.connection.subscription("b").source is SubscriptionSource.API
            wire.ask(refresh={"token": "t"})
            assert wire.closed_by is None
            assert wire.session.connection.subscription("b").source is SubscriptionSource.CONNECT
            wire.ask(refresh={"token": "t"})
            assert wire.closed_by == 3010

    async def test_meta_is_replaced_if_there_is_any(self, clock):
        results = [flyball.RefreshResult(meta={"n": 2}), flyball.RefreshResult()]
        async with flyball.Node(clock=clock, clients=False) as node:
            node.on_connecting(lambda event: flyball.Credentials("42", meta={"n": 1}))
            node.on_refresh(lambda event: results.pop(0))
            wire = Wire(node)
            wire.connect()
            assert wire.session.connection.meta == {"n": 1}
            for _ in range(2):
                wire.ask(refresh={"token": "t"})
                assert wire.session.connection.meta == {"n": 2}


async def test_what_handlers_see_of_a_connection(clock):
    seen = []
    async with flyball.Node(clock=clock, clients=False) as node:

        @node.on_connecting
        def connecting(event):
            seen.append(event.connection)
            event.connection.storage["n"] = 1
            return flyball.Credentials("ann", info={"i": 1}, meta="m", expire_at=clock.time() + 60)

        node.on_subscribe(lambda event: flyball.SubscribeOptions(presence=True))
        node.on_rpc(lambda event: event.connection.storage["n"])
        wire = Wire(node)
        wire.connect(name="js", version="1")
        (connection,) = seen
        assert connection is wire.session.connection
        assert (connection.user, connection.client_id) == ("ann", wire.session.client_id)
        assert (bytes(connection.info), connection.meta) == (b'{"i":1}', "m")
        assert (connection.name, connection.version, connection.remote_addr) == ("js", "1", "")
        assert (connection.transport, connection.protocol) == ("test", "json")
        assert connection.headers == connection.emulated_headers == {}
        assert not connection.unidirectional
        assert not connection.session_id
        assert connection.client_side_refresh
        assert connection.expire_at == clock.time() + 60
        assert "ann" in repr(connection)
        wire.subscribe("news")
        assert connection.is_subscribed("news")
        assert not connection.is_subscribed("olds")
        assert connection.subscription("olds") is None
        found = connection.subscription("news")
        assert (found.source, found.server_side) == (SubscriptionSource.CLIENT, False)
        assert found.options.presence
        assert wire.one(rpc={"method": "m"})["rpc"]["data"] == 1
        assert not connection.closed
        wire.session.connection_lost()
        assert connection.closed
        assert not hasattr(connection, "receive")
        with pytest.raises(AttributeError):
            connection.user = "bob"


class TestCodes:
    """Codes that no close frame can carry are refused where they come in."""

    @pytest.mark.parametrize("code", [-1, 0, 999, 5000, 65536])
    async def test_disconnects(self, node, wire, code):
        with pytest.raises(flyball.ConfigError, match=f"{code} is no disconnect code: 1000 to"):
            flyball.Disconnect(code)
        with pytest.raises(flyball.ConfigError, match="no disconnect code"):
            await node.disconnect_user("u1", code=code)
        with pytest.raises(flyball.ConfigError, match="no disconnect code"):
            flyball.NodeOptions(uni_connect_disconnects={109: codes.DisconnectCode(code, "x")})
        assert wire.closed_by is None

    async def test_a_handler_that_raises_one_has_failed(self, node, wire, caplog):
        @node.on_rpc
        def rpc(event):
            raise flyball.Disconnect(65536)

        assert error(wire.one(rpc={"method": "x"})) == 100
        assert "65536 is no disconnect code" in caplog.text
        assert wire.closed_by is None

    @pytest.mark.parametrize("code", [0, 1, 1999, 3000])
    async def test_unsubscribes(self, node, wire, code):
        with pytest.raises(flyball.ConfigError, match="no unsubscribe code"):
            await node.unsubscribe_user("u1", "x", code=codes.UnsubscribeCode(code, "x"))


async def test_a_refresh_that_is_over_already_is_an_error(clock):
    node = flyball.Node(flyball.NodeOptions(ping_interval=0.0), clock=clock)
    until = clock.time() + 100
    node.on_connecting(lambda event: flyball.Credentials(expire_at=until))
    node.on_refresh(lambda event: flyball.RefreshResult(expire_at=clock.time() - 1))
    async with node:
        client = TestClient(node)
        await client.connect()
        with pytest.raises(flyball.Error) as refused:
            await client.refresh("token")
        assert refused.value.code == 110
        assert client.session.expire_at == until


async def test_no_channel_has_an_empty_name(clock):
    subs = {"": flyball.SubscribeOptions(), "a": flyball.SubscribeOptions()}
    async with flyball.Node(clock=clock, clients=False) as node:
        node.on_connecting(lambda event: flyball.Credentials("42", subs=subs))
        assert list(Wire(node).connect()["subs"]) == ["a"]


async def test_a_session_shows_whose_it_is(node):
    wire = Wire(node)
    wire.connect()
    assert wire.session.client_id in repr(wire.session)
