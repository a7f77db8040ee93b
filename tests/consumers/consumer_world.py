"""A node with one consumer, a source that it reads, and what came of its messages."""

import asyncio
import contextlib
import json

from waiting import until

from flyball.core.engine import Engine
from flyball.core.errors import EngineError, EngineRefusal
from flyball.core.memory import MemoryBroker
from flyball.core.node import Node
from flyball.protocol import codes
from flyball.server import build
from flyball.server.api.service import ApiService
from flyball.server.config import check, load_config
from flyball.server.consumers import ConsumerMetrics

NAME = "consumer"
BROKEN = ("broken", "never")
"""Channels that the broker fails in: now, and at all times."""


class Record(MemoryBroker):
    """A broker that notes what is published, and can fail."""

    def __init__(self):
        super().__init__()
        self.published = []
        """Channel, data and options of each publication, in order."""
        self.down = False
        """Nothing can be published."""
        self.failures = 0

    async def publish(self, channel, data, options):
        if channel == "never":
            raise EngineRefusal(codes.BAD_REQUEST, detail="no such channel can be")
        if self.down or channel == "broken":
            self.failures += 1
            raise EngineError("the store is away")
        self.published.append((channel, bytes(data), options))
        return await super().publish(channel, data, options)

    def numbers(self, channel):
        """The ``n`` of each publication into a channel, in order."""
        return [json.loads(data)["n"] for name, data, _ in self.published if name == channel]

    def channels(self):
        return [name for name, _, _ in self.published]


class Slow:
    """Holds the publications into a channel until it is told to let them go."""

    def __init__(self, world, channel):
        self.began = asyncio.Event()
        self.goes = asyncio.Event()
        self._publish = world.broker.publish
        self._channel = channel
        world.broker.publish = self

    async def __call__(self, channel, data, options):
        if channel == self._channel:
            self.began.set()
            await self.goes.wait()
        return await self._publish(channel, data, options)


class World:
    """Started by ``async with world(...)``."""

    def __init__(self, path, entry):
        path.write_text(json.dumps({"consumers": [{"name": NAME, "enabled": True, **entry}]}))
        config = load_config(path, environ={}).config
        check(config)
        self.broker = Record()
        self.node = Node(engine=Engine(self.broker), clients=False)
        self.api = ApiService(self.node, build.channel_rules(config))
        self.metrics = ConsumerMetrics()
        self.consumers = build.consumers(config, self.api, self.metrics)
        (self.consumer,) = self.consumers.components

    @property
    def processed(self):
        return self.metrics.processed[NAME]

    @property
    def errors(self):
        return self.metrics.errors[NAME]

    @property
    def problems(self):
        """What health tells of it."""
        return self.consumers.problems()

    async def seen(self, channel, count):
        """The numbers in a channel, when there are that many or more."""
        await until(
            lambda: len(self.broker.numbers(channel)) >= count,
            lambda: f"{count} in {channel}: {self.broker.numbers(channel)}",
        )
        return self.broker.numbers(channel)


@contextlib.asynccontextmanager
async def world(tmp_path, entry):
    """A consumer that runs."""
    found = World(tmp_path / "config.json", entry)
    await found.node.start()
    try:
        await found.consumer.start()
        yield found
    finally:
        await found.consumer.stop()
        await found.node.shutdown()


def publish(n, channel="ch", **more):
    """A publish command with a number."""
    return "publish", {"channel": channel, "data": {"n": n}, **more}


def told(error):
    """What a refused configuration says: keys with what is wrong, without the variables."""
    return "\n".join(f"{problem.key}: {problem.text}" for problem in error.problems)
