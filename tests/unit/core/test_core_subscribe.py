"""Subscriptions: options, positions, recovery, delta, filters, presence, expiry, the end."""

import asyncio

import pytest
from core_harness import Wire, error

import flyball
from flyball.protocol import codes
from flyball.protocol.delta import apply_delta

HISTORY = {"history_size": 100, "history_ttl": 600}
YEAR = 365 * 24 * 3600


def publications(messages):
    return [m["push"]["pub"] for m in messages if "pub" in m.get("push", {})]


async def test_checks_in_order(wire):
    def refused(**request):
        return error(wire.one(subscribe=request))

    assert wire.subscribe("plain:1") == {}
    assert refused(channel="plain:1") == 105
    assert refused(channel="plain:1", type=4) == 108
    assert refused(channel="plain:" + "x" * 250) == 107
    assert refused(channel="plain:" + "ö" * 125) == 107, "bytes count, not letters"
    assert "subscribe" in wire.one(subscribe={"channel": "plain:" + "ö" * 124})
    assert refused(channel="plain:2", tf={"key": "a", "cmp": "eq", "val": "b"}) == 107
    assert refused(channel="rec:2", tf={"key": "a", "cmp": "zz", "val": "b"}) == 107
    assert refused(channel="plain:3", type=1) == 108
    assert refused(channel="plain:3", type=1, delta="zz") == 108, "no deltas, no delta types"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"channel": ""}, 3501),
        ({"channel": "plain:1", "delta": "zz"}, 3501),
        ({"channel": "plain:1", "type": 5}, 3004),
        ({"channel": "plain:1", "type": 5, "delta": "zz"}, 3501),
        ({"channel": "plain:1", "type": -1, "delta": "zz"}, 3501),
    ],
)
async def test_requests_that_end_the_connection(wire, request_, code):
    wire.ask(subscribe=request_)
    assert wire.closed_by == code


@pytest.mark.parametrize("options", [flyball.NodeOptions(channel_limit=2)])
async def test_channel_limit(node, wire):
    wire.subscribe("plain:1")
    wire.subscribe("plain:2")
    assert error(wire.one(subscribe={"channel": "plain:3"})) == 106
    wire.ask(unsubscribe={"channel": "plain:1"})
    assert wire.subscribe("plain:3") == {}


async def test_refused_subscribe_leaves_nothing_behind(node, wire):
    @node.on_subscribe("secret:*")
    def secret(event):
        raise flyball.PermissionDenied("no")

    assert error(wire.one(subscribe={"channel": "secret:1"})) == 103
    assert not wire.session.subscriptions
    assert not node.hub.channels


async def test_unsubscribe(node, wire):
    ended = []
    node.on_unsubscribed(lambda e: ended.append((e.channel, e.code, e.server_side)))
    wire.subscribe("plain:1")
    assert wire.one(unsubscribe={"channel": "plain:1"}) == {"id": 1, "unsubscribe": {}}
    assert wire.one(unsubscribe={"channel": "nobody:knows"}) == {"id": 1, "unsubscribe": {}}
    await node.publish("plain:1", 1)
    assert wire.take() == []
    assert ended == [("plain:1", 0, False)]
    assert not node.hub.channels
    wire.ask(unsubscribe={"channel": ""})
    assert wire.closed_by == 3501


async def test_publish_comes_before_its_reply(wire):
    wire.subscribe("rec:1")
    push, reply = wire.ask(publish={"channel": "rec:1", "data": {"a": "<b>"}})
    pub = push["push"]["pub"]
    assert pub["data"] == {"a": "<b>"}
    assert pub["offset"] == 1
    assert pub["info"] == {"user": "u1", "client": wire.session.client_id, "conn_info": {"n": 1}}
    assert reply == {"id": 1, "publish": {}}


