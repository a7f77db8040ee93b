"""Sources for the contract: a real server each, with the same few abilities."""

import asyncio
import contextlib
import json

import nats
from kafkaclient import Topic
from kafkaserver import KafkaServer
from nats.js.errors import NotFoundError
from natsserver import NatsServer
from postgres import PostgresServer
from pubsubserver import PROJECT, SUBSCRIPTION, PubSubServer
from redisservers import RedisServer
from servicebusserver import BusServer
from sqsserver import ENVIRONMENT, REGION, SqsServer

import flyball.server.consumers.nats
import flyball.server.consumers.pubsub
import flyball.server.consumers.redis
import flyball.server.consumers.servicebus
import flyball.server.consumers.sqs  # noqa: F401 - a server imports it before it serves

TABLE = """
CREATE TABLE outbox (
    id BIGSERIAL PRIMARY KEY,
    method text NOT NULL,
    payload JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    partition INTEGER NOT NULL DEFAULT 0
);
"""


class Source:
    """A source that runs, and whatever tests do with it.

    Those that follow have a ``kind``, the type of a consumer, a ``server``, ``partitions``, some an
    ``environment`` by which servers find their way, and they say what is different with them.
    """

    def entry(self, **options):
        """The entry of ``consumers``, without its name."""
        return {"type": self.kind, self.kind: {**self.section(), **options}}

    def put_malformed(self):
        """Writes what no command can be."""
        self.put(("publish", ["no", "request"]))

    def left(self):
        """Messages that are not done."""
        return self.server.left()

    def clear(self):
        """As it was at the beginning."""
        self.server.clear()

    def kill(self):
        self.server.kill()

    def start(self):
        self.server.start()

    def stop(self):
        self.server.stop()


class PostgresSource(Source):
    """An outbox."""

    kind = "postgresql"
    partitions = 2

    def __init__(self):
        self.server = PostgresServer("path")
        self.server.ask(TABLE)

    def section(self):
        section = {"dsn": self.server.url, "outbox_table_name": "outbox", "num_partitions": 2}
        return {**section, "partition_poll_interval": "20ms"}

    def put(self, *commands, partition=0):
        """Writes commands, of one transaction."""
        rows = ",".join(
            f"($a${method}$a$, $a${json.dumps(payload)}$a$, {partition})"
            for method, payload in commands
        )
        self.server.ask(f"INSERT INTO outbox (method, payload, partition) VALUES {rows}")

    def left(self):
        return int(self.server.ask("SELECT count(*) FROM outbox"))

    def clear(self):
        self.server.ask("TRUNCATE outbox")


class KafkaSource(Source):
    """A topic, a new one for each test."""

    kind = "kafka"
    partitions = 2

    def __init__(self):
        self.server = KafkaServer()
        self.clear()
        self.left()  # a cluster makes what it keeps of groups when the first one asks

    def section(self):
        section = {"brokers": [self.server.address()], "topics": [self.topic.name]}
        return section | {"consumer_group": self.topic.group, "fetch_max_wait": "50ms"}

    def put(self, *commands, partition=0):
        """Writes commands, each as an envelope."""
        self.topic.put(
            *(json.dumps({"method": m, "payload": p}).encode() for m, p in commands),
            partition=partition,
        )

    def put_malformed(self):
        self.topic.put(b"no JSON")

    def left(self):
        return self.topic.left()

    def clear(self):
        self.topic = Topic(self.server.address(), self.partitions)


class RedisSource(Source):
    """Two streams."""

    kind = "redis_stream"
    partitions = 2
    streams = ("first", "second")
    group = "flyball"

    def __init__(self):
        self.server = RedisServer("redis", "--appendonly", "yes", "--appendfsync", "always")

    def section(self):
        section = {"address": [self.server.url], "io_timeout": "2s", "consumer_group": self.group}
        return section | {"streams": list(self.streams), "visibility_timeout": "2s"}

    def put(self, *commands, partition=0):
        for method, payload in commands:
            self.add("method", method, "payload", json.dumps(payload), partition=partition)

    def put_malformed(self):
        self.add("method", "publish", "payload", "{")

    def add(self, *fields, partition=0):
        """Adds an entry with these fields."""
        return self.server.ask("XADD", self.streams[partition], "*", *fields)

    def left(self):
        return sum(map(self.left_in, self.streams))

    def left_in(self, stream):
        """Entries that were not read, and those that are pending."""
        found = self.server.ask("XINFO", "GROUPS", stream)[0]
        group = dict(zip(found[::2], found[1::2], strict=True))
        new = self.server.ask("XRANGE", stream, b"(" + group[b"last-delivered-id"], "+")
        return len(new) + group[b"pending"]

    def clear(self):
        self.server.ask("FLUSHALL")
        for stream in self.streams:
            self.server.ask("XGROUP", "CREATE", stream, self.group, "0", "MKSTREAM")


