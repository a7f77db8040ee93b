"""What is remembered of broadcasts that were done in part."""

import json

import pytest
from consumer_world import Record

from flyball.core.engine import Engine
from flyball.core.node import Node
from flyball.server import build
from flyball.server.api.service import ApiService
from flyball.server.config import Config
from flyball.server.consumers import Commands, ConsumerMetrics
from flyball.server.consumers.base import Message
from flyball.server.consumers.errors import TryAgainError


@pytest.fixture
async def stage():
    broker = Record()
    node = Node(engine=Engine(broker), clients=False)
    await node.start()
    service = ApiService(node, build.channel_rules(Config()))
    yield broker, Commands("c", service, ConsumerMetrics())
    await node.shutdown()


def broadcast(*channels, n=1):
    body = {"method": "broadcast", "payload": {"channels": channels, "data": {"n": n}}}
    return Message(data=json.dumps(body).encode(), place="queue q, message 1")


async def test_the_next_attempt_is_for_the_rest(stage):
    broker, commands = stage
    for _ in range(2):
        with pytest.raises(TryAgainError):
            await commands.do(broadcast("a", "broken"))
    assert broker.channels() == ["a"]


async def test_another_message_at_the_same_place_goes_to_its_own_channels(stage):
    """A queue that is made anew gives its places again."""
    broker, commands = stage
    with pytest.raises(TryAgainError):
        await commands.do(broadcast("secret", "broken"))
    await commands.do(broadcast("a", "b", n=2))
    assert sorted(broker.channels()) == ["a", "b", "secret"]