class TestRecovery:
    async def test_everything_missed(self, node, wire):
        first = wire.subscribe("rec:1")
        assert first["recoverable"]
        assert first["positioned"]
        assert "offset" not in first
        for i in range(3):
            await node.publish("rec:1", i, **HISTORY)
        wire.take()
        again = Wire(node)
        again.connect()
        result = again.subscribe("rec:1", recover=True, offset=1, epoch=first["epoch"])
        assert [p["data"] for p in result["publications"]] == [1, 2]
        assert (result["recovered"], result["was_recovering"]) == (True, True)
        assert result["offset"] == 1, "the request's own offset is echoed"
        await node.publish("rec:1", 3, **HISTORY)
        assert [p["offset"] for p in publications(again.take())] == [4]

    @pytest.mark.parametrize("position", [(1, "other"), (9, None), (0, "other")])
    async def test_unknown_positions(self, node, wire, position):
        epoch = wire.subscribe("rec:1")["epoch"]
        for i in range(3):
            await node.publish("rec:1", i, **HISTORY)
        wire.ask(unsubscribe={"channel": "rec:1"})
        offset, wanted = position
        result = wire.subscribe("rec:1", recover=True, offset=offset, epoch=wanted or epoch)
        assert "recovered" not in result
        assert "publications" not in result
        assert (result["was_recovering"], result["offset"]) == (True, 3)

    async def test_empty_epoch_is_any(self, node, wire):
        await node.publish("rec:1", 1, **HISTORY)
        result = wire.subscribe("rec:1", recover=True)
        assert result["recovered"]
        assert len(result["publications"]) == 1

    async def test_gap_in_the_stream(self, node, wire):
        epoch = wire.subscribe("rec:1")["epoch"]
        for i in range(10):
            await node.publish("rec:1", i, history_size=5, history_ttl=600)
        wire.ask(unsubscribe={"channel": "rec:1"})
        assert "recovered" not in wire.subscribe("rec:1", recover=True, offset=2, epoch=epoch)

    @pytest.mark.parametrize("options", [flyball.NodeOptions(recovery_max_publication_limit=2)])
    async def test_limit(self, node, wire):
        epoch = wire.subscribe("rec:1")["epoch"]
        for i in range(3):
            await node.publish("rec:1", i, **HISTORY)
        wire.ask(unsubscribe={"channel": "rec:1"})
        assert "recovered" not in wire.subscribe("rec:1", recover=True, offset=0, epoch=epoch)
        wire.ask(unsubscribe={"channel": "rec:1"})
        assert wire.subscribe("rec:1", recover=True, offset=1, epoch=epoch)["recovered"]

    async def test_reject_unrecovered(self, node, wire):
        message = wire.one(
            subscribe={"channel": "rec:1", "recover": True, "offset": 5, "epoch": "x", "flag": 2}
        )
        assert error(message) == 112
        assert not node.hub.channels

    async def test_recover_where_recovery_is_off(self, wire):
        assert wire.subscribe("plain:1", recover=True, offset=3) == {"was_recovering": True}

    async def test_wishes(self, wire):
        assert wire.subscribe("opt:1") == {}
        result = wire.subscribe("opt:2", positioned=True)
        assert result["positioned"]
        assert "recoverable" not in result
        assert wire.subscribe("opt:3", recoverable=True)["recoverable"]


class TestCache:
    async def test_latest_at_first_subscribe(self, node, wire):
        for i in range(3):
            await node.publish("cache:1", i, **HISTORY)
        result = wire.subscribe("cache:1")
        assert [p["data"] for p in result["publications"]] == [2]
        assert result["recovered"]
        assert result["was_recovering"]

    async def test_client_has_it(self, node, wire):
        await node.publish("cache:1", 1, **HISTORY)
        epoch = wire.subscribe("cache:1")["epoch"]
        wire.ask(unsubscribe={"channel": "cache:1"})
        result = wire.subscribe("cache:1", recover=True, offset=1, epoch=epoch)
        assert result["recovered"]
        assert "publications" not in result

    async def test_empty(self, wire):
        result = wire.subscribe("cache:1")
        assert "recovered" not in result
        assert result["was_recovering"]

    async def test_latest_that_matches(self, node, wire):
        for tag in "aab":
            await node.publish("cache:1", tag, tags={"t": tag}, **HISTORY)
        result = wire.subscribe("cache:1", tf={"key": "t", "cmp": "eq", "val": "a"})
        assert [p["offset"] for p in result["publications"]] == [2]


