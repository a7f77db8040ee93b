"""What is in the tables, who may write them, and what is done when they are not what they were."""

import asyncio
import contextlib
import json

import msgspec
import pytest
from certificates import self_signed
from contract_engines import Recorder
from postgres import PostgresServer
from typer.testing import CliRunner
from waiting import until

from flyball.cli.app import app
from flyball.core.errors import ConfigError, EngineError, EngineRefusal
from flyball.core.types import ClientInfo, HistoryFilter, PublishOptions, payload
from flyball.engines.postgres import ControllerOptions, PostgresEngine, StreamOptions, parse_dsn
from flyball.engines.postgres.schema import CONTROLLER, STREAM, Tables
from flyball.engines.postgres.shards import shard_of
from flyball.protocol import codes
from flyball.server.common.tls import TLSConfig, named_client_context

KEPT = PublishOptions(history_size=10, history_ttl=60)
VERSION_1 = """
CREATE TABLE cf_stream (
    id bigserial, channel text NOT NULL, channel_offset bigint NOT NULL,
    epoch text NOT NULL DEFAULT '', kind smallint NOT NULL DEFAULT 0, data jsonb, tags jsonb,
    client_id text, user_id text, conn_info jsonb, chan_info jsonb, prev_data jsonb,
    created_at timestamptz NOT NULL DEFAULT now(), shard_id smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
DO $$
DECLARE day date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    EXECUTE format('CREATE TABLE cf_stream_%s PARTITION OF cf_stream FOR VALUES FROM (%L) TO (%L)',
        to_char(day, 'YYYY_MM_DD'), day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
END $$;
CREATE TABLE cf_stream_meta (
    channel text PRIMARY KEY, top_offset bigint NOT NULL DEFAULT 0, epoch text NOT NULL DEFAULT '',
    history_ttl interval NOT NULL DEFAULT interval '1 minute',
    history_size integer NOT NULL DEFAULT 100, top_version bigint NOT NULL DEFAULT 0,
    top_version_epoch text NOT NULL DEFAULT '',
    expires_at timestamptz NOT NULL DEFAULT now() + interval '7 days',
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now()
);
CREATE TABLE cf_stream_idempotency (
    channel text NOT NULL, idempotency_key text NOT NULL, result_offset bigint NOT NULL,
    result_epoch text NOT NULL, result_id bigint NOT NULL, expires_at timestamptz NOT NULL,
    PRIMARY KEY (channel, idempotency_key)
);
CREATE TABLE cf_stream_shard_lock (shard_id smallint PRIMARY KEY);
INSERT INTO cf_stream_shard_lock SELECT generate_series(0, 7);
CREATE TABLE cf_stream_schema_version (id integer PRIMARY KEY, schema_version integer NOT NULL);
INSERT INTO cf_stream_schema_version VALUES (1, 1);
INSERT INTO cf_stream_meta (channel, top_offset, epoch) VALUES ('ch', 2, 'old');
INSERT INTO cf_stream (channel, channel_offset, epoch, data)
VALUES ('ch', 1, 'old', '[1]'), ('ch', 2, 'old', '[2]');
"""
"""As Centrifugo has them."""


@pytest.fixture(scope="module")
def server():
    found = PostgresServer("18")
    yield found
    found.stop()


@pytest.fixture
def empty(server):
    """The server, with nothing in its database."""
    server.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return server


@pytest.fixture
async def started(empty):
    """Starts brokers; they are closed in the end."""
    running = []

    async def start(url="", events=None, patience=60.0, **options):
        there = parse_dsn(url or empty.url, io_timeout=patience, connect_timeout=patience)
        broker = PostgresEngine(there, options=StreamOptions(**options)).broker
        await broker.start(events or Recorder())
        running.append(broker)
        return broker

    yield start
    for broker in running:
        await broker.close()


@pytest.fixture
def events():
    return Recorder()


@pytest.fixture
async def broker(started, events):
    broker = await started(events=events)
    await broker.subscribe("ch")
    return broker


async def publish(broker, *values, channel="ch", options=KEPT):
    result = None
    for value in values:
        result = await broker.publish(channel, payload(str(value).encode()), options)
    return result


