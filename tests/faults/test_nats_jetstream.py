"""What JetStream keeps, how, and what is done when it is not what it was."""

import asyncio
import contextlib
import json
import shutil
from functools import partial

import msgspec
import pytest
from contract_engines import Recorder
from natsserver import NatsCluster, NatsServer
from waiting import until

from flyball.core.errors import ConfigError, EngineError, EngineRefusal
from flyball.core.types import ClientInfo, HistoryFilter, PublishOptions, StreamPosition, payload
from flyball.engines.nats import (
    JetStreamOptions,
    NatsEngine,
    NatsOptions,
    Server,
    ServerOptions,
)
from flyball.engines.nats.jetstream import entries
from flyball.engines.nats.jetstream.api import JetStream, WrongLastError
from flyball.engines.nats.jetstream.store import READ_TRIES
from flyball.engines.nats.jetstream.wishes import MOST_TOGETHER

KEPT = PublishOptions(history_size=10, history_ttl=60)
MANY = PublishOptions(history_size=100_000, history_ttl=60)
HISTORY, SUBJECT = "centrifugo_history", b"centrifugo.js.history.ch"


@pytest.fixture
def nats():
    server = NatsServer(jetstream=True, kind="wheel")
    yield server
    server.stop()


def engine_at(*ports, allow_wildcards=False, **jetstream):
    servers = ServerOptions(
        servers=tuple(Server("127.0.0.1", port) for port in ports),
        write_timeout=2.0,
        request_timeout=2.0,
    )
    kept = JetStreamOptions(**jetstream)
    options = NatsOptions(jetstream=kept, allow_wildcards=allow_wildcards)
    return NatsEngine(servers, options=options)


@pytest.fixture
async def events():
    return Recorder()


@pytest.fixture
async def engine(nats, events):
    engine = engine_at(nats.port)
    await engine.broker.start(events)
    await engine.broker.subscribe("ch")
    yield engine
    await engine.broker.close()


@pytest.fixture
def broker(engine):
    return engine.broker


async def publish(broker, *values, options=KEPT, channel="ch"):
    result = None
    for value in values:
        result = await broker.publish(channel, payload(str(value).encode()), options)
    return result


async def offsets(broker, **query):
    return [p.offset for p in (await broker.history("ch", HistoryFilter(**query))).publications]


async def stored(engine, subject=SUBJECT, stream=HISTORY):
    """All messages of a subject."""
    api, found, place = JetStream(engine.link, (), leader=False), [], 1
    while batch := await api.following(stream, subject, place):
        found += batch
        place = batch[-1].sequence + 1
    return found


async def ask(engine, what, request=None):
    answer = await engine.link.request(
        f"$JS.API.{what}".encode(), json.dumps(request or {}).encode()
    )
    return json.loads(answer[1])


class TestLayout:
    async def test_history(self, engine, broker):
        options = msgspec.structs.replace(KEPT, version=4, version_epoch="ve", delta=True)
        await publish(broker, "[1]", options=options)
        await publish(broker, "[2]", options=msgspec.structs.replace(options, version=5))
        first, second = [entries.read_entry(m.data) for m in await stored(engine)]
        assert first.epoch == second.epoch
        assert (first.top, second.top) == (1, 2)
        assert first.publications[0].startswith(b"\x22\x03[1]")
        assert (second.version, second.version_epoch, second.size) == (5, "ve", 10)
        assert second.previous == first.publications[0]
        assert second.jumps[0].top == 1
        assert 0 < second.expires - broker.store.now() <= 60_000
        config = (await ask(engine, f"STREAM.INFO.{HISTORY}"))["config"]
        assert config["subjects"] == ["centrifugo.js.history.>"]
        assert config["republish"]["dest"] == "centrifugo.client.>"
        assert config["discard"] == "new"

    async def test_presence(self, engine):
        presence = engine.presence_manager
        await presence.start()
        await presence.add_presence("a.b c", "c1", ClientInfo("u", "c1"))
        await presence.add_presence("a.b c", "*", ClientInfo("u", "*"))
        await presence.add_presence("x" * 500, "c2", ClientInfo("u", "c2"))
        assert set(await presence.presence("a.b c")) == {"c1", "*"}
        assert set(await presence.presence("x" * 500)) == {"c2"}
        await presence.remove_presence("a.b c", "*", "u")
        assert set(await presence.presence("a.b c")) == {"c1"}
        # What is removed is forgotten by the server soon.
        subject = b"centrifugo.js.presence.~=YS5iIGM=.*"

        def left():
            return stored(engine, subject, "centrifugo_presence")

        while len(await left()) > 1:
            await asyncio.sleep(0.05)
        await presence.close()

    async def test_many_in_presence(self, engine):
        presence = engine.presence_manager
        await presence.start()
        names = [f"c{n}" for n in range(1500)]
        await asyncio.gather(
            *(presence.add_presence("ch", name, ClientInfo("u", name)) for name in names)
        )
        assert set(await presence.presence("ch")) == set(names)
        await engine.link.publish(b"centrifugo.js.presence.ch.x", b"\xff")
        with pytest.raises(EngineError, match="no presence entry"):
            await presence.presence("ch")
        await presence.close()