class TestDelta:
    def value(self, i):
        return {"text": "x" * 60, "i": i}

    async def publish(self, node, i, **kwargs):
        await node.publish("rec:1", self.value(i), delta=True, **HISTORY, **kwargs)

    async def test_first_full_then_patches(self, node, wire):
        plain = Wire(node)
        plain.connect()
        plain.subscribe("rec:1")
        assert wire.subscribe("rec:1", delta="fossil")["delta"]
        for i in range(3):
            await self.publish(node, i)
        pubs = publications(wire.take())
        assert [p.get("delta", False) for p in pubs] == [False, True, True]
        value = pubs[0]["data"].encode()
        for i, pub in enumerate(pubs[1:], 1):
            value = apply_delta(value, pub["data"].encode())
            assert value == b'{"text":"%s","i":%d}' % (b"x" * 60, i)
        assert [p["data"] for p in publications(plain.take())] == [self.value(i) for i in range(3)]

    async def test_not_granted(self, wire):
        assert "delta" not in wire.subscribe("opt:1", delta="fossil")

    async def test_recovered_list_is_a_chain_that_goes_on_live(self, node, wire):
        for i in range(3):
            await self.publish(node, i)
        result = wire.subscribe("rec:1", delta="fossil", recover=True)
        assert [p.get("delta", False) for p in result["publications"]] == [False, True, True]
        await self.publish(node, 3)
        assert publications(wire.take())[0]["delta"]

    async def test_first_live_push_after_an_empty_recovery_is_full(self, node, wire):
        await self.publish(node, 0)
        epoch = wire.subscribe("rec:1")["epoch"]
        wire.ask(unsubscribe={"channel": "rec:1"})
        result = wire.subscribe("rec:1", delta="fossil", recover=True, offset=1, epoch=epoch)
        assert result["recovered"]
        await self.publish(node, 1)
        assert "delta" not in publications(wire.take())[0]

    async def test_with_a_filter_no_patch_without_its_base(self, node, wire):
        wire.subscribe("rec:1", delta="fossil", tf={"key": "t", "cmp": "eq", "val": "a"})
        for i, tag in enumerate("aabba"):
            await self.publish(node, i, tags={"t": tag})
        pubs = publications(wire.take())
        assert [(p["offset"], p.get("delta", False)) for p in pubs] == [
            (1, False),
            (2, True),
            (5, False),
        ]

    async def test_publisher_must_ask_too(self, node, wire):
        wire.subscribe("rec:1", delta="fossil")
        for i in range(2):
            await node.publish("rec:1", self.value(i), **HISTORY)
        assert [p.get("delta", False) for p in publications(wire.take())] == [False, False]


async def test_tags_filter(node, wire):
    wire.subscribe("rec:1", tf={"key": "t", "cmp": "eq", "val": "a"})
    for tag in "abba":
        await node.publish("rec:1", tag, tags={"t": tag}, **HISTORY)
    assert [p["offset"] for p in publications(wire.take())] == [1, 4]
    assert wire.closed_by is None
    assert node.metrics.tags_filter_dropped == 2
    epoch = node.broker._streams["rec:1"].epoch
    again = Wire(node)
    again.connect()
    tf = {"key": "t", "cmp": "eq", "val": "a"}
    result = again.subscribe("rec:1", recover=True, offset=1, epoch=epoch, tf=tf)
    assert [p["offset"] for p in result["publications"]] == [4]
    await node.publish("rec:1", "a", tags={"t": "a"}, **HISTORY)
    assert [p["offset"] for p in publications(again.take())] == [5]


