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


class PostgresSource:
    """An outbox."""

    partitions = 2

    def __init__(self):
        self.server = PostgresServer("path")
        self.server.ask(TABLE)

    def entry(self, **options):
        """The entry of ``consumers``, without its name."""
        section = {"dsn": self.server.url, "outbox_table_name": "outbox", "num_partitions": 2}
        section["partition_poll_interval"] = "20ms"
        return {"type": "postgresql", "postgresql": {**section, **options}}

    def put(self, *commands, partition=0):
        """Writes commands, of one transaction."""
        rows = ",".join(
            f"($a${method}$a$, $a${json.dumps(payload)}$a$, {partition})"
            for method, payload in commands
        )
        self.server.ask(f"INSERT INTO outbox (method, payload, partition) VALUES {rows}")

    def put_malformed(self):
        """Writes what no command can be."""
        self.put(("publish", ["no", "request"]))

    def left(self):
        """Messages that are not done."""
        return int(self.server.ask("SELECT count(*) FROM outbox"))

    def clear(self):
        """As it was at the beginning."""
        self.server.ask("TRUNCATE outbox")

    def kill(self):
        self.server.kill()

    def start(self):
        self.server.start()

    def stop(self):
        self.server.stop()


class KafkaSource:
    """A topic, a new one for each test."""

    partitions = 2

    def __init__(self):
        self.server = KafkaServer()
        self.clear()
        self.left()  # a cluster makes what it keeps of groups when the first one asks

    def entry(self, **options):
        """The entry of ``consumers``, without its name."""
        section = {"brokers": [self.server.address()], "topics": [self.topic.name]}
        section |= {"consumer_group": self.topic.group, "fetch_max_wait": "50ms"}
        return {"type": "kafka", "kafka": {**section, **options}}

    def put(self, *commands, partition=0):
        """Writes commands, each as an envelope."""
        self.topic.put(
            *(json.dumps({"method": m, "payload": p}).encode() for m, p in commands),
            partition=partition,
        )

    def put_malformed(self):
        """Writes what no command can be."""
        self.topic.put(b"no JSON")

    def left(self):
        """Messages that are not done."""
        return self.topic.left()

    def clear(self):
        """As it was at the beginning."""
        self.topic = Topic(self.server.address(), self.partitions)

    def kill(self):
        self.server.kill()

    def start(self):
        self.server.start()

    def stop(self):
        self.server.stop()


class RedisSource:
    """Two streams."""

    partitions = 2
    streams = ("first", "second")
    group = "flyball"

    def __init__(self):
        self.server = RedisServer("redis", "--appendonly", "yes", "--appendfsync", "always")

    def entry(self, **options):
        section = {"address": [self.server.url], "io_timeout": "2s", "consumer_group": self.group}
        section |= {"streams": list(self.streams), "visibility_timeout": "2s"}
        return {"type": "redis_stream", "redis_stream": {**section, **options}}

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

    def kill(self):
        self.server.kill()

    def start(self):
        self.server.start()

    def stop(self):
        self.server.stop()


class NatsSource:
    """A stream with a durable consumer."""

    partitions = 1
    stream, durable = "commands", "flyball"

    def __init__(self, kind="any", config=""):
        self.server = NatsServer(config, jetstream=True, kind=kind)

    def entry(self, **options):
        section = {"url": self.server.url, "stream_name": self.stream, "deliver_policy": "all"}
        section["durable_consumer_name"] = self.durable
        return {"type": "nats_jetstream", "nats_jetstream": {**section, **options}}

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

    def kill(self):
        self.server.kill()

    def start(self):
        self.server.start()
        # It listens before it has its streams.
        self.js(lambda js: js.stream_info(self.stream))

    def stop(self):
        self.server.stop()


class SqsSource:
    """A FIFO queue; its groups are the partitions."""

    partitions = 2
    environment = ENVIRONMENT

    def __init__(self):
        self.server = SqsServer()
        self.clear, self.left = self.server.clear, self.server.left
        self.kill, self.start, self.stop = self.server.kill, self.server.start, self.server.stop

    def entry(self, **options):
        section = {"queues": [self.server.url], "localstack_endpoint": self.server.endpoint}
        section |= {"region": REGION, "wait_time_time": "5s", "visibility_timeout": "1s"}
        return {"type": "aws_sqs", "aws_sqs": {**section, **options}}

    def put(self, *commands, partition=0):
        messages = [(json.dumps(p), {"centrifugo-method": method}) for method, p in commands]
        self.server.put(messages, group=f"group {partition}")

    def put_malformed(self):
        self.put(("publish", ["no", "request"]))


class PubSubSource:
    """A subscription; its ordering keys are the partitions."""

    partitions = 2

    def __init__(self):
        self.server = PubSubServer()
        self.environment = {"PUBSUB_EMULATOR_HOST": self.server.host}
        self.clear, self.left = self.server.clear, self.server.left
        self.kill, self.start, self.stop = self.server.kill, self.server.start, self.server.stop

    def entry(self, **options):
        section = {"project_id": PROJECT, "subscriptions": [SUBSCRIPTION], **options}
        return {"type": "google_pub_sub", "google_pub_sub": section}

    def put(self, *commands, partition=0):
        messages = [(json.dumps(p).encode(), {"centrifugo-method": m}) for m, p in commands]
        self.server.put(messages, key=f"key {partition}")

    def put_malformed(self):
        self.put(("publish", ["no", "request"]))


class ServiceBusSource:
    """A queue with sessions, which are the partitions."""

    partitions = 2

    def __init__(self):
        self.server = BusServer()
        self.clear, self.left = self.server.clear, self.server.left
        self.kill, self.start, self.stop = self.server.kill, self.server.start, self.server.stop

    def entry(self, **options):
        section = {"connection_string": self.server.connection_string, "queues": ["commands"]}
        section |= {"use_sessions": True, "max_concurrent_calls": 2, "max_receive_messages": 10}
        return {"type": "azure_service_bus", "azure_service_bus": {**section, **options}}

    def put(self, *commands, partition=0):
        messages = [(json.dumps(p), {"centrifugo-method": method}) for method, p in commands]
        self.server.put(messages, session=f"session {partition}")

    def put_malformed(self):
        self.put(("publish", ["no", "request"]))


SOURCES = {
    "postgresql": PostgresSource,
    "kafka": KafkaSource,
    "redis_stream": RedisSource,
    "nats_jetstream": NatsSource,
    "google_pub_sub": PubSubSource,
    "aws_sqs": SqsSource,
    "azure_service_bus": ServiceBusSource,
}