class TestWrites:
    async def test_nodes_that_write_together(self, nats, events, broker):
        others = [engine_at(nats.port).broker for _ in range(3)]
        for other in others:
            await other.start(Recorder())
        writers = [broker, *others]
        work = [publish(writers[n % 4], n, options=MANY) for n in range(400)]
        results = await asyncio.gather(*work)
        assert sorted(r.offset for r in results) == [*range(1, 401)]
        assert await offsets(broker) == [*range(1, 401)]
        await until(lambda: len(events.publications) == 400)
        assert [p.offset for _, p, *_ in events.publications] == [*range(1, 401)]
        for other in others:
            await other.close()

    async def test_what_comes_at_once_is_written_together(self, engine, broker, events):
        count = MOST_TOGETHER + 50
        await asyncio.gather(*(publish(broker, n, options=MANY) for n in range(count)))
        assert len(await stored(engine)) <= 4
        await until(lambda: len(events.publications) == count)
        assert await offsets(broker, since=StreamPosition(70, ""), limit=3) == [71, 72, 73]
        assert await offsets(broker, reverse=True, limit=2) == [count, count - 1]

    async def test_deltas_in_one_message(self, broker, events):
        options = msgspec.structs.replace(KEPT, delta=True)
        await asyncio.gather(*(publish(broker, n, options=options) for n in range(4)))
        await publish(broker, 4, options=options)
        await until(lambda: len(events.publications) == 5)
        previous = [p and bytes(p.data) for *_, p in events.publications]
        assert previous == [None, b"0", b"1", b"2", b"3"]

    async def test_one_with_a_key_among_others(self, broker):
        keyed = msgspec.structs.replace(KEPT, idempotency_key="k")
        work = [publish(broker, n, options=keyed if n % 2 else KEPT) for n in range(6)]
        results = await asyncio.gather(*work)
        assert [r.suppressed for r in results] == ["", "", "", "idempotency", "", "idempotency"]
        assert results[3].offset == results[1].offset

    async def test_a_key_whose_publication_was_trimmed(self, engine, broker):
        keyed = msgspec.structs.replace(KEPT, idempotency_key="k", history_size=1)
        await publish(broker, 1, options=keyed)
        await publish(broker, *range(20), options=msgspec.structs.replace(KEPT, history_size=1))
        while (await stored(engine))[0].sequence == 1:
            await asyncio.sleep(0.01)
        again = await publish(broker, 2, options=keyed)
        assert (again.suppressed, again.offset) == ("idempotency", 21)

    async def test_other_nodes_know_versions(self, nats, broker):
        other = engine_at(nats.port).broker
        await other.start(Recorder())
        await publish(broker, 1, options=msgspec.structs.replace(KEPT, version=1))
        await publish(other, 2, options=msgspec.structs.replace(KEPT, version=7))
        assert (
            await publish(broker, 3, options=msgspec.structs.replace(KEPT, version=7))
        ).suppressed
        # What this node remembers is old: it must not count.
        await publish(
            other, 4, options=msgspec.structs.replace(KEPT, version=1, version_epoch="new")
        )
        newer = msgspec.structs.replace(KEPT, version=2, version_epoch="new")
        assert not (await publish(broker, 5, options=newer)).suppressed
        await other.close()

    async def test_deltas_after_another_node_wrote(self, nats, broker, events):
        other = engine_at(nats.port).broker
        await other.start(Recorder())
        await publish(broker, 1)
        delta = msgspec.structs.replace(KEPT, delta=True)
        await publish(broker, 2, options=delta)
        await publish(other, 3)
        await publish(broker, 4, options=delta)
        await until(lambda: len(events.publications) == 4)
        assert [p and bytes(p.data) for *_, p in events.publications] == [None, b"1", None, b"3"]
        await other.close()

    async def test_too_long_a_message(self, broker):
        with pytest.raises(EngineRefusal, match="max_payload"):
            await publish(broker, "x" * (1 << 20))
        with pytest.raises(EngineRefusal, match="max_payload"):
            await publish(broker, "x" * 400_000, options=msgspec.structs.replace(KEPT, delta=True))
        await publish(broker, "x" * 1_000_000)
        assert await offsets(broker) == [1]

    async def test_patterns_keep_nothing(self, nats):
        broker = engine_at(nats.port, allow_wildcards=True).broker
        await broker.start(Recorder())
        with pytest.raises(EngineRefusal, match="pattern"):
            await publish(broker, 1, channel="a.*")
        await broker.close()

    async def test_closing_tells_who_waits(self, broker):
        waiting = asyncio.ensure_future(publish(broker, 1))
        await asyncio.sleep(0)
        await broker.close()
        with pytest.raises(EngineError, match="the node stops"):
            await waiting