class TestPresence:
    @pytest.mark.parametrize("shown", [{"presence": True}, {"join_leave": True}, {}])
    async def test_info_that_nobody_could_be_told_is_refused(self, node, wire, shown):
        @node.on_subscribe("binary:*")
        def binary(_):
            return flyball.SubscribeOptions(info=flyball.Raw(b"\x00"), **shown)

        reply = wire.one(subscribe={"channel": "binary:1"})
        assert reply.get("error", {}).get("code") == (100 if shown else None)
        assert set(node.hub.channels) == (set() if shown else {"binary:1"})

    async def test_join_leave_and_presence(self, node, wire):
        reply, join = wire.ask(subscribe={"channel": "pres:1"})
        assert reply == {"id": 1, "subscribe": {}}
        info = {"user": "u1", "client": wire.session.client_id, "conn_info": {"n": 1}}
        assert join == {"push": {"channel": "pres:1", "join": {"info": info}}}
        other = Wire(node)
        other.connect(token="u2")
        other.subscribe("pres:1")
        assert wire.take()[0]["push"]["join"]["info"]["user"] == "u2"
        presence = wire.one(presence={"channel": "pres:1"})["presence"]["presence"]
        assert presence[wire.session.client_id] == info
        stats = wire.one(presence_stats={"channel": "pres:1"})["presence_stats"]
        assert stats == {"num_clients": 2, "num_users": 2}
        other.session.connection_lost()
        assert wire.take()[0]["push"]["leave"]["info"]["user"] == "u2"
        wire.ask(unsubscribe={"channel": "pres:1"})
        assert wire.take() == [], "no leave of its own: it is gone already"
        assert not await node.presence("pres:1")

    async def test_presence_is_kept_alive(self, node, wire, clock):
        wire.subscribe("pres:1")
        for _ in range(50):
            clock.advance(5)
            if {} in wire.take():
                wire.raw("{}")
        assert wire.closed_by is None
        assert len(await node.presence("pres:1")) == 1

    async def test_presence_off_by_handler(self, node, wire):
        @node.on_presence("closed:*")
        def closed(event):
            raise flyball.PermissionDenied

        assert error(wire.one(presence={"channel": "closed:1"})) == 103


class TestHistoryCommand:
    @pytest.fixture(autouse=True)
    async def stream(self, node):
        for i in range(1, 6):
            await node.publish("rec:1", i, **HISTORY)

    def offsets(self, wire, **request):
        result = wire.one(history={"channel": "rec:1", **request})["history"]
        assert result["offset"] == 5
        return [p["offset"] for p in result["publications"]]

    async def test_ranges(self, node, wire):
        epoch = node.broker._streams["rec:1"].epoch
        assert self.offsets(wire) == []
        assert self.offsets(wire, limit=2) == [1, 2]
        assert self.offsets(wire, limit=-1) == [1, 2, 3, 4, 5]
        assert self.offsets(wire, limit=2, reverse=True) == [5, 4]
        assert self.offsets(wire, limit=2, since={"offset": 2, "epoch": epoch}) == [3, 4]
        since = {"offset": 4, "epoch": epoch}
        assert self.offsets(wire, limit=2, since=since, reverse=True) == [3, 2]

    async def test_errors(self, wire):
        since = {"offset": 1, "epoch": "wrong"}
        assert error(wire.one(history={"channel": "rec:1", "limit": 1, "since": since})) == 112
        since = {"offset": 0, "epoch": ""}
        request = {"channel": "rec:1", "limit": 1, "since": since, "reverse": True}
        assert error(wire.one(history=request)) == 107

    @pytest.mark.parametrize("options", [flyball.NodeOptions(history_max_publication_limit=3)])
    async def test_limit(self, wire):
        assert self.offsets(wire, limit=100) == [1, 2, 3]
        assert self.offsets(wire, limit=-1) == [1, 2, 3]

    async def test_untouched_channel(self, wire):
        result = wire.one(history={"channel": "rec:new"})["history"]
        assert (result["offset"], result["publications"]) == (0, [])
        assert len(result["epoch"]) == 8


