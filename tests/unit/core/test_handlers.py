"""Handlers: how they are registered and found, and what their answers do."""

import pytest
from core_harness import Wire, error

import flyball
from flyball.core.handlers import Handlers, HandlerSlot, PatternHandlers
from flyball.core.metrics import Histogram


def first(event):
    return None


def second(event):
    return None


class TestRegistration:
    def test_one_for_everything(self):
        slot = HandlerSlot("connected")
        assert not slot.registered
        assert slot.find() is None
        assert slot(first) is first
        assert slot.registered
        assert slot.find() is first
        with pytest.raises(flyball.ConfigError, match=r"on_connected has a handler already$"):
            slot(second)

    def test_with_and_without_brackets(self):
        assert HandlerSlot("connected")()(first) is first
        assert PatternHandlers("subscribe")()(first) is first

    def test_a_pattern_where_none_is_taken(self):
        with pytest.raises(flyball.ConfigError, match=r"on_connected takes a function, not 'x'"):
            HandlerSlot("connected")("x")

    def test_patterns_come_before_the_plain_one(self):
        handlers = PatternHandlers("subscribe")
        handlers("chat:*")(first)
        assert handlers.registered
        assert handlers.find("chat:1") is first
        assert handlers.find("news") is None
        handlers(second)
        assert handlers.find("chat:1") is first
        assert handlers.find("news") is second

    def test_twice_the_same(self):
        handlers = PatternHandlers("subscribe")
        handlers("a")(first)
        with pytest.raises(flyball.ConfigError, match=r"on_subscribe\('a'\) has a handler already"):
            handlers("a")(second)
        handlers(first)
        with pytest.raises(flyball.ConfigError, match="already; give this one a pattern"):
            handlers(second)

    def test_every_kind_is_on_the_node(self):
        node = flyball.Node()
        for kind in set(Handlers.__slots__) - {"failures", "payload_faults"}:
            slot = getattr(node._handlers, kind)
            assert kind == f"on_{slot.kind}"
            assert getattr(node, kind)(first) is first
            assert slot.find() is first
            with pytest.raises(flyball.ConfigError, match=f"{kind} has a handler already"):
                getattr(node, kind)()(first)


