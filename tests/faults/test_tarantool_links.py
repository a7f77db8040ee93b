"""What the links of one Tarantool engine do when their server, or the way to it, is in trouble."""

import asyncio
import time

import asynctnt
import pytest
from contract_engines import Recorder
from fault_world import Toxic
from tarantoolserver import TarantoolServer
from waiting import until

from flyball.core.errors import ConfigError, EngineError, EngineRefusal
from flyball.core.types import ClientInfo, HistoryFilter, PublishOptions, StreamPosition, payload
from flyball.engines.tarantool import (
    Endpoint,
    ShardOptions,
    TarantoolEngine,
    TarantoolOptions,
    parse_address,
)
from flyball.engines.tarantool import link as link_module
from flyball.engines.tarantool import module as lua_module
from flyball.engines.tarantool.connection import Connection, LinkLostError
from flyball.engines.tarantool.setup import install_script, set_up

HASTE = {"io_timeout": 0.5, "connect_timeout": 0.5}
"""For tests of what takes too long."""
KEPT = PublishOptions(history_size=10, history_ttl=60)
USERS = """
box.schema.user.create('boss', {if_not_exists = true, password = 'secret'})
box.schema.user.grant('boss', 'super', nil, nil, {if_not_exists = true})
box.schema.user.create('node', {if_not_exists = true, password = 'word'})
"""


@pytest.fixture(scope="module")
def shared():
    """A server for tests that only add to it."""
    server = TarantoolServer()
    yield server
    server.stop()


@pytest.fixture
def tarantool():
    server = TarantoolServer()
    yield server
    server.stop()


@pytest.fixture
def guarded():
    """A server with a boss, and a user for nodes that may do nothing yet."""
    server = TarantoolServer(setup=USERS, guest=False)
    yield server
    server.stop()


@pytest.fixture
async def toxic(tarantool):
    found = await Toxic(tarantool.port).start()
    yield found
    await found.stop()


def engine_at(port, prefix="t", **options):
    options = {"io_timeout": 5, "connect_timeout": 5, **options}
    shard = ShardOptions(servers=(Endpoint(port=port),), **options)
    return TarantoolEngine(shard, options=TarantoolOptions(prefix=prefix))


@pytest.fixture
async def events():
    return Recorder()


async def started(port, events=None, **options):
    broker = engine_at(port, **options).broker
    await broker.start(events or Recorder())
    await broker.subscribe("ch")
    return broker


@pytest.fixture
async def broker(toxic, events):
    broker = await started(toxic.port, events)
    yield broker
    await broker.close()


async def publish(broker, *numbers, channel="ch", options=KEPT):
    for number in numbers:
        result = await broker.publish(channel, payload(str(number).encode()), options)
    return result


async def kept(broker, channel="ch"):
    history = await broker.history(channel, HistoryFilter())
    return [p.offset for p in history.publications], history.position


class TestConnecting:
    async def test_goes_on_after_what_nobody_expected(
        self, toxic, events, broker, monkeypatch, caplog
    ):
        greet, failures = link_module.greet, iter([ValueError("odd")] * 2)

        async def fails_twice(*args):
            for failure in failures:
                raise failure
            return await greet(*args)

        monkeypatch.setattr(link_module, "greet", fails_twice)
        toxic.cut()
        await until(lambda: events.restored == 1)
        assert not broker.problem
        assert caplog.text.count("ValueError: odd") == 2
        await publish(broker, 1)
        await until(lambda: events.data() == [b"1"])

    async def test_is_told_of_a_connection_that_was_lost_in_the_same_moment(
        self, tarantool, monkeypatch
    ):
        """asynctnt says that it is ready, though its transport is gone."""
        connection = Connection(Endpoint(port=tarantool.port), ShardOptions(), lambda *_: None)
        connect = asynctnt.Connection.connect

        async def lost_at_once(self):
            await connect(self)
            self.connection_lost(ConnectionResetError("gone"))

        monkeypatch.setattr(asynctnt.Connection, "connect", lost_at_once)
        with pytest.raises(LinkLostError, match="gone"):
            await connection.open()

    async def test_a_write_on_what_is_closed_is_a_lost_link(self, tarantool, monkeypatch):
        """uvloop raises a RuntimeError for it."""
        connection = Connection(Endpoint(port=tarantool.port), ShardOptions(), lambda *_: None)
        await connection.open()

        def closed(*_, **__):
            raise RuntimeError("the handler is closed")

        monkeypatch.setattr(Connection, "call", closed)
        with pytest.raises(LinkLostError, match="the handler is closed"):
            await connection.ask("hello")
        connection.abort("over")