class TestExpiry:
    @pytest.fixture
    def options(self):
        return flyball.NodeOptions(
            presence_update_interval=1, expired_sub_close_delay=1, ping_interval=0
        )

    @pytest.fixture
    def expiring(self, node, clock):
        @node.on_subscribe("exp:*")
        def expiring(event):
            return flyball.SubscribeOptions(expire_at=clock.time() + 10)

        @node.on_sub_refresh("exp:*")
        def refresh(event):
            if event.token == "expired":
                return flyball.RefreshResult(expired=True)
            if event.token == "over":
                return flyball.RefreshResult(expire_at=clock.time() - 1)
            if event.token == "far":
                return flyball.RefreshResult(expire_at=clock.time() + 10 * YEAR)
            return flyball.RefreshResult(expire_at=clock.time() + 30)

    async def test_client_side(self, wire, clock, expiring):
        assert wire.subscribe("exp:1") == {"expires": True, "ttl": 10}
        assert wire.one(sub_refresh={"channel": "exp:1", "token": "x"}) == {
            "id": 1,
            "sub_refresh": {"expires": True, "ttl": 30},
        }
        clock.advance(30)
        assert wire.take() == []
        clock.advance(3)
        assert wire.take() == [
            {
                "push": {
                    "channel": "exp:1",
                    "unsubscribe": {"code": 2501, "reason": "subscription expired"},
                }
            }
        ]

    async def test_a_refresh_is_for_a_year_at_most(self, wire, expiring):
        wire.subscribe("exp:1")
        answer = wire.one(sub_refresh={"channel": "exp:1", "token": "far"})
        assert answer["sub_refresh"] == {"expires": True, "ttl": YEAR}

    async def test_expired_token_in_sub_refresh_keeps_the_old_deadline(self, wire, clock, expiring):
        wire.subscribe("exp:1")
        assert error(wire.one(sub_refresh={"channel": "exp:1", "token": "expired"})) == 109
        assert error(wire.one(sub_refresh={"channel": "exp:1", "token": "over"})) == 110
        clock.advance(13)
        assert wire.take()[0]["push"]["unsubscribe"]["code"] == 2501

    async def test_errors(self, wire, expiring):
        wire.subscribe("exp:1")
        assert error(wire.one(sub_refresh={"channel": "exp:2", "token": "x"})) == 103
        assert error(wire.one(sub_refresh={"channel": "exp:1"})) == 107
        wire.ask(sub_refresh={"channel": ""})
        assert wire.closed_by == 3501

    async def test_expired_before_it_began(self, node, wire, clock):
        @node.on_subscribe("old:*")
        def old(event):
            return flyball.SubscribeOptions(expire_at=clock.time())

        assert error(wire.one(subscribe={"channel": "old:1"})) == 110
        assert not wire.session.subscriptions

    async def test_server_side_subscription(self, node, wire, clock):
        await node.subscribe_user(
            "u1", "any:1", flyball.SubscribeOptions(expire_at=clock.time() + 10)
        )
        clock.advance(15)
        assert wire.closed_by == 3006

    async def test_refresh_by_server(self, node, wire, clock):
        @node.on_subscribe("srv:*")
        def srv(event):
            return flyball.SubscribeOptions(expire_at=clock.time() + 10, client_side_refresh=False)

        asked = []

        @node.on_sub_refresh("srv:*")
        def refresh(event):
            asked.append(event.token)
            return flyball.RefreshResult(expired=len(asked) > 1, expire_at=clock.time() + 10)

        assert wire.subscribe("srv:1") == {}
        clock.advance(15)
        assert wire.take() == []
        clock.advance(15)
        assert wire.take()[0]["push"]["unsubscribe"]["code"] == 2501
        assert asked == ["", ""]