async def kept(broker, channel="ch"):
    found = (await broker.history(channel, HistoryFilter())).publications
    return [bytes(publication.data).decode() for publication in found]


class TestSchema:
    async def test_nodes_that_start_at_once_do_not_collide(self, started, empty):
        brokers = await asyncio.gather(*(started(num_shards=4) for _ in range(6)))
        await publish(brokers[0], 1)
        assert await kept(brokers[5]) == ["1"]
        assert empty.ask("SELECT count(*) FROM cf_stream_shard_lock") == "4"
        assert "cf_binary_stream_meta" in empty.tables("cf_binary")

    async def test_tables_of_the_original_are_upgraded(self, started, empty):
        empty.ask(VERSION_1)
        broker = await started()
        assert await kept(broker) == ["[1]", "[2]"]
        result = await publish(broker, 3)
        assert (result.offset, result.epoch) == (3, "old")
        assert await kept(broker) == ["[1]", "[2]", "3"]
        assert empty.ask("SELECT schema_version FROM cf_stream_schema_version") == "2"

    async def test_newer_tables_are_left_alone(self, started, broker, empty):
        empty.ask("UPDATE cf_stream_schema_version SET schema_version = 3")
        with pytest.raises(ConfigError, match="version 3, this Flyball knows 2"):
            await started()

    async def test_missing_tables_are_not_made_if_that_is_not_wanted(self, started, empty):
        with pytest.raises(ConfigError, match=r"not there; .*flyball postgres apply"):
            await started(skip_schema_init=True)
        assert empty.tables("cf") == []

    async def test_another_number_of_shards(self, started, broker):
        with pytest.raises(ConfigError, match="8 shards, num_shards is 4"):
            await started(num_shards=4)

    async def test_no_database(self, started, empty):
        with pytest.raises(ConfigError, match="nowhere"):
            await started(empty.url.replace("/flyball", "/nowhere"))
        with pytest.raises(ConfigError, match="password") as caught:
            await started(empty.url.replace("secret", "hunter2"))
        assert "hunter2" not in str(caught.value)
        with pytest.raises(ConfigError):
            await started("postgres://u:p@127.0.0.1:1/d")

    async def test_tables_in_a_schema_of_their_own(self, started, empty, events):
        empty.ask('CREATE SCHEMA "my own"; ALTER ROLE flyball SET search_path = "my own"')
        try:
            broker = await started(events=events)
            await broker.subscribe("ch")
            await publish(broker, 1)
            await until(lambda: events.data() == [b"1"])
            assert empty.ask('SELECT count(*) FROM "my own".cf_stream') == "1"
        finally:
            empty.ask('ALTER ROLE flyball RESET search_path; DROP SCHEMA "my own" CASCADE')

    async def test_by_a_socket_and_pairs(self, started, empty):
        place = f"host={empty.folder} port={empty.port} user=flyball dbname=flyball"
        assert (await publish(await started(place), 1)).offset == 1


@pytest.fixture(scope="module")
def secured():
    cert, key = self_signed()
    files = {"cert.pem": cert, "key.pem": key}
    settings = {"ssl": "on", "ssl_cert_file": "cert.pem", "ssl_key_file": "key.pem"}
    server = PostgresServer("path", files=files, **settings)  # the wheel's has no TLS
    yield server, cert.decode()
    server.stop()


class TestTls:
    async def contact(self, server, **tls):
        context = named_client_context(TLSConfig(enabled=True, **tls), "tls")
        there = parse_dsn(server.url, tls=context, connect_timeout=60.0, io_timeout=60.0)
        broker = PostgresEngine(there, options=StreamOptions(use_notify=True)).broker
        await broker.start(Recorder())
        try:
            await until(lambda: broker.outbox.hears, "LISTEN")
            ways = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            assert server.ask(f"{ways} WHERE application_name LIKE 'flyball%'") == "t"
        finally:
            await broker.close()

    async def test_a_known_certificate(self, secured):
        server, cert = secured
        await self.contact(server, server_ca_pem=cert)
        await self.contact(server, server_ca_pem=cert, server_name="localhost")

    async def test_others_are_refused(self, secured):
        server, cert = secured
        for tls in ({}, {"server_ca_pem": cert, "server_name": "elsewhere"}):
            with pytest.raises(ConfigError, match="certificate verify failed"):
                await self.contact(server, **tls)

    async def test_it_is_not_given_up(self, empty):
        with pytest.raises(ConfigError, match="rejected SSL"):
            await self.contact(empty)