class TestStreamsThatChange:
    async def test_is_not_taken_for_the_old_one(self, tarantool, toxic, events, broker):
        """Though its offsets go on where the old one's ended."""
        old = await publish(broker, 1, 2, 3)
        await until(lambda: len(events.data()) == 3)
        toxic.refuse = True
        toxic.cut()
        await until(lambda: broker.problem)
        # As a follower has it that got the first one only.
        tarantool.run("box.space.flyball_publications:delete({'t:channel:ch', 2})")
        tarantool.run("box.space.flyball_publications:delete({'t:channel:ch', 3})")
        tarantool.run("box.space.flyball_streams:update('t:channel:ch', {{'=', 'top', 1}})")
        other = await started(tarantool.port)
        assert (await publish(other, 20, 30)).epoch == old.epoch
        toxic.refuse = False
        await until(lambda: events.restored == 1)
        await publish(other, 40)
        await publish(broker, 50)
        _, position = await kept(broker)
        assert position.epoch != old.epoch
        await until(lambda: b"50" in events.data())
        fresh = [at.epoch for _, _, at, *_ in events.publications[3:]]
        assert set(fresh) == {position.epoch}
        await other.close()

    async def test_what_comes_meanwhile_is_not_lost(self, tarantool, toxic, events, broker):
        await publish(broker, 1)
        other = await started(tarantool.port)
        for _ in range(3):
            restored = events.restored
            toxic.cut()
            await until(lambda: events.lost)
            while events.restored == restored:
                await publish(other, 2)
                await asyncio.sleep(0)
            top = (await publish(other, 2)).offset
            await until(lambda top=top: events.publications[-1][1].offset == top)
        await other.close()

    async def test_one_that_went_back_under_an_open_link(self, shared, events):
        broker = await started(shared.port, events, prefix="back")
        old = await publish(broker, 1, 2, 3)
        await until(lambda: len(events.data()) == 3)
        shared.run("box.space.flyball_streams:update('back:channel:ch', {{'=', 'top', 1}})")
        await publish(broker, 20)
        await until(lambda: events.restored == 1)
        fresh = await publish(broker, 30)
        assert fresh.epoch != old.epoch
        await until(lambda: events.data() == [b"1", b"2", b"3", b"30"])
        assert events.lost == []
        await broker.close()

    async def test_an_epoch_is_renewed_once(self, shared):
        broker = await started(shared.port, prefix="renew")
        seen = await publish(broker, 1)
        ahead = StreamPosition(seen.offset + 5, seen.epoch)
        await broker.renew_epoch("ch", ahead)
        first = (await kept(broker))[1]
        await broker.renew_epoch("ch", ahead)
        assert (await kept(broker))[1] == first != (seen.offset, seen.epoch)
        await broker.renew_epoch("ch", StreamPosition(0, first.epoch))
        assert (await kept(broker))[1] == first
        await broker.close()

    async def test_a_write_that_was_taken_back_costs_the_epoch(self, tarantool, events):
        """Somebody may have read it before it was known that it would not last."""
        broker = await started(tarantool.port, events)
        first = await publish(broker, 1)
        tarantool.fill_disk()
        with pytest.raises(EngineError, match="Failed to write to disk"):
            await publish(broker, 2)
        tarantool.free_disk()
        again = await publish(broker, 3)
        assert again.offset == 2
        assert again.epoch != first.epoch
        assert (await publish(broker, 4)).epoch == again.epoch
        await until(lambda: events.data() == [b"1", b"3", b"4"])
        await broker.close()