class TestServerSide:
    @pytest.fixture
    async def node(self, clock):
        node = flyball.Node(clock=clock)

        @node.on_connecting
        def connecting(event):
            names = event.token.split()
            return flyball.Credentials(
                user="u1",
                subs={n: flyball.SubscribeOptions(recoverable=n.startswith("r")) for n in names},
            )

        async with node:
            yield node

    async def test_at_connect(self, node):
        wire = Wire(node)
        subs = wire.connect(token="a r1 r2")["subs"]
        assert subs["a"] == {}
        assert subs["r1"]["recoverable"]
        await node.publish("r1", 1, **HISTORY)
        assert publications(wire.take())[0]["data"] == 1

    async def test_recovered_at_connect(self, node):
        wire = Wire(node)
        epoch = wire.connect(token="r1")["subs"]["r1"]["epoch"]
        wire.session.connection_lost()
        await node.publish("r1", "missed", **HISTORY)
        wish = {"recover": True, "offset": 0, "epoch": epoch}
        subs = Wire(node).connect(token="r1", subs={"r1": wish})["subs"]
        assert subs["r1"]["recovered"]
        assert subs["r1"]["publications"][0]["data"] == "missed"

    async def test_names_only_take_the_handlers_options(self, clock):
        node = flyball.Node(clock=clock)
        node.on_connecting(lambda _: flyball.Credentials(user="u", subs=["inbox:u"]))

        @node.on_subscribe("inbox:*")
        def inbox(event):
            assert event.server_side
            return flyball.SubscribeOptions(recoverable=True)

        async with node:
            assert Wire(node).connect()["subs"]["inbox:u"]["recoverable"]

    async def test_channel_limit(self, clock):
        node = flyball.Node(flyball.NodeOptions(channel_limit=1), clock=clock)
        options = flyball.SubscribeOptions()
        node.on_connecting(lambda _: flyball.Credentials(subs={"a": options, "b": options}))
        async with node:
            wire = Wire(node)
            wire.ask(connect={})
            assert wire.closed_by == 3505

    async def test_one_failure_fails_the_connect(self, node, clock):
        node._handlers.on_connecting.plain = lambda _: flyball.Credentials(
            subs={
                "a": flyball.SubscribeOptions(),
                "b": flyball.SubscribeOptions(expire_at=clock.time() - 1),
            }
        )
        wire = Wire(node)
        assert error(wire.one(connect={})) == 110
        assert not node.hub.channels
        assert not node.hub.sessions

    async def test_subscribe_and_unsubscribe_live(self, node):
        wire = Wire(node)
        wire.connect()
        options = flyball.SubscribeOptions(recoverable=True, data=flyball.Raw(b'{"d":1}'))
        await node.subscribe_user("u1", "r9", options)
        (message,) = wire.take()
        push = message["push"]
        assert push["channel"] == "r9"
        assert push["subscribe"]["data"] == {"d": 1}
        assert push["subscribe"]["recoverable"]
        await node.subscribe_user("u1", "r9", options)
        assert wire.take() == [message], "already subscribed: it is told again"
        ended = {"code": 2000, "reason": "server unsubscribe"}
        for _ in range(2):  # told also if there is no such subscription
            await node.unsubscribe_user("u1", "r9")
            assert wire.take() == [{"push": {"channel": "r9", "unsubscribe": ended}}]
            assert not node.hub.channels

    @pytest.mark.parametrize(
        ("options", "since", "epoch", "told"),
        [
            ({"recoverable": True}, 1, None, 1),
            ({"recoverable": True}, 3, None, 3),
            ({"recoverable": True}, 1, "", 1),
            ({"recoverable": True}, 1, "other", 3),
            ({"recoverable": True}, 0, None, 3),  # the first is gone
            ({"recoverable": True}, 9, None, 3),
            ({"positioned": True}, 1, None, 3),  # cannot recover from anywhere
        ],
    )
    async def test_recover_since_is_told_only(self, node, options, since, epoch, told):
        wire = Wire(node)
        wire.connect()
        for i in range(3):
            await node.publish("r1", i, history_size=2, history_ttl=60)
        epoch = node.broker._streams["r1"].epoch if epoch is None else epoch
        await node.subscribe_user(
            "u1",
            "r1",
            flyball.SubscribeOptions(**options),
            recover_since=flyball.StreamPosition(since, epoch),
        )
        (message,) = wire.take()
        assert message["push"]["subscribe"]["offset"] == told
        assert "publications" not in message["push"]["subscribe"]
        await node.publish("r1", "live", **HISTORY)
        assert [p["offset"] for p in publications(wire.take())] == [4]

    async def test_more_channels_than_allowed_end_the_connection(self, clock):
        node = flyball.Node(flyball.NodeOptions(channel_limit=1), clock=clock)
        node.on_connecting(lambda _: flyball.Credentials("u1"))
        async with node:
            wire = Wire(node)
            wire.connect()
            for _ in range(2):  # the same again is no more
                await node.subscribe_user("u1", "a")
                assert wire.take()[0]["push"]["channel"] == "a"
            await node.subscribe_user("u1", "b")
            assert wire.closed_by == 3505
            assert not node.hub.channels

    async def test_refresh_user(self, node, clock):
        wire = Wire(node)
        wire.connect(token="a")
        await node.refresh_user("u1", expire_at=clock.time() + 60, info=flyball.Raw(b'{"x":1}'))
        assert wire.take() == [{"push": {"refresh": {"expires": True, "ttl": 60}}}]
        assert wire.session.client_info.conn_info == flyball.Raw(b'{"x":1}')
        await node.refresh_user("u1")
        assert wire.take() == [{"push": {"refresh": {}}}]
        await node.refresh_user("u1", expired=True)
        assert wire.closed_by == 3005

    async def test_disconnect_user(self, node):
        wires = [Wire(node) for _ in range(3)]
        for wire in wires:
            wire.connect()
        await node.disconnect_user("u1", client=wires[0].session.client_id)
        assert [w.closed_by for w in wires] == [3503, None, None]
        await node.disconnect_user(
            "u1", code=4001, reason="x", whitelist=[wires[1].session.client_id]
        )
        assert [w.closed_by for w in wires] == [3503, None, 4001]


