"""What Kafka's options do, at a real broker."""

import asyncio
import importlib
import json
import socket

import pytest
from aiokafka import AIOKafkaProducer
from consumer_sources import KafkaSource
from consumer_world import publish, world
from kafkaclient import Topic
from kafkaserver import PASSWORD, USER
from structlog.testing import capture_logs
from test_consumer_contract import all_done
from waiting import until


@pytest.fixture(scope="module")
def running():
    source = KafkaSource()
    yield source
    source.stop()


def tls(source, **more):
    """TLS with a certificate of our own: the broker trusts it, and has the same."""
    server = source.server
    return {
        "enabled": True,
        "server_ca_pem": server.certificate.decode(),
        "cert_pem": server.certificate.decode(),
        "key_pem": server.key.decode(),
        **more,
    }


async def works(source, tmp_path, **options):
    await asyncio.to_thread(source.put, publish(7))
    async with world(tmp_path, source.entry(**options)) as w:
        assert await w.seen("ch", 1) == [7]
        await all_done(source)


async def is_refused(source, tmp_path, **options):
    """The log records of a consumer that gets nowhere, and tries again."""
    with capture_logs() as records:
        async with world(tmp_path, source.entry(**options)) as w:
            await until(lambda: w.errors >= 3)
            assert not w.broker.published
    told = [r for r in records if r["event"] == "consumer does not get on, and tries again"]
    assert len(told) == 1
    return told[0]["reason"]


# -- who we are


@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256", "scram-sha-512"])
@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
async def test_sasl(source, tmp_path, mechanism, listener):
    options = {"sasl_mechanism": mechanism, "sasl_user": USER, "sasl_password": PASSWORD}
    if listener == "SASL_SSL":
        options["tls"] = tls(source)
    await works(source, tmp_path, brokers=[source.server.address(listener)], **options)


@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-512"])
async def test_a_wrong_password_is_told_once(source, tmp_path, mechanism):
    brokers = [source.server.address("SASL_PLAINTEXT")]
    options = {"sasl_mechanism": mechanism, "sasl_user": USER, "sasl_password": "wrong-one"}
    reason = await is_refused(source, tmp_path, brokers=brokers, **options)
    assert "authentication" in reason.lower()
    assert "wrong-one" not in reason


async def test_tls_with_a_certificate_of_ours(source, tmp_path):
    await works(source, tmp_path, brokers=[source.server.address("SSL")], tls=tls(source))


async def test_tls_wants_the_name_that_is_configured(source, tmp_path):
    brokers = [source.server.address("SSL")]
    options = tls(source, server_name="localhost")
    await works(source, tmp_path, brokers=brokers, tls=options)
    await asyncio.to_thread(source.clear)
    other = tls(source, server_name="elsewhere.example")
    assert "elsewhere.example" in await is_refused(source, tmp_path, brokers=brokers, tls=other)


async def test_tls_may_look_at_no_name(source, tmp_path):
    options = tls(source, server_name="elsewhere.example", insecure_skip_verify=True)
    await works(source, tmp_path, brokers=[source.server.address("SSL")], tls=options)


async def test_tls_without_a_certificate_of_ours_is_refused(source, tmp_path):
    options = tls(source, cert_pem="", key_pem="")
    assert await is_refused(source, tmp_path, brokers=[source.server.address("SSL")], tls=options)


def test_tokens_of_msk_arrive_at_the_broker(source, tmp_path, monkeypatch):
    """They are for AWS's brokers: this one asks for one, reads it, and takes it not."""
    importlib.import_module("flyball.server.consumers.kafka.msk")  # takes a while: not in the loop
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    user = {"sasl_user": "AKIDEXAMPLE", "sasl_password": "example-secret"}
    options = {"sasl_mechanism": "aws-msk-iam", **user, "tls": tls(source)}
    entry = {"brokers": [source.server.address("SASL_SSL")], **options}
    reason = asyncio.run(is_refused(source, tmp_path, **entry))
    assert "it does not take our token" in reason


# -- what is read


async def test_a_method_may_stand_in_a_header(source, tmp_path):
    body = json.dumps({"channel": "ch", "data": {"n": 1}}).encode()
    headers = [("x-trace", b"\xff\xfe"), ("do", b"publish"), ("do", b"none")]
    async with world(tmp_path, source.entry(method_header="do")) as w:
        await asyncio.to_thread(source.topic.put, body, headers=headers)
        assert await w.seen("ch", 1) == [1]


async def test_publication_data(source, tmp_path):
    headers = [
        ("to", b"a,b"),
        ("centrifugo-tag-x", b"y"),
        ("centrifugo-delta", b"true"),
        ("centrifugo-version", b"3"),
    ]
    mode = {"enabled": True, "channels_header": "to"}
    with capture_logs() as records:
        async with world(tmp_path, source.entry(publication_data_mode=mode)) as w:
            await asyncio.to_thread(source.topic.put, b'{"n":1}', headers=headers)
            await asyncio.to_thread(source.topic.put, None, headers=[("to", b"a")])
            await asyncio.to_thread(source.topic.put, b'{"n":2}', headers=headers[:1])
            await asyncio.to_thread(source.topic.put, b'{"n":3}')
            assert await w.seen("a", 2) == [1, 2]
            await until(lambda: w.processed == 4)
            assert w.broker.numbers("b") == [1, 2]
    _, _, options = w.broker.published[0]
    assert (options.tags, options.delta, options.version) == ({"x": "y"}, True, 3)
    dropped = [r["place"] for r in records if r["event"] == "message dropped"]
    assert dropped == [f"topic {source.topic.name}, partition 0, offset {n}" for n in (1, 3)]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_records(source, tmp_path, codec):
    body = json.dumps({"method": "publish", "payload": publish(5)[1]}).encode()
    await asyncio.to_thread(source.topic.put, body, compression_type=codec)
    async with world(tmp_path, source.entry()) as w:
        assert await w.seen("ch", 1) == [5]