class TestLimits:
    async def test_what_a_channel_does_not_keep_is_removed(self, engine, broker):
        for n in range(300):
            await publish(broker, n)
        assert await offsets(broker) == [*range(291, 301)]
        while len(await stored(engine)) > 40:
            await asyncio.sleep(0.01)

    async def test_what_has_expired_is_removed(self, engine, broker):
        await publish(broker, 1, 2, options=PublishOptions(history_size=9, history_ttl=0.1))
        await publish(broker, 1, channel="other")
        while len(await stored(engine)) > 1:
            await asyncio.sleep(0.05)
        (left,) = await stored(engine)
        assert entries.read_entry(left.data).publications == []
        assert (await publish(broker, 3)).offset == 3
        assert len(await stored(engine, b"centrifugo.js.history.other")) == 1

    async def test_what_another_node_prolonged_is_not_removed(self, nats, broker):
        short = PublishOptions(history_size=9, history_ttl=0.1)
        await publish(broker, 1, options=short)
        other = engine_at(nats.port).broker
        await other.start(Recorder())
        await publish(other, 2)
        await until(lambda: not broker.store._expiries)
        assert await offsets(other) == [1, 2] or await offsets(other) == [2]
        await other.close()

    async def test_a_full_stream_refuses_and_keeps_what_it_has(self, nats):
        broker = engine_at(nats.port, max_bytes=20_000).broker
        await broker.start(Recorder())
        await publish(broker, 1)
        work = [publish(broker, "x" * 1000, channel=f"c{n}", options=MANY) for n in range(50)]
        results = await asyncio.gather(*work, return_exceptions=True)
        refused = [result for result in results if isinstance(result, EngineError)]
        assert "maximum bytes exceeded" in str(refused[0])
        assert len(refused) < 45
        assert await offsets(broker) == [1]
        await broker.remove_history("c1")
        await broker.close()

    async def test_forever_is_long(self, engine, broker):
        options = PublishOptions(history_size=1, history_ttl=1e12, history_meta_ttl=1e12)
        await publish(broker, 1, options=options)
        assert await offsets(broker) == [1]


class TestStart:
    async def test_an_old_server(self):
        server = NatsServer(jetstream=True, kind="path")
        with pytest.raises(ConfigError, match=r"JetStream needs NATS 2\.11 or newer"):
            await engine_at(server.port).broker.start(Recorder())
        server.stop()

    async def test_it_is_not_switched_on(self):
        server = NatsServer(kind="wheel")
        for part in ("broker", "presence_manager"):
            engine = engine_at(server.port)
            args = (Recorder(),) if part == "broker" else ()
            with pytest.raises(ConfigError, match="JetStream is not switched on"):
                await getattr(engine, part).start(*args)
            assert engine.link._users == 0
        server.stop()

    async def test_the_stream_is_another_programs(self, nats):
        plain = NatsEngine(nats.url)
        await plain.broker.start(Recorder())
        await ask(plain, f"STREAM.CREATE.{HISTORY}", {"name": HISTORY, "subjects": ["x"]})
        with pytest.raises(ConfigError, match="choose another prefix, or remove the stream"):
            await engine_at(nats.port).broker.start(Recorder())
        await plain.broker.close()

    async def test_too_few_servers_for_the_copies(self, nats):
        with pytest.raises(ConfigError, match="cannot use JetStream at 127"):
            await engine_at(nats.port, replicas=3).broker.start(Recorder())

    async def test_a_prefix_that_is_no_name(self, nats, events):
        servers = ServerOptions(servers=(Server("127.0.0.1", nats.port),))
        options = NatsOptions(prefix="my.app", jetstream=JetStreamOptions(storage="memory"))
        broker = NatsEngine(servers, options=options).broker
        await broker.start(events)
        await broker.subscribe("ch")
        await publish(broker, 1)
        await until(events.data)
        await broker.close()

    async def test_permissions_without_news(self, caplog):
        server = NatsServer(
            "authorization { users = [{ user: u, password: p, permissions { subscribe:"
            ' ["centrifugo.>", "_INBOX.>"] } }] }',
            jetstream=True,
            kind="wheel",
        )
        servers = ServerOptions(servers=(Server("127.0.0.1", server.port),), user="u", password="p")
        broker = NatsEngine(servers, options=NatsOptions(jetstream=JetStreamOptions())).broker
        await broker.start(Recorder())
        await publish(broker, 1)
        assert "no news of JetStream" in caplog.text
        await broker.close()
        server.stop()