class TestApplications:
    """They publish by SQL, in transactions of their own."""

    async def test_what_is_rolled_back_was_never_published(self, broker, events, empty):
        empty.ask("BEGIN; SELECT * FROM cf_stream_publish('ch', '{\"n\": 1}'); ROLLBACK")
        empty.ask("BEGIN; SELECT * FROM cf_stream_publish('ch', '{\"n\": 2}'); COMMIT")
        await until(events.data)
        assert events.data() == [b'{"n":2}']
        assert await kept(broker) == ['{"n":2}']

    async def test_a_long_transaction_holds_up_its_shard_only(self, started, empty, events):
        broker = await started(events=events)
        other = next(name for name in "abcdefgh" if shard_of(name, 8) != shard_of("ch", 8))
        for channel in ("ch", other):
            await broker.subscribe(channel)
        connection = await connect(empty)
        async with connection.transaction():
            await connection.execute("SELECT cf_stream_publish('ch', '1')")
            await publish(broker, 2, channel=other)
            await until(lambda: events.data(other) == [b"2"])
            waits = asyncio.create_task(publish(broker, 3))
            await asyncio.sleep(0)
            assert events.data() == []
        assert (await waits).offset == 2
        await until(lambda: events.data() == [b"1", b"3"])
        await connection.close()

    async def test_one_that_takes_too_long(self, started, empty):
        """Publishing fails, and is not done later."""
        broker = await started(patience=3.0)
        connection = await connect(empty)
        async with connection.transaction():
            await connection.execute("SELECT cf_stream_publish('ch', '1')")
            with pytest.raises(EngineError):
                await publish(broker, 2)
        assert await kept(broker) == ["1"]
        assert broker.problem == ""
        await connection.close()

    async def test_settings_of_the_channel_are_kept(self, broker, empty):
        options = msgspec.structs.replace(KEPT, history_size=2)
        await publish(broker, 1, 2, options=options)
        empty.ask("SELECT cf_stream_publish('ch', '3')")
        assert await kept(broker) == ["2", "3"]
        empty.ask("SELECT cf_stream_publish('new', '3')")
        row = empty.ask(
            "SELECT history_size, history_ttl FROM cf_stream_meta WHERE channel = 'new'"
        )
        assert row == "100|00:01:00"

    async def test_all_that_can_be_said(self, broker, events, empty):
        sql = (
            "SELECT out_channel_offset, out_suppressed, out_suppress_reason FROM cf_stream_publish("
            "p_channel := 'ch', p_data := '1', p_tags := '{\"k\": \"v\"}', p_history_ttl := '1 hour',"
            "p_history_size := 5, p_meta_ttl := '-1 s', p_version := 7, p_version_epoch := 'e',"
            "p_idempotency_key := %s, p_idempotency_ttl := '1 hour', p_use_delta := true,"
            "p_client_id := 'c', p_user_id := 'u', p_conn_info := '{\"a\": 1}', p_chan_info := '2')"
        )
        assert empty.ask(sql % "'k'") == "1|f|"
        assert empty.ask(sql % "'k'") == "1|t|idempotency"
        assert empty.ask(sql % "NULL") == "1|t|version"
        await until(lambda: events.publications)
        _, publication, position, delta, _ = events.publications[0]
        assert publication.tags == {"k": "v"}
        assert publication.version == 7
        assert bytes(publication.info.conn_info) == b'{"a":1}'
        assert (position.offset, delta) == (1, True)
        assert empty.ask("SELECT expires_at FROM cf_stream_meta") == "infinity"

    async def test_strictly(self, broker, empty):
        strict = (
            "SELECT out_channel_offset FROM cf_stream_publish_strict('ch', '1', p_version := 1)"
        )
        assert empty.ask(strict) == "1"
        with pytest.raises(RuntimeError, match="nothing was published, because of its version"):
            empty.ask(strict)

    async def test_joins_and_leaves(self, broker, events, empty):
        empty.ask("SELECT cf_stream_publish_join('ch', 'c', 'u', '1', '2')")
        empty.ask("SELECT cf_stream_publish_leave('ch', 'c', 'u')")
        await until(lambda: events.leaves)
        assert events.joins[0][1] == ClientInfo("u", "c", payload(b"1"), payload(b"2"))
        assert events.leaves[0][1] == ClientInfo("u", "c")

    async def test_positions(self, broker, empty):
        position = "SELECT * FROM cf_stream_top_position('ch')"
        assert empty.ask(position) == "0|"
        result = await publish(broker, 1, 2)
        assert empty.ask(position) == f"2|{result.epoch}"
        empty.ask("SELECT cf_stream_remove_history('ch')")
        assert empty.ask(position) == f"2|{result.epoch}"
        assert await kept(broker) == []

    async def test_odd_tags_and_payloads(self, broker, events, empty):
        empty.ask("SELECT cf_stream_publish('ch', NULL, p_tags := '[1]')")
        await until(lambda: events.publications)
        publication = events.publications[0][1]
        assert (bytes(publication.data), publication.tags) == (b"null", None)

    async def test_rows_that_nobody_understands(self, broker, events, empty, caplog):
        empty.ask("INSERT INTO cf_stream (channel, channel_offset, kind) VALUES ('ch', 0, 9)")
        await publish(broker, 1)
        await until(lambda: events.data() == [b"1"])
        assert "of channel 'ch' is not understood" in caplog.text