async def test_synchronous_spaces(events):
    """A publish returns when a quorum has it; one that gets none costs the epoch."""
    quorum = {"replication_synchro_quorum": "2", "replication_synchro_timeout": "0.3"}
    leader = await asyncio.to_thread(TarantoolServer, quorum)
    source = f"'guest@127.0.0.1:{leader.port}'"
    follower = await asyncio.to_thread(
        TarantoolServer,
        {**quorum, "read_only": "true", "replication": source, "replication_timeout": "0.1"},
    )
    try:
        await set_up(parse_address(leader.url), synchronous=True)
        broker = await started(leader.port, events)
        first = await publish(broker, 1)
        count = "return box.space.flyball_publications:len()"
        assert "- 1" in await asyncio.to_thread(follower.run, count)
        await asyncio.to_thread(follower.pause)
        with pytest.raises(EngineError, match="uorum"):
            await publish(broker, 2)
        follower.resume()
        again = None
        while again is None:
            try:
                again = await publish(broker, 3)
            except EngineError:
                await asyncio.sleep(0)
        assert again.offset == 2
        assert again.epoch != first.epoch
        await until(lambda: events.data() == [b"1", b"3"])
        await broker.close()
    finally:
        follower.stop()
        leader.stop()


class TestServersThatFail:
    async def test_standing_still_gives_errors_in_time(self, tarantool, events):
        broker = await started(tarantool.port, events, **HASTE)
        tarantool.pause()
        try:
            begun = time.monotonic()
            with pytest.raises(EngineError, match="no answer within"):
                await publish(broker, 1)
            assert time.monotonic() - begun < 0.6
            with pytest.raises(EngineError):
                await broker.subscribe("other")
            await until(lambda: "no answer" in broker.problem)
        finally:
            tarantool.resume()
        await until(lambda: not broker.problem)
        await broker.subscribe("ch")
        await publish(broker, 1)
        await until(events.data)
        await broker.close()

    async def test_an_idle_link_finds_out_as_well(self, tarantool, events):
        broker = await started(tarantool.port, events, **HASTE)
        tarantool.pause()
        await until(lambda: events.lost)
        tarantool.resume()
        await until(lambda: events.restored)
        await broker.close()

    async def test_nobody_there_refuses_the_start(self, toxic):
        await toxic.stop()
        broker = engine_at(toxic.port).broker
        with pytest.raises(
            ConfigError, match=r"cannot use Tarantool at 127\.0\.0\.1:\d+: .*Connect call failed"
        ):
            await broker.start(Recorder())
        with pytest.raises(EngineError, match="not started"):
            await publish(broker, 1)
        await broker.close()

    async def test_one_that_says_nothing_refuses_the_start(self, tarantool):
        tarantool.pause()
        broker = engine_at(tarantool.port, **HASTE).broker
        with pytest.raises(ConfigError, match=r"no answer within 0\.5 s"):
            await broker.start(Recorder())
        tarantool.resume()

    async def test_read_only_refuses_the_start(self, shared, tarantool):
        broker = await started(tarantool.port)
        tarantool.run("box.cfg{read_only = true}")
        with pytest.raises(EngineError, match="read-only"):
            await publish(broker, 1)
        await until(lambda: "it is read-only" in broker.problem)
        with pytest.raises(ConfigError, match="it is read-only"):
            await engine_at(tarantool.port).broker.start(Recorder())
        await broker.close()

    async def test_one_shard_of_two(self, shared, tarantool):
        """Channels of the other one go on."""
        engine = TarantoolEngine(shared.url, f"{tarantool.url}?io_timeout=500ms")
        await engine.broker.start(Recorder())
        links = engine.servers.shards
        here, there = (
            next(c for n in range(99) if engine.servers.shard_of(c := f"c{n}") is link)
            for link in links
        )
        tarantool.kill()
        await until(engine.problems)
        await publish(engine.broker, 1, channel=here)
        with pytest.raises(EngineError):
            await publish(engine.broker, 1, channel=there)
        await asyncio.to_thread(tarantool.start)
        await until(lambda: not engine.problems())
        await publish(engine.broker, 1, channel=there)
        await engine.broker.close()