class TestHonesty:
    async def test_a_stream_that_went_back_gets_a_fresh_epoch(self, nats, engine, broker, events):
        """As a server has it whose disk lost the last publications."""
        old = await publish(broker, 1)
        nats.kill()
        shutil.copytree(nats.folder / "store", nats.folder / "older")
        await asyncio.to_thread(nats.start)
        await until(lambda: events.restored)
        await publish(broker, 2, 3)
        await until(lambda: len(events.data()) == 3)
        nats.kill()
        nats.forget()
        (nats.folder / "older").rename(nats.folder / "store")
        await asyncio.to_thread(nats.start)
        await until(lambda: events.restored == 2)
        position = (await broker.history("ch", HistoryFilter(0))).position
        assert position.epoch != old.epoch
        await publish(broker, 4)
        await until(lambda: b"4" in events.data())
        assert events.publications[-1][2].epoch == position.epoch

    async def test_one_that_went_on_elsewhere_as_well(self, nats, engine, broker, events):
        """Though its offsets are those of the lost ones."""
        old = await publish(broker, 1, 2, 3)
        await until(lambda: len(events.data()) == 3)
        first = (await stored(engine))[0]
        await ask(engine, f"STREAM.PURGE.{HISTORY}")
        entry = entries.read_entry(first.data)
        others = [entries.write_publication(payload(b"%d" % n), KEPT, 1) for n in (20, 30)]
        forged = msgspec.structs.replace(entry, top=3, publications=[*entry.publications, *others])
        await engine.link.publish(SUBJECT, entries.write_entry(forged))
        await until(lambda: events.restored)
        position = (await broker.history("ch", HistoryFilter(0))).position
        assert position.epoch != old.epoch
        assert len(events.data()) == 3

    async def test_streams_that_are_gone_are_made_again(self, engine, broker, events):
        old = await publish(broker, 1)
        await ask(engine, f"STREAM.DELETE.{HISTORY}")
        with pytest.raises(EngineError):
            await publish(broker, 2)
        await until(lambda: broker._api._repair.done())  # noqa: PLW0108 - it may be another one
        result = await publish(broker, 3)
        assert (result.offset, result.epoch != old.epoch) == (1, True)
        await until(lambda: b"3" in events.data())

    async def test_holes_are_seen(self, engine, broker):
        """Somebody removed a message in the middle."""
        await publish(broker, 1, 2, 3)
        await ask(engine, f"STREAM.MSG.DELETE.{HISTORY}", {"seq": 2})
        assert await offsets(broker) == [3]

    async def test_what_others_wrote_is_an_error_and_no_traceback(
        self, engine, broker, events, caplog
    ):
        await publish(broker, 1)
        for data in (b"\x93\x01", b"\xff", entries.write_entry(entry_of_another_version())):
            await engine.link.publish(SUBJECT, data)
            with pytest.raises(EngineError):
                await broker.history("ch", HistoryFilter())
            with pytest.raises(EngineError):
                await publish(broker, 2)
        assert not [r for r in caplog.records if r.exc_info]
        await ask(engine, f"STREAM.PURGE.{HISTORY}")
        assert (await publish(broker, 5)).offset == 1
        await until(lambda: b"5" in events.data())

    async def test_a_new_leader(self, events):
        cluster = await asyncio.to_thread(NatsCluster, kind="wheel")
        try:
            engine = engine_at(*(node.port for node in cluster.nodes), replicas=3)
            broker = engine.broker
            await broker.start(events)
            await broker.subscribe("ch")
            first = await publish(broker, 1)
            restored = events.restored
            await ask(engine, f"STREAM.LEADER.STEPDOWN.{HISTORY}")
            await until(lambda: events.restored > restored, "positions are to be checked")
            second = await eventually(partial(publish, broker, 2))
            assert (second.offset, second.epoch) == (2, first.epoch)
            await until(lambda: events.data() == [b"1", b"2"])
            assert await offsets(broker) == [1, 2]
            presence = engine.presence_manager
            await presence.start()
            await presence.add_presence("ch", "c", ClientInfo("u", "c"))
            assert set(await presence.presence("ch")) == {"c"}
            await presence.close()
            await broker.close()
        finally:
            cluster.stop()

    async def test_what_is_denied_and_stored_comes_once(self):
        """As by a server that does not know yet that another one is the leader."""
        cluster = await asyncio.to_thread(NatsCluster, kind="wheel")
        try:
            ports = [node.port for node in cluster.nodes]
            broker, other = (engine_at(*ports, replicas=3).broker for _ in range(2))
            await broker.start(Recorder())
            await other.start(Recorder())
            real = broker._api.publish

            async def deny(*args, first=0, after=0):
                for _ in range(first):
                    await publish(other, "false")
                try:
                    await real(*args)
                finally:
                    broker._api.publish = real
                    for _ in range(after):
                        await publish(other, "false")
                raise WrongLastError(10071, "wrong last sequence")

            expected = []
            for change in ({}, {}, {"after": 1}, {"after": 3}, {"first": 1}, {"first": 3}):
                broker._api.publish = partial(deny, **change)
                result = await publish(broker, "true")
                assert result.offset == len(expected) + 1 + change.get("first", 0)
                expected += [b"false"] * change.get("first", 0) + [b"true"]
                expected += [b"false"] * change.get("after", 0) + [b"null"]
                await publish(broker, "null")
            found = (await broker.history("ch", HistoryFilter(limit=-1))).publications
            assert [bytes(p.data) for p in found] == expected[-10:]
            await broker.close()
            await other.close()
        finally:
            cluster.stop()

    async def test_the_first_one_as_well_though_no_copy_has_it_yet(self):
        cluster = await asyncio.to_thread(NatsCluster, kind="wheel")
        try:
            broker = engine_at(*(node.port for node in cluster.nodes), replicas=3).broker
            await broker.start(Recorder())
            api = broker._api
            store, last, denied = api.publish, api.last, []

            async def deny(*args):
                ack = await store(*args)
                if denied:
                    return ack
                denied.append(ack)
                api.last = lags
                raise WrongLastError(10071, "wrong last sequence")

            async def lags(*args):
                if len(denied) > READ_TRIES:
                    api.last = last
                denied.append(None)

            api.publish = deny
            result = await publish(broker, "true")
            assert len(denied) > READ_TRIES
            api.publish = store
            await publish(broker, "null")
            found = await broker.history("ch", HistoryFilter(limit=-1))
            assert [bytes(p.data) for p in found.publications] == [b"true", b"null"]
            assert found.position == StreamPosition(2, result.epoch)
            await broker.close()
        finally:
            cluster.stop()

    async def test_most_servers_are_gone(self, events):
        cluster = await asyncio.to_thread(NatsCluster, kind="wheel")
        try:
            engine = engine_at(*(node.port for node in cluster.nodes), replicas=3)
            broker = engine.broker
            await broker.start(events)
            await broker.subscribe("ch")
            first = await publish(broker, 1)
            for node in cluster.nodes[1:]:
                node.kill()
            while not broker.problem:
                with contextlib.suppress(EngineError):
                    await publish(broker, 2)
            for node in cluster.nodes[1:]:
                await asyncio.to_thread(node.start)
            await until(lambda: not broker.problem, "recovery")
            result = await eventually(partial(publish, broker, 3))
            assert result.epoch == first.epoch
            assert await offsets(broker) == [*range(1, result.offset + 1)]
            await broker.close()
        finally:
            cluster.stop()


async def eventually(work):
    """The result of what fails while there is no leader."""
    while True:
        try:
            return await work()
        except EngineError:
            await asyncio.sleep(0.05)


def entry_of_another_version():
    return entries.Entry(format=2, epoch="e", top=1, publications=[])