class NatsSource(Source):
    """A stream with a durable consumer."""

    kind = "nats_jetstream"
    partitions = 1
    stream, durable = "commands", "flyball"

    def __init__(self, kind="any", config=""):
        self.server = NatsServer(config, jetstream=True, kind=kind)

    def section(self):
        section = {"url": self.server.url, "stream_name": self.stream, "deliver_policy": "all"}
        return {**section, "durable_consumer_name": self.durable}

    def put(self, *commands, partition=0):
        async def work(js):
            for method, payload in commands:
                headers = {"centrifugo-method": method}
                await js.publish("commands.a", json.dumps(payload).encode(), headers=headers)

        self.js(work)

    def put_malformed(self):
        self.add(b"{", {"centrifugo-method": "publish"})

    def add(self, data, headers=None, subject="commands.a"):
        """Adds a message."""
        self.js(lambda js: js.publish(subject, data, headers=headers))

    def left(self):
        """Messages that were not given out, and those that are not acknowledged."""
        info = self.js(lambda js: js.consumer_info(self.stream, self.durable))
        return info.num_pending + info.num_ack_pending

    def clear(self):
        async def work(js):
            with contextlib.suppress(NotFoundError):
                await js.delete_stream(self.stream)
            await js.add_stream(name=self.stream, subjects=["commands.>"])

        self.js(work)

    def js(self, work, **options):
        """What ``await work(js)`` gives."""

        async def run():
            client = await nats.connect(self.server.url, **options)
            try:
                return await work(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(run())

    def start(self):
        super().start()
        # It listens before it has its streams.
        self.js(lambda js: js.stream_info(self.stream))


class SqsSource(Source):
    """A FIFO queue; its groups are the partitions."""

    kind = "aws_sqs"
    partitions = 2
    environment = ENVIRONMENT

    def __init__(self):
        self.server = SqsServer()

    def section(self):
        section = {"queues": [self.server.url], "localstack_endpoint": self.server.endpoint}
        return section | {"region": REGION, "wait_time_time": "5s", "visibility_timeout": "1s"}

    def put(self, *commands, partition=0):
        messages = [(json.dumps(p), {"centrifugo-method": method}) for method, p in commands]
        self.server.put(messages, group=f"group {partition}")


class PubSubSource(Source):
    """A subscription; its ordering keys are the partitions."""

    kind = "google_pub_sub"
    partitions = 2

    def __init__(self):
        self.server = PubSubServer()
        self.environment = {"PUBSUB_EMULATOR_HOST": self.server.host}

    def section(self):
        return {"project_id": PROJECT, "subscriptions": [SUBSCRIPTION]}

    def put(self, *commands, partition=0):
        messages = [(json.dumps(p).encode(), {"centrifugo-method": m}) for m, p in commands]
        self.server.put(messages, key=f"key {partition}")


class ServiceBusSource(Source):
    """A queue with sessions, which are the partitions."""

    kind = "azure_service_bus"
    partitions = 2

    def __init__(self):
        self.server = BusServer()

    def section(self):
        section = {"connection_string": self.server.connection_string, "queues": ["commands"]}
        return section | {
            "use_sessions": True,
            "max_concurrent_calls": 2,
            "max_receive_messages": 10,
        }

    def put(self, *commands, partition=0):
        messages = [(json.dumps(p), {"centrifugo-method": method}) for method, p in commands]
        self.server.put(messages, session=f"session {partition}")


SOURCES = {source.kind: source for source in Source.__subclasses__()}