class TestWhoMayDoWhat:
    async def test_a_wrong_password(self, guarded):
        broker = engine_at(guarded.port, user="node", password="wrong").broker
        with pytest.raises(ConfigError, match="ncorrect password supplied for user 'node'"):
            await broker.start(Recorder())

    async def test_no_such_user(self, guarded):
        broker = engine_at(guarded.port, user="who", password="x").broker
        with pytest.raises(ConfigError, match="'who' is not found"):
            await broker.start(Recorder())

    async def test_without_the_module_the_message_says_what_to_do(self, guarded):
        for login in ({}, {"user": "node", "password": "word"}):
            broker = engine_at(guarded.port, **login).broker
            with pytest.raises(ConfigError, match="run `flyball tarantool install`"):
                await broker.start(Recorder())

    async def test_least_rights(self, guarded, events):
        address = f"tcp://boss:secret@127.0.0.1:{guarded.port}"
        await set_up(parse_address(address), user="node")
        await set_up(parse_address(address), user="node")
        broker = await started(guarded.port, events, user="node", password="word")
        await publish(broker, 1)
        await until(events.data)
        with pytest.raises(ConfigError, match="as 'guest', this node may not"):
            await engine_at(guarded.port).broker.start(Recorder())
        await broker.close()

    async def test_a_script_for_a_console(self, guarded, events):
        guarded.run(install_script(user="node"))
        broker = await started(guarded.port, events, user="node", password="word")
        await publish(broker, 1)
        await until(events.data)
        await broker.close()

    async def test_nobody_to_install_at(self, tarantool):
        tarantool.run("box.cfg{read_only = true}")
        with pytest.raises(ConfigError, match=r"not installed: .*: it is read-only"):
            await set_up(parse_address(tarantool.url))


class TestVersionsOfTheModule:
    async def test_an_older_one_is_replaced(self, tarantool, events):
        broker = await started(tarantool.port, events)
        epoch = (await publish(broker, 1)).epoch
        tarantool.run("box.space.flyball_module:update(1, {{'=', 'version', 0}})")
        await until(lambda: events.lost)
        await until(lambda: events.restored)
        assert "[1," in tarantool.run("return box.space.flyball_module:get(1)")
        assert (await publish(broker, 2)).epoch == epoch
        await until(lambda: events.data() == [b"1", b"2"])
        await broker.close()

    async def test_an_older_one_that_may_not_be_replaced(self, guarded):
        address = f"tcp://boss:secret@127.0.0.1:{guarded.port}"
        await set_up(parse_address(address), user="node")
        guarded.run("box.space.flyball_module:update(1, {{'=', 'version', 0}})")
        broker = engine_at(guarded.port, user="node", password="word").broker
        with pytest.raises(ConfigError, match="version 0, this is for 1: run `flyball"):
            await broker.start(Recorder())

    async def test_a_newer_one_stays(self, tarantool, events, monkeypatch):
        await (await started(tarantool.port)).close()
        tarantool.run("box.space.flyball_module:update(1, {{'=', 'version', 9}})")
        broker = await started(tarantool.port, events)
        await publish(broker, 1)
        await broker.close()
        assert "[1, 9," in tarantool.run("return box.space.flyball_module:get(1)")
        tarantool.run("box.space.flyball_module:update(1, {{'=', 'oldest', 2}})")
        with pytest.raises(ConfigError, match="update Flyball"):
            await engine_at(tarantool.port).broker.start(Recorder())
        await set_up(parse_address(tarantool.url))
        assert "[1, 9," in tarantool.run("return box.space.flyball_module:get(1)")

    async def test_nodes_that_start_at_the_same_time(self, tarantool):
        brokers = [engine_at(tarantool.port).broker for _ in range(20)]
        await asyncio.gather(*(broker.start(Recorder()) for broker in brokers))
        results = await asyncio.gather(*(publish(broker, 1) for broker in brokers))
        assert sorted(r.offset for r in results) == [*range(1, 21)]
        assert len({r.epoch for r in results}) == 1
        for broker in brokers:
            await broker.close()