class TestPositions:
    @pytest.fixture
    def options(self):
        return flyball.NodeOptions(ping_interval=0)

    async def test_a_gap_ends_the_subscription(self, node, wire):
        wire.subscribe("rec:1")
        node.broker._streams["rec:1"].top += 1
        await node.publish("rec:1", 1, **HISTORY)
        await asyncio.sleep(0)
        assert wire.take() == [
            {
                "push": {
                    "channel": "rec:1",
                    "unsubscribe": {"code": 2500, "reason": "insufficient state"},
                }
            }
        ]

    async def test_another_epoch(self, node, wire):
        wire.subscribe("rec:1")
        node.broker.forget("rec:1")
        await node.publish("rec:1", 1, **HISTORY)
        await asyncio.sleep(0)
        assert wire.take()[0]["push"]["unsubscribe"]["code"] == 2500

    async def test_quiet_channels_are_checked(self, node, wire, clock):
        wire.subscribe("rec:1")
        node.broker._streams["rec:1"].top += 1  # a publication that never arrived
        clock.advance(100)
        assert wire.take()[0]["push"]["unsubscribe"]["code"] == 2500

    async def test_quiet_channels_that_are_right_stay(self, node, wire, clock):
        wire.subscribe("rec:1")
        clock.advance(500)
        assert wire.take() == []
        await node.publish("rec:1", 1, **HISTORY)
        assert publications(wire.take())[0]["offset"] == 1

    async def test_after_a_broken_link_positions_are_checked_at_once(self, node, wire, clock):
        wire.subscribe("rec:1")
        node.broker._streams["rec:1"].top += 1
        node._run.on_broker_restored()
        clock.advance(2)
        assert wire.take()[0]["push"]["unsubscribe"]["code"] == 2500

    async def test_server_side_loss_ends_the_connection(self, node, wire):
        await node.subscribe_user("u1", "r", flyball.SubscribeOptions(recoverable=True))
        node.broker.forget("r")
        await node.publish("r", 1, **HISTORY)
        await asyncio.sleep(0)
        assert wire.closed_by == 3010


async def test_binary_data_for_a_json_client(node, wire):
    wire.subscribe("plain:1")
    await node.publish("plain:1", b"\x00\x01")
    await asyncio.sleep(0)
    assert wire.closed_by == 3506


async def test_slow_reader(node, wire):
    wire.max_queue_size = 1000
    wire.subscribe("plain:1")
    wire.pause()
    for _ in range(100):
        await node.publish("plain:1", "x" * 100)
    assert wire.queued_bytes <= 1000
    wire.resume()
    await node.publish("plain:1", "after the hole")
    assert wire.take() == [], "nothing may follow what was lost"
    await asyncio.sleep(0)
    assert wire.closed_by == 3008
    assert not node.hub.channels


async def test_slow_reader_that_recovers(node, wire):
    wire.subscribe("plain:1")
    wire.pause()
    for i in range(3):
        await node.publish("plain:1", i)
    assert wire.take() == []
    wire.resume()
    assert len(wire.written) == 1, "all in one write"


async def test_program_as_subscriber(node):
    async with node.subscribe("rec:1") as reader:
        await node.publish("rec:1", 1, **HISTORY)
        assert bytes((await anext(reader)).data) == b"1"
    epoch = node.broker._streams["rec:1"].epoch
    await node.publish("rec:1", 2, **HISTORY)
    async with node.subscribe("rec:1", since=flyball.StreamPosition(1, epoch)) as reader:
        await node.publish("rec:1", 3, **HISTORY)
        assert [(await anext(reader)).offset for _ in range(2)] == [2, 3]
    assert not node.hub.channels
    with pytest.raises(flyball.Error) as caught:
        await node.subscribe("rec:1", since=flyball.StreamPosition(1, "gone")).open()
    assert caught.value.code == codes.UNRECOVERABLE_POSITION.code
    reader = node.subscribe("rec:1", max_waiting=2)
    await reader.open()
    for i in range(3):
        await node.publish("rec:1", i, **HISTORY)
    assert [(await anext(reader)).offset for _ in range(2)] == [4, 5]
    with pytest.raises(flyball.TooSlowError):
        await anext(reader)