async def connect(server):
    import asyncpg

    return await asyncpg.connect(server.url)


class TestRights:
    @pytest.fixture
    async def limited(self, broker, empty):
        """Two roles with no rights but the granted ones, and the addresses of these."""
        empty.ask("DROP ROLE IF EXISTS node, writer")
        empty.ask("CREATE ROLE node LOGIN PASSWORD 'n'; CREATE ROLE writer LOGIN PASSWORD 'w'")
        for role in ("node", "writer"):
            for kind in (STREAM, CONTROLLER)[: 2 if role == "node" else 1]:
                for right in Tables(kind, "cf").rights(application=role == "writer"):
                    with contextlib.suppress(RuntimeError):  # a controller is not there yet
                        empty.ask(right.grant(role))
        yield {
            role: empty.url.replace("flyball:secret", f"{role}:{role[0]}")
            for role in ("node", "writer")
        }
        empty.ask("DROP OWNED BY node, writer; DROP ROLE node, writer")

    async def test_a_node_needs_no_more(self, limited, started, empty):
        events = Recorder()
        broker = await started(limited["node"], events, use_notify=True, skip_schema_init=True)
        await broker.subscribe("ch")
        await publish(broker, 1, options=msgspec.structs.replace(KEPT, idempotency_key="k"))
        await until(lambda: events.data() == [b"1"])
        await broker.publish_join_leave("ch", ClientInfo("u", "c"), joined=True)
        assert await kept(broker) == ["1"]
        await broker.remove_history("ch")
        await broker.upkeep.once(broker.outbox.tables)
        assert broker.upkeep.partitions == 3

    async def test_an_application_needs_even_less(self, limited, broker, events, empty):
        import asyncpg

        connection = await asyncpg.connect(limited["writer"])
        await connection.execute("SELECT cf_stream_publish('ch', '1', p_idempotency_key := 'k')")
        for forbidden in (
            "SELECT cf_stream_clean('0 s', 1)",
            "SELECT cf_stream_maintain(0, 0)",
            "DELETE FROM cf_stream_meta",
            "DROP TABLE cf_stream",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
        await connection.close()
        await until(lambda: events.data() == [b"1"])

    async def test_what_is_not_granted_is_named(self, limited, started, empty):
        empty.ask("REVOKE INSERT ON cf_stream FROM node")
        broker = await started(limited["node"], skip_schema_init=True)
        with pytest.raises(EngineError, match="permission denied for table cf_stream"):
            await publish(broker, 1)


class TestBadInput:
    async def test_payloads_that_are_no_json(self, broker, events):
        for data in (b"", b"{", b"\xff", b'"\\u0000"', b"1 2"):
            with pytest.raises(EngineRefusal) as caught:
                await broker.publish("ch", payload(data), KEPT)
            assert caught.value.code == codes.BAD_REQUEST.code
        info = ClientInfo("u", "c", payload(b"\xff"))
        with pytest.raises(EngineRefusal, match="info"):
            await broker.publish_join_leave("ch", info, joined=True)
        assert await kept(broker) == []

    async def test_characters_that_cannot_be_kept(self, broker):
        for options in (
            msgspec.structs.replace(KEPT, idempotency_key="a\0b"),
            msgspec.structs.replace(KEPT, version=1, version_epoch="a\0b"),
            msgspec.structs.replace(KEPT, tags={"k": "a\0b"}),
            msgspec.structs.replace(KEPT, version=2**63),
        ):
            with pytest.raises(EngineRefusal):
                await publish(broker, 1, options=options)
        with pytest.raises(EngineRefusal):
            await publish(broker, 1, channel="a\0b")
        with pytest.raises(EngineRefusal):
            await broker.history("a\0b", HistoryFilter())
        assert await kept(broker) == []

    async def test_one_at_fault_harms_no_others(self, broker, events):
        values = [b"1", b'"\\u0000"', b"2", b"{", b"3"]
        work = (broker.publish("ch", payload(value), KEPT) for value in values)
        results = await asyncio.gather(*work, return_exceptions=True)
        assert [type(r).__name__ for r in results] == [
            "PublishResult", "EngineRefusal", "PublishResult", "EngineRefusal", "PublishResult"
        ]  # fmt: skip
        await until(lambda: events.data() == [b"1", b"2", b"3"])

    async def test_many_at_once_keep_their_order(self, broker, events):
        numbers = range(2000)
        results = await asyncio.gather(*(publish(broker, n) for n in numbers))
        assert [r.offset for r in results] == [n + 1 for n in numbers]
        await until(lambda: len(events.publications) == len(numbers))
        assert events.data() == [b"%d" % n for n in numbers]

    async def test_more_than_can_wait(self, broker, monkeypatch):
        monkeypatch.setattr("flyball.engines.postgres.writer.MOST_WAITING", 10)
        work = [asyncio.ensure_future(publish(broker, n)) for n in range(20)]
        results = await asyncio.gather(*work, return_exceptions=True)
        assert [isinstance(r, EngineError) for r in results] == [False] * 10 + [True] * 10

    async def test_names_of_any_kind(self, broker, started, events):
        names = ["", "a b", "ü:'\"\\", "x" * 255, "%s $1 {p}", "*>"]
        for name in names:
            await broker.subscribe(name)
            await publish(broker, 1, channel=name)
            assert await kept(broker, name) == ["1"]
        await until(lambda: len(events.publications) == len(names))
        assert {channel for channel, *_ in events.publications} == set(names)


class TestLife:
    async def test_others_are_told(self, started, events):
        """By NOTIFY: nobody polls in time."""
        there = await started(events=events, use_notify=True, poll_interval=3600)
        await there.subscribe("ch")
        listening = there.outbox
        await until(lambda: listening.hears, "LISTEN")
        await publish(await started(), 1)
        await until(lambda: events.data() == [b"1"])

    async def test_who_waits_at_the_end_is_told(self, started, empty):
        broker = await started()
        connection = await connect(empty)
        async with connection.transaction():
            await connection.execute("SELECT cf_stream_publish('ch', '1')")
            waits = [asyncio.ensure_future(publish(broker, n)) for n in range(3)]
            await until(lambda: broker._writer._lanes and broker._writer._waiting == 3)
            await broker.close()
            results = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(result, EngineError) for result in results)
        with pytest.raises(EngineError):
            await publish(broker, 1)
        await connection.close()

    async def test_a_storm_of_nodes(self, started, empty, events):
        """Fifty nodes lose the database at once, and are back soon after it."""
        brokers = [await started(events=events) for _ in range(50)]
        for broker in brokers:
            await broker.subscribe("ch")
        await asyncio.to_thread(empty.kill)
        await until(lambda: all(broker.problem for broker in brokers), "trouble")
        await asyncio.to_thread(empty.start)
        await until(lambda: events.restored == 50, "recovery of all")
        assert len(events.lost) == 50
        await publish(brokers[0], 1)
        await until(lambda: events.data() == [b"1"] * 50)

    async def test_tables_that_were_made_anew(self, broker, events, empty):
        await publish(broker, 1, 2)
        await until(lambda: len(events.data()) == 2)
        empty.ask("TRUNCATE cf_stream, cf_stream_meta RESTART IDENTITY")
        await until(lambda: events.restored, "news of the loss")
        result = await publish(broker, 3)
        assert result.offset == 1
        await until(lambda: b"3" in events.data())

    async def test_a_stream_that_lost_its_end(self, broker, events, empty):
        """A standby without the last publications takes over, and others get their offsets."""
        old = await publish(broker, 1, 2, 3)
        await until(lambda: len(events.data()) == 3)
        empty.ask(
            "DELETE FROM cf_stream WHERE channel_offset > 1;"
            "UPDATE cf_stream_meta SET top_offset = 1;"
            "SELECT cf_stream_publish('ch', '20'); SELECT cf_stream_publish('ch', '30')"
        )
        await until(lambda: events.restored, "news of the loss")
        position = (await broker.history("ch", HistoryFilter(0))).position
        assert position.epoch != old.epoch
        assert events.data() == [b"1", b"2", b"3"]
        assert (await publish(broker, 4)).epoch == position.epoch
        await until(lambda: events.data()[3:] == [b"4"])

    async def test_renewal_of_an_epoch(self, broker):
        old = await publish(broker, 1, 2)
        from flyball.core.types import StreamPosition

        await broker.renew_epoch("ch", StreamPosition(2, old.epoch))
        assert (await publish(broker, 3)).epoch == old.epoch
        await broker.renew_epoch("ch", StreamPosition(9, old.epoch))
        renewed = await publish(broker, 4)
        assert (renewed.offset, renewed.epoch != old.epoch) == (4, True)
        assert await kept(broker) == ["4"]

    async def test_payloads_as_they_were(self, started, events):
        broker = await started(events=events, binary_data=True)
        await broker.subscribe("ch")
        await broker.publish("ch", payload(b'{"b": 1, "a": \xff}'), KEPT)
        await until(lambda: events.data() == [b'{"b": 1, "a": \xff}'])