class TestLimits:
    async def test_a_publication_that_is_too_large(self, shared, events):
        broker = await started(shared.port, events, prefix="large")
        await publish(broker, 1)
        with pytest.raises(EngineRefusal, match="memtx_max_tuple_size"):
            await broker.publish("ch", payload(b"x" * 2_000_000), KEPT)
        assert await kept(broker) == ([1], StreamPosition(1, events.publications[0][2].epoch))
        await broker.publish("ch", payload(b"x" * 2_000_000), PublishOptions())
        await until(lambda: len(events.publications) == 2)
        await broker.close()

    async def test_memory_is_full(self, tarantool, events):
        broker = await started(tarantool.port, events)
        data = payload(b"x" * 400_000)
        number = 0
        failed = None
        while failed is None and number < 1000:
            number += 1
            key = PublishOptions(history_size=1000, history_ttl=60, idempotency_key=str(number))
            try:
                await broker.publish("ch", data, key)
            except EngineError as error:
                failed = error
        assert "Failed to allocate" in str(failed)
        offsets, position = await kept(broker)
        assert position.offset == len(offsets) == number - 1
        await broker.remove_history("ch")
        # Nothing of the one that failed is left: its key is free.
        result = await broker.publish("ch", payload(b"1"), key)
        assert (result.offset, result.suppressed) == (number, "")
        await broker.close()

    async def test_who_does_not_fetch_begins_anew(self, tarantool, toxic, events):
        """A node that stands still costs the server a bounded part of its memory."""
        slow = await started(toxic.port, events, io_timeout=30)
        fast = await started(tarantool.port)
        toxic.blocked.clear()
        for _ in range(70):
            await fast.publish("ch", payload(b"x" * 1_000_000), PublishOptions())
        await until(lambda: "sessions: 1\n" in status(tarantool))
        toxic.blocked.set()
        await until(lambda: events.lost)
        assert "given up" in events.lost[0]
        await until(lambda: events.restored)
        await publish(fast, 1)
        await until(lambda: events.data()[-1:] == [b"1"])
        await slow.close()
        await fast.close()

    async def test_a_backlog_comes_in_parts(self, tarantool, toxic, events):
        broker = await started(toxic.port, events, io_timeout=30)
        other = await started(tarantool.port)
        toxic.blocked.clear()
        await asyncio.gather(*(publish(other, n, options=PublishOptions()) for n in range(3000)))
        for _ in range(12):
            await other.publish("ch", payload(b"x" * 900_000), PublishOptions())
        toxic.blocked.set()
        await until(lambda: len(events.publications) == 3012)
        assert events.data()[:3000] == [str(n).encode() for n in range(3000)]
        assert events.lost == []
        await broker.close()
        await other.close()

    async def test_order_of_many_at_once(self, shared, events):
        brokers = [await started(shared.port, prefix="order") for _ in range(4)]
        watcher = await started(shared.port, events, prefix="order")
        few = PublishOptions(history_size=5, history_ttl=60, delta=True)
        for _ in range(5):
            await asyncio.gather(
                *(publish(broker, n, options=few) for n in range(100) for broker in brokers)
            )
        await until(lambda: len(events.publications) == 2000)
        assert [p.offset for _, p, *_ in events.publications] == [*range(1, 2001)]
        previous = [p for *_, p in events.publications[1:]]
        assert [p.offset for p in previous] == [*range(1, 2000)]
        assert [bytes(p.data) for p in previous] == events.data()[:-1]
        for broker in (*brokers, watcher):
            await broker.close()

    async def test_a_storm_of_nodes(self, tarantool, toxic):
        seen = [Recorder() for _ in range(50)]
        brokers = [await started(toxic.port, events) for events in seen]
        for broker in brokers:
            await asyncio.gather(*(broker.subscribe(f"c{n}") for n in range(100)))
        toxic.cut()
        await until(lambda: all(events.restored for events in seen))
        await publish(brokers[0], 7)
        await until(lambda: all(events.data() == [b"7"] for events in seen))
        assert "sessions: 50" in status(tarantool)
        for broker in brokers:
            await broker.close()