class TestAnswers:
    @pytest.fixture
    async def bare(self, clock):
        options = flyball.NodeOptions(ping_interval=0)
        async with flyball.Node(options, clock=clock, clients=False) as node:
            yield node

    async def test_nobody_connects_without_a_handler(self, bare):
        wire = Wire(bare)
        wire.ask(connect={})
        assert wire.closed_by == 3501

    async def test_what_connecting_must_return(self, bare, caplog):
        bare.on_connecting(lambda event: "ann")
        wire = Wire(bare)
        wire.ask(connect={})
        assert wire.closed_by == 3004
        assert "must return Credentials, not 'ann'" in caplog.text

    async def test_nothing_is_granted_by_silence(self, bare, caplog):
        """A handler that falls off its end refuses, and the log names it."""
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        wire = Wire(bare)
        wire.connect()
        for command, wanted, request in (
            ("subscribe", "SubscribeOptions", {"channel": "x"}),
            ("publish", "PublishOptions or a PublishResult", {"channel": "x", "data": 1}),
            ("presence", "True or False", {"channel": "x"}),
            ("history", "True, False or a HistoryFilter", {"channel": "x"}),
        ):
            caplog.clear()
            getattr(bare, f"on_{command}")(first)
            assert error(wire.one(**{command: request})) == 100
            told = (
                f"the on_{command} handler test_handlers.first must return {wanted}, not None: "
                "nothing is granted by silence"
            )
            assert told in caplog.text
        assert not wire.session.subscriptions

    async def test_a_callable_without_a_name_is_shown(self, bare, caplog):
        class Handler:
            def __call__(self, event):
                return None

            def __repr__(self):
                return "<my handler>"

        bare.on_connecting(Handler())
        wire = Wire(bare)
        wire.ask(connect={})
        assert wire.closed_by == 3004
        assert "the on_connecting handler <my handler> must return Credentials" in caplog.text

    async def test_one_traceback_in_a_second_for_each_handler_that_fails(self, bare, clock, caplog):
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        bare.on_rpc("a")(lambda event: 1 / 0)
        bare.on_rpc("b")(lambda event: {}["b"])
        bare.on_subscribe("c")(first)
        bare.on_subscribe("d")(second)
        wire = Wire(bare)
        wire.ask(connect={})
        for _ in range(50):
            for name in "ab":
                assert error(wire.one(rpc={"method": name, "data": {}})) == 100
            for name in "cd":
                assert error(wire.one(subscribe={"channel": name})) == 100
        shown = [record for record in caplog.records if record.exc_info]
        assert len(shown) == 4
        wire.session.connection_lost()
        clock.advance(2.1)
        told = [record.getMessage() for record in caplog.records if not record.exc_info]
        assert len(told) == 4
        assert all(text.startswith("49 more left out: ") for text in told)
        assert told[2].endswith("WrongResult in test_handlers.first")

    async def test_one_line_in_a_second_for_what_is_only_told(self, bare, clock, caplog):
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        bare.on_connected(lambda event: 1 / 0)
        for _ in range(20):
            Wire(bare).ask(connect={})
        clock.advance(2.1)
        told = [record.getMessage() for record in caplog.records if record.name == "flyball.core"]
        assert told[0] == "the on_connected handler failed"
        assert told[1].startswith("19 more left out: the on_connected handler test_handlers.")
        assert len(told) == 2

    async def test_yes_and_no(self, bare):
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        bare.on_presence("yes")(lambda event: True)
        bare.on_history("yes")(lambda event: True)
        bare.on_history("some")(lambda event: flyball.HistoryFilter(limit=0))
        bare.on_presence(lambda event: False)
        bare.on_history(lambda event: False)
        wire = Wire(bare)
        wire.connect()
        for command in ("presence", "presence_stats", "history"):
            assert command in wire.one(**{command: {"channel": "yes"}})
            assert error(wire.one(**{command: {"channel": "no"}})) == 103
        await bare.publish("some", 1, history_size=1, history_ttl=9)
        reply = wire.one(history={"channel": "some", "limit": -1})["history"]
        assert (reply["offset"], reply["publications"]) == (1, [])

    @pytest.mark.parametrize("answer", [None, RuntimeError("the database is down")])
    async def test_a_refresh_that_fails_prolongs_nothing(self, bare, clock, caplog, answer):
        def refresh(event):
            if answer is not None:
                raise answer

        hour = clock.time() + 3600
        bare.on_connecting(
            lambda event: flyball.Credentials("ann", expire_at=hour, client_side_refresh=False)
        )
        bare.on_refresh(refresh)
        wire = Wire(bare)
        wire.connect()
        clock.advance(3700)
        assert wire.closed_by == 3005
        assert ("must return a RefreshResult" if answer is None else str(answer)) in caplog.text

    @pytest.mark.parametrize("answer", [None, RuntimeError("the database is down")])
    async def test_a_sub_refresh_that_fails_prolongs_nothing(self, bare, clock, caplog, answer):
        def refresh(event):
            if answer is not None:
                raise answer

        hour = clock.time() + 3600
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        bare.on_subscribe(
            lambda event: flyball.SubscribeOptions(
                presence=True, expire_at=hour, client_side_refresh=False
            )
        )
        bare.on_sub_refresh(refresh)
        wire = Wire(bare)
        wire.connect()
        wire.subscribe("x")
        while wire.session.subscriptions:
            clock.advance(20)
            assert clock.time() < hour + 100
        assert ("must return a RefreshResult" if answer is None else str(answer)) in caplog.text

    async def test_a_sub_refresh_may_end_the_connection(self, bare, clock):
        def refresh(event):
            raise flyball.Disconnect(4500, "banned")

        hour = clock.time() + 3600
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        options = {"presence": True, "expire_at": hour, "client_side_refresh": False}
        bare.on_subscribe(lambda event: flyball.SubscribeOptions(**options))
        bare.on_sub_refresh(refresh)
        wire = Wire(bare)
        wire.connect()
        wire.subscribe("x")
        while wire.closed_by is None:
            clock.advance(20)
        assert wire.closed_by == 4500

    async def test_what_nobody_handles(self, bare):
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        wire = Wire(bare)
        wire.connect()
        for request in (
            {"subscribe": {"channel": "x"}},
            {"publish": {"channel": "x", "data": 1}},
            {"presence": {"channel": "x"}},
            {"history": {"channel": "x"}},
            {"rpc": {"method": "x"}},
        ):
            assert error(wire.one(**request)) == 108, request
        wire.ask(refresh={"token": "t"})
        assert wire.closed_by == 3508

    async def test_a_message_to_nobody(self, bare):
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        wire = Wire(bare)
        wire.connect()
        wire.raw('{"send":{"data":1}}')
        assert wire.closed_by == 3508

    async def test_messages(self, bare):
        heard = []
        bare.on_connecting(lambda event: flyball.Credentials("ann"))

        @bare.on_message
        def message(event):
            heard.append(event.json())
            if event.data == b"2":
                raise flyball.Error(400)

        wire = Wire(bare)
        wire.connect()
        assert wire.raw('{"send":{"data":1}}\n{"send":{"data":2}}') == []
        assert heard == [1, 2]

    async def test_a_handler_that_publishes_itself(self, bare):
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        bare.on_subscribe(lambda event: flyball.SubscribeOptions())

        @bare.on_publish
        @flyball.eager
        async def publish(event):
            assert (event.user, event.client_id) == ("ann", wire.session.client_id)
            return await bare.publish(event.channel, {"checked": event.json()})

        wire = Wire(bare)
        wire.connect()
        wire.subscribe("x")
        push, reply = wire.ask(publish={"channel": "x", "data": 1})
        assert push["push"]["pub"]["data"] == {"checked": 1}
        assert reply == {"id": 1, "publish": {}}

    async def test_an_answer_that_the_protocol_cannot_carry(self, bare):
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        bare.on_rpc(lambda event: b"\xff")
        wire = Wire(bare)
        wire.connect()
        wire.ask(rpc={"method": "x"})
        assert wire.closed_by == 3506

    async def test_payloads_that_are_no_json(self, bare):
        bare.on_connecting(lambda event: flyball.Credentials("ann"))
        seen = []

        @bare.on_rpc
        def rpc(event):
            seen.append(event)
            return event.json()

        wire = Wire(bare)
        wire.connect()
        assert wire.one(rpc={"method": "x"}) == {"id": 1, "rpc": {}}
        binary = flyball.Rpc(seen[0].connection, "x", flyball.Raw(b"\xff"))
        with pytest.raises(flyball.Error, match="the payload is no JSON"):
            binary.json()


async def test_publishing_nowhere(node):
    with pytest.raises(flyball.ConfigError, match="publish needs a channel"):
        await node.publish("", 1)


async def test_ready_options_and_repeats(node):
    options = flyball.PublishOptions(history_size=1, history_ttl=9, idempotency_key="k")
    first, second = [await node.publish("x", 1, options) for _ in range(2)]
    assert (first.suppressed, second.suppressed) == ("", "idempotency")
    assert node.metrics.publish_suppressed == {"idempotency": 1}


def test_pings_must_leave_time_for_pongs():
    with pytest.raises(flyball.ConfigError, match="must be longer than pong_timeout"):
        flyball.NodeOptions(ping_interval=5, pong_timeout=8)


def test_histograms_count():
    histogram = Histogram()
    histogram.observe(0.1)
    histogram.observe(99)
    assert (histogram.count, histogram.total) == (2, 99.1)