class TestUpkeep:
    async def test_partitions(self, started, empty):
        broker = await started(partition_lookahead_days=1, partition_retention_days=2)
        names = "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'cf_stream'::regclass"
        days = "SELECT to_char(now() AT TIME ZONE 'UTC' + n * interval '1 day', 'YYYY_MM_DD')"
        today, tomorrow = empty.ask(f"{days} FROM generate_series(0, 1) n").split()
        expected = {"cf_stream_default", f"cf_stream_{today}", f"cf_stream_{tomorrow}"}
        assert set(empty.ask(names).split()) == expected
        # Yesterday nobody was there to make one.
        empty.ask(f"DROP TABLE cf_stream_{today}, cf_stream_{tomorrow}")
        await publish(broker, 1)
        empty.ask(
            "CREATE TABLE cf_stream_2020_01_01 PARTITION OF cf_stream"
            " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
        )
        await broker.upkeep.once(broker.outbox.tables)
        assert set(empty.ask(names).split()) == expected
        assert empty.ask(f"SELECT count(*) FROM cf_stream_{today}") == "1"
        assert await kept(broker) == ["1"]
        assert broker.upkeep.removed["partition"] == 1
        assert broker.upkeep.partitions == 2

    async def test_what_is_over_is_removed(self, started, empty, monkeypatch):
        monkeypatch.setattr("flyball.engines.postgres.upkeep.AT_ONCE", 2)
        broker = await started(stream_retention=3600)
        options = msgspec.structs.replace(KEPT, idempotency_key="k", history_meta_ttl=100)
        for channel in "abcde":
            await publish(broker, 1, channel=channel, options=options)
        later = "- interval '2 hours'"
        empty.ask(
            f"UPDATE cf_stream SET created_at = created_at {later} WHERE channel < 'd';"
            f"UPDATE cf_stream_meta SET expires_at = expires_at {later} WHERE channel < 'd';"
            f"UPDATE cf_stream_idempotency SET expires_at = expires_at {later} WHERE channel < 'd'"
        )
        await broker.upkeep.once(broker.outbox.tables)
        for table in ("cf_stream", "cf_stream_meta", "cf_stream_idempotency"):
            assert (
                empty.ask(f"SELECT string_agg(channel, '' ORDER BY channel) FROM {table}") == "de"
            )
        removed = {"stream": 3, "meta": 3, "idempotency": 3, "partition": 0}
        assert broker.upkeep.removed == removed

    async def test_a_history_longer_than_the_retention_is_told_of(self, started, caplog):
        broker = await started(stream_retention=10)
        await publish(broker, 1, 2)
        assert caplog.text.count("more than broker.postgres.stream_retention") == 1

    async def test_one_of_several_does_it(self, started):
        brokers = [await started() for _ in range(3)]
        await asyncio.gather(*(b.upkeep.once(b.outbox.tables) for b in brokers))