class TestWhatIsOver:
    async def test_goes(self, shared):
        """Publications, positions, results and presence: nobody has to ask for them."""
        engine = TarantoolEngine(
            shared.url, options=TarantoolOptions(prefix="over", presence_ttl=0.2)
        )
        broker, presence = engine.broker, engine.presence_manager
        await broker.start(Recorder())
        await presence.start()
        short = PublishOptions(
            history_size=2000,
            history_ttl=0.2,
            history_meta_ttl=0.5,
            idempotency_key="k",
            idempotency_ttl=0.2,
        )
        for number in range(3):
            await publish(broker, number, channel=f"ch{number}", options=short)
        many = PublishOptions(history_size=2000, history_ttl=0.3, history_meta_ttl=0.6)
        await asyncio.gather(*(publish(broker, n, options=many) for n in range(1200)))
        await presence.add_presence("ch", "c", ClientInfo("u", "c"))
        assert left(shared, "over:") > 0
        await until(lambda: left(shared, "over:") == 0)
        await broker.close()
        await presence.close()

    async def test_a_smaller_size_cuts_at_once(self, shared):
        broker = await started(shared.port, prefix="cut")
        many = PublishOptions(history_size=1000, history_ttl=60)
        await asyncio.gather(*(publish(broker, n, options=many) for n in range(700)))
        few = PublishOptions(history_size=2, history_ttl=60)
        await publish(broker, 1, options=few)
        assert (await kept(broker))[0] == [700, 701]
        await until(lambda: left(shared, "cut:") == 3)  # with its stream
        await broker.remove_history("ch")
        await publish(broker, 1, options=few)
        assert (await kept(broker))[0] == [702]
        await broker.close()


def status(server):
    """What the module says of itself."""
    return server.run("return box.func.flyball:call({'status'})")


def left(server, prefix):
    """Rows below a prefix."""
    code = f"""
    local n = 0
    for _, name in ipairs({{'streams', 'publications', 'results', 'presence'}}) do
        for _, row in box.space['flyball_' .. name]:pairs({{'{prefix}'}}, {{iterator = 'GE'}}) do
            if row[1]:sub(1, {len(prefix)}) == '{prefix}' then n = n + 1 end
        end
    end
    return n
    """
    return int(server.run(code).split()[-1])


class TestThisNode:
    async def test_a_message_that_it_cannot_handle_costs_the_link(self, shared, caplog):
        class Broken(Recorder):
            def on_publication(self, channel, publication, *args, **more):
                if bytes(publication.data) == b"1" and not self.lost:
                    raise RuntimeError("a bug")
                super().on_publication(channel, publication, *args, **more)

        events = Broken()
        broker = await started(shared.port, events, prefix="bug")
        await publish(broker, 1)
        await until(lambda: events.restored)
        assert "a message was not handled: a bug" in events.lost[0]
        assert "RuntimeError" in caplog.text
        await publish(broker, 1)
        await until(events.data)
        await broker.close()

    async def test_a_subscription_that_fails_is_none(self, tarantool, toxic, events):
        broker = await started(toxic.port, events, **HASTE)
        engine = engine_at(toxic.port, **HASTE)
        await engine.presence_manager.start()
        toxic.blocked.clear()
        with pytest.raises(EngineError):
            await asyncio.gather(broker.subscribe("other"), engine.controller.start(events, "n"))
        await until(lambda: events.lost)
        with pytest.raises(EngineError):
            await engine.controller.start(events, "n")
        toxic.blocked.set()
        await until(lambda: events.restored)
        assert len(broker._servers.shards[0]._names) == 1
        await broker.unsubscribe("ch")
        await until(lambda: "sessions: 2" in status(tarantool))
        await engine.controller.start(events, "n")
        await engine.controller.publish_control(b"x", "n")
        await until(lambda: events.control == [b"x"])
        await engine.controller.close()
        assert not engine.servers.shards[0]._names
        await engine.presence_manager.close()
        with pytest.raises(EngineError, match="not started"):
            await engine.controller.publish_control(b"x")
        await broker.close()

    async def test_presence_that_others_wrote(self, shared):
        presence = engine_at(shared.port, prefix="pres").presence_manager
        await presence.start()
        await presence.add_presence("ch", "c", ClientInfo("u", "c"))
        change = "{{'=', 'info', '\\255'}}"
        shared.run(f"box.space.flyball_presence:update({{'pres:channel:ch', 'c'}}, {change})")
        with pytest.raises(EngineError, match="presence of 'ch': no client info"):
            await presence.presence("ch")
        await presence.close()