async def test_channels_come_and_go(node, wire):
    heard = []
    node.on_channel_occupied(lambda e: heard.append(("+", e.channel)))
    node.on_channel_vacated(lambda e: heard.append(("-", e.channel)))
    wire.subscribe("plain:1")
    other = Wire(node)
    other.connect()
    other.subscribe("plain:1")
    assert await node.channels() == {"plain:1": 2}
    assert await node.channels("rec:*") == {}
    wire.session.connection_lost()
    other.ask(unsubscribe={"channel": "plain:1"})
    assert heard == [("+", "plain:1"), ("-", "plain:1")]


async def test_nothing_is_left_behind(node, clock):
    for _ in range(20):
        wire = Wire(node)
        wire.connect()
        for channel in ("plain:1", "rec:1", "pres:1", "cache:1"):
            wire.subscribe(channel)
        wire.session.connection_lost()
    hub = node.hub
    assert (hub.sessions, hub.users, hub.channels, hub.num_subscriptions) == ({}, {}, {}, 0)
    assert sum(node.metrics.subscriptions_inflight.values()) == 0
    assert set(node.metrics.connections_inflight.values()) == {0}
    assert not node.timers._slots
    assert not node.tasks


@pytest.mark.parametrize("how", ["connect", "subscribe"])
async def test_an_answer_that_the_client_cannot_be_sent_leaves_nothing_behind(how):
    node = flyball.Node()
    binary = flyball.SubscribeOptions(presence=True, data=flyball.Raw(b"\xff"))
    subs = {"a": binary} if how == "connect" else {}
    node.on_connecting(lambda event: flyball.Credentials(subs=subs))
    node.on_subscribe(lambda event: binary)
    async with node:
        wire = Wire(node)
        wire.say({"id": 1, "connect": {}})
        if how == "subscribe":
            wire.say({"id": 2, "subscribe": {"channel": "a"}})
        assert wire.closed_by == 3506
        assert not node.hub.channels
        assert await node.presence("a") == {}


async def test_a_position_that_is_lost_is_no_error_in_cache_mode():
    node = flyball.Node()
    node.on_connecting(lambda event: flyball.Credentials())
    cache = flyball.SubscribeOptions(
        recoverable=True, recovery_mode=flyball.RecoveryMode.CACHE, auto_cache_recover=True
    )
    plain = flyball.SubscribeOptions(
        recovery_mode=flyball.RecoveryMode.CACHE, auto_cache_recover=True
    )
    node.on_subscribe(lambda event: cache if event.channel == "cache" else plain)
    async with node:
        wire = Wire(node)
        wire.say({"id": 1, "connect": {}})
        lost = {"recover": True, "offset": 5, "epoch": "x", "flag": 2}
        (answer,) = wire.say({"id": 2, "subscribe": {"channel": "cache", **lost}})
        assert answer["subscribe"]["was_recovering"]
        assert "recovered" not in answer["subscribe"]
        (answer,) = wire.say({"id": 3, "subscribe": {"channel": "plain"}})
        assert answer["subscribe"] == {}


async def test_delta_subscribers_hear_of_no_version():
    node = flyball.Node()
    node.on_connecting(lambda event: flyball.Credentials())
    node.on_subscribe(
        lambda event: flyball.SubscribeOptions(
            recoverable=True, allowed_deltas=frozenset({"fossil"})
        )
    )
    kept = {"history_size": 5, "history_ttl": 60, "delta": True}
    async with node:
        first, second = Wire(node), Wire(node)
        for wire in (first, second):
            wire.say({"id": 1, "connect": {}})
        (answer,) = first.say({"id": 2, "subscribe": {"channel": "a", "delta": "fossil"}})
        for version in (3, 4):
            await node.publish("a", {"x": "y" * 50, "n": version}, version=version, **kept)
        live = [message["push"]["pub"] for message in first.take()]
        start = {"recover": True, "epoch": answer["subscribe"]["epoch"]}
        request = {"channel": "a", "delta": "fossil", **start}
        (again,) = second.say({"id": 2, "subscribe": request})
        for publication in (*live, *again["subscribe"]["publications"]):
            assert "version" not in publication
        assert [p.get("delta", False) for p in live] == [False, True]