async def test_a_controller_alone(empty):
    engine = PostgresEngine(empty.url, controller=ControllerOptions(num_shards=3))
    events = Recorder()
    await engine.controller.start(events, "me")
    await engine.controller.publish_control(b"all")
    await engine.controller.publish_control(b"other", "somebody")
    await engine.controller.publish_control(b"me", "me")
    await until(lambda: sorted(events.control) == [b"all", b"me"])
    await engine.controller.close()
    with pytest.raises(EngineError):
        await engine.controller.publish_control(b"all")


class TestCommand:
    """``flyball postgres``."""

    @pytest.fixture
    def run(self, empty, tmp_path):
        def run(*arguments, url=empty.url, **sections):
            both = {
                name: {"enabled": True, "type": "postgres", "postgres": {"dsn": url, **sections}}
                for name in ("broker", "controller")
            }
            path = tmp_path / "config.json"
            path.write_text(json.dumps(both))
            return CliRunner().invoke(app, ["postgres", *arguments, "-c", str(path)])

        return run

    def test_tables_are_made_once(self, run, empty):
        missing = run("check")
        assert missing.exit_code == 1
        assert missing.output.count("not there; make or upgrade") == 3
        made = run("apply")
        assert made.exit_code == 0, made.output
        assert made.output.count(": made") == 3
        assert run("apply").output.count("are up to date") == 3
        well = run("check")
        assert (well.exit_code, well.output.count("all is well")) == (0, 3)

    def test_another_number_of_shards(self, run, empty):
        run("apply", num_shards=4)
        refused = run("apply", num_shards=2)
        assert refused.exit_code == 1
        assert "--reshard" in refused.output
        assert run("apply", "--reshard", num_shards=2).exit_code == 0
        assert run("check", num_shards=2).exit_code == 0

    def test_an_upgrade(self, run, empty):
        empty.ask(VERSION_1)
        assert "cf_stream: upgraded from version 1" in run("apply", num_shards=8).output

    def test_what_others_may_run(self, run, empty):
        """A role that owns nothing needs the grants, and no more."""
        empty.ask(run("sql").output)
        empty.ask('DROP ROLE IF EXISTS "a node"; CREATE ROLE "a node" LOGIN PASSWORD \'n\'')
        limited = empty.url.replace("flyball:secret", "a%20node:n")
        lacking = run("check", url=limited)
        assert lacking.exit_code == 1
        empty.ask(run("grants", "a node").output)
        allowed = run("check", url=limited)
        assert allowed.exit_code == 0, allowed.output
        empty.ask('REVOKE INSERT ON cf_stream FROM "a node"')
        assert "we lack INSERT on table public.cf_stream" in run("check", url=limited).output
        assert run("check", "--dsn", empty.url, url=limited).exit_code == 0
        application = run("grants", "a node", "--application").output
        assert "maintain" not in application
        assert "controller" not in application
        empty.ask('DROP OWNED BY "a node"; DROP ROLE "a node"')

    def test_nothing_to_do(self, tmp_path):
        path = tmp_path / "config.json"
        path.write_text("{}")
        for command in ("check", "sql"):
            result = CliRunner().invoke(app, ["postgres", command, "-c", str(path)])
            assert result.exit_code == 1
            assert "keeps nothing in PostgreSQL" in result.output

    def test_no_database(self, run):
        result = run("check", url="postgres://u:hunter2@127.0.0.1:1/d")
        assert result.exit_code == 1
        assert "hunter2" not in result.output