class TestForeignThings:
    async def test_errors_and_no_traceback(self, shared, events, caplog):
        broker = await started(shared.port, events, prefix="foreign")
        await publish(broker, 1)
        name = "foreign:channel:ch"
        change = "{{'=', 'rest', '\\255'}}"
        shared.run(f"box.space.flyball_publications:update({{'{name}', 1}}, {change})")
        with pytest.raises(EngineError, match="history of 'ch': no publication"):
            await kept(broker)
        strange = [(0, "x"), (0, "x", "\xff", 1), (0, "x", "", "y"), (0, "x", "", 1, 2)]
        strange += [(2, "\xff"), (9, "x")]
        for message in strange:
            await broker._call("spread", "ch", *message)
        await publish(broker, 2)
        await until(lambda: events.data() == [b"1", b"2"])
        assert caplog.text.count("is not understood") == len(strange)
        assert not [r for r in caplog.records if r.exc_info]
        with pytest.raises(EngineError, match="no function nonsense"):
            await broker._call("nonsense", "ch")
        await broker.close()

    async def test_names_of_any_kind(self, shared, events):
        broker = await started(shared.port, events, prefix="prä")
        presence = engine_at(shared.port, prefix="prä").presence_manager
        await presence.start()
        for channel in ("ünï", "a b\\n", "x:y:z", "\\0", "🎈", ""):
            await broker.subscribe(channel)
            result = await publish(broker, channel, channel=channel)
            assert result.offset == 1
            await until(lambda channel=channel: events.data(channel) == [channel.encode()])
            await presence.add_presence(channel, "clïent", ClientInfo("üser", "clïent"))
            assert (await presence.presence(channel))["clïent"].user == "üser"
        await broker.close()
        await presence.close()

    async def test_largest_numbers(self, shared):
        broker = await started(shared.port, prefix="numbers")
        top = 2**64 - 1
        options = PublishOptions(history_size=2**40, history_ttl=1e12, version=top)
        result = await publish(broker, 1, options=options)
        assert (await publish(broker, 1, options=options)).suppressed == "version"
        query = HistoryFilter(limit=2**62, since=StreamPosition(top, result.epoch))
        assert (await broker.history("ch", query)).publications == []
        query = HistoryFilter(limit=2**62, since=StreamPosition(top, result.epoch), reverse=True)
        (last,) = (await broker.history("ch", query)).publications
        assert last.version == top
        await broker.close()

    async def test_a_prefix_is_not_the_start_of_another(self, shared, events):
        broker = await started(shared.port, events, prefix="a")
        other = engine_at(shared.port, prefix="a.b").broker
        await other.start(Recorder())
        await publish(other, 1)
        await publish(broker, 2)
        await until(lambda: events.data() == [b"2"])
        await broker.close()
        await other.close()


async def test_by_unix_socket(shared, events, tmp_path):
    path = tmp_path / "t.sock"
    shared.run(f"box.cfg{{listen = '{path}'}}")
    try:
        broker = TarantoolEngine(f"unix://{path}").broker
        await broker.start(events)
        await broker.subscribe("ch")
        await publish(broker, 1)
        await until(events.data)
        await broker.close()
        with pytest.raises(ConfigError, match="unix:///nowhere"):
            await TarantoolEngine("unix:///nowhere").broker.start(events)
    finally:
        shared.run(f"box.cfg{{listen = '127.0.0.1:{shared.port}'}}")


def test_the_version_is_that_of_the_module():
    assert lua_module.OLDEST <= lua_module.VERSION