class Transaction:
    """A producer with a transaction: some records, and its end."""

    def __init__(self, source):
        self.topic = source.topic
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.topic.address, transactional_id=self.topic.name
        )

    async def __aenter__(self):
        await self.producer.start()
        return self

    async def __aexit__(self, *_):
        await self.producer.stop()

    async def put(self, n):
        body = json.dumps({"method": "publish", "payload": publish(n)[1]}).encode()
        await self.producer.send_and_wait(self.topic.name, body, partition=0)


async def test_only_what_is_committed_is_read(source, tmp_path):
    async with Transaction(source) as t, world(tmp_path, source.entry()) as w:
        await t.producer.begin_transaction()
        await t.put(0)
        await t.producer.abort_transaction()
        await t.producer.begin_transaction()
        await t.put(1)
        await asyncio.to_thread(source.put, publish(9, "beside"), partition=1)
        await w.seen("beside", 1)
        assert w.broker.numbers("ch") == []
        await t.producer.commit_transaction()
        assert await w.seen("ch", 1) == [1]


async def test_what_is_not_committed_may_be_read(source, tmp_path):
    async with (
        Transaction(source) as t,
        world(tmp_path, source.entry(fetch_read_uncommitted=True)) as w,
    ):
        await t.producer.begin_transaction()
        await t.put(0)
        assert await w.seen("ch", 1) == [0]
        await t.producer.abort_transaction()


async def test_a_new_group_reads_what_is_there(source, tmp_path):
    await asyncio.to_thread(source.put, *(publish(n) for n in range(3)))
    async with world(tmp_path, source.entry(consumer_group=f"{source.topic.group}-2")) as w:
        assert await w.seen("ch", 3) == [0, 1, 2]


async def test_several_topics(source, tmp_path):
    other = await asyncio.to_thread(Topic, source.server.address())
    entry = source.entry(topics=[source.topic.name, other.name])
    async with world(tmp_path, entry) as w:
        await asyncio.to_thread(source.put, publish(1))
        source.topic = other
        await asyncio.to_thread(source.put, publish(2, "other"))
        await w.seen("ch", 1)
        await w.seen("other", 1)


async def test_a_topic_that_is_made_later(source, tmp_path):
    """It is told once that it is missing, also while other topics are read."""
    name, there = f"{source.topic.name}-later", source.topic
    with capture_logs() as records:
        async with world(tmp_path, source.entry(topics=[there.name, name])) as w:
            await until(lambda: w.errors >= 1)
            await asyncio.to_thread(source.put, publish(0, "there"))
            await w.seen("there", 1)
            source.topic = await asyncio.to_thread(Topic, source.server.address(), name=name)
            await asyncio.to_thread(source.put, publish(1))
            assert await w.seen("ch", 1) == [1]
            await until(lambda: any(r["event"] == "consumer works again" for r in records))
    told = [r for r in records if r.get("loop") == "group"]
    assert [r["event"] for r in told] == [
        "consumer does not get on, and tries again",
        "consumer works again",
    ]
    assert told[0]["reason"] == f"Topic {name} not found in cluster metadata"


# -- limits


def kafka_of(world):
    """The consumer itself: its queues are looked at."""
    return world.consumer.start.__self__


async def test_a_partition_that_is_stuck_holds_so_many_records(source, tmp_path):
    entry = source.entry(partition_queue_max_size=20, max_poll_records=7)
    async with world(tmp_path, entry) as w:
        w.broker.down = True
        await asyncio.to_thread(source.put, *(publish(n) for n in range(500)))
        await until(lambda: w.broker.failures >= 2)
        (stuck,) = [p for p in kafka_of(w)._share.partitions.values() if p.place.partition == 0]
        await until(lambda: not stuck.hungry)
        w.broker.down = False
        await asyncio.to_thread(source.put, publish(0, "beside"), partition=1)
        await w.seen("beside", 1)
        assert await w.seen("ch", 500) == list(range(500))
        await all_done(source)


async def test_records_that_are_larger_than_a_fetch(source, tmp_path):
    large = {"channel": "ch", "data": {"n": 1, "x": "x" * 500_000}}
    async with world(tmp_path, source.entry(fetch_max_bytes=1000)) as w:
        await asyncio.to_thread(source.put, publish(0), ("publish", large), publish(2))
        assert await w.seen("ch", 3) == [0, 1, 2]


async def test_a_broker_that_says_nothing_is_passed_over(source, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        brokers = [f"127.0.0.1:{silent.getsockname()[1]}", source.server.address()]
        await works(source, tmp_path, brokers=brokers, dial_timeout="300ms")
