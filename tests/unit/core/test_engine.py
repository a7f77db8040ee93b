"""The engine as a bundle: what it is made of, its trouble, and what the log hears of that."""

import logging

import pytest

from flyball.core.engine import Engine, EngineFaults
from flyball.core.errors import EngineError
from flyball.core.memory import MemoryBroker, MemoryPresenceManager
from flyball.core.node import Node
from flyball.core.types import PublishOptions, payload
from flyball.testing import ControlBus, ControlledBroker, TestClock


class Down(MemoryBroker):
    problem = "the store is away"


class PresenceDown(MemoryPresenceManager):
    problem = "the store is away"


def test_a_node_takes_the_parts_of_its_engine():
    broker, presence = MemoryBroker(), MemoryPresenceManager()
    controller = ControlBus().controller()
    node = Node(engine=Engine(broker, presence, controller))
    assert (node.broker, node.presence_manager, node.controller) == (broker, presence, controller)


def test_what_an_engine_has_not_is_taken_from_memory():
    node = Node(engine=Engine(presence_manager=MemoryPresenceManager()))
    assert type(node.broker) is MemoryBroker
    assert node.controller is None


def test_parts_may_be_given_in_place_of_the_engines():
    mine = MemoryBroker()
    assert Node(engine=Engine(MemoryBroker()), broker=mine).broker is mine


def test_problems_are_told_once():
    assert Engine().problems() == []
    assert Node(engine=Engine(Down(), PresenceDown())).problems() == ["the store is away"]
    assert Node().problems() == []


async def test_a_lost_link_is_counted_and_told(caplog):
    broker = ControlledBroker(TestClock())
    async with Node(broker=broker, clients=False) as node:
        broker.inner._events.on_broker_lost("no route")
        assert node.problems() == ["no route"]
        assert node.metrics.broker_losses == 1
        broker.restore()
        assert node.problems() == []
    assert [r.getMessage() for r in caplog.records] == [
        "the link to the broker is lost: no route",
        "the link to the broker is back: all positions are checked",
    ]


def test_errors_of_an_engine_are_one_line_a_second(caplog):
    now = 0.0
    faults = EngineFaults("redis", lambda: now)
    for _ in range(3):
        error = faults.error("no answer")
    assert (error.code, error.temporary, error.detail) == (100, True, "no answer")
    assert faults.failed == 3
    now = 1.0
    with pytest.raises(EngineError, match="100 internal server error: gone"):
        raise faults.error("gone")
    assert [r.getMessage() for r in caplog.records] == [
        "redis: no answer",
        "redis: gone (and 2 more before)",
    ]
    assert all(r.levelno == logging.ERROR and not r.exc_info for r in caplog.records)


async def test_a_broker_may_be_opened_to_publish_alone():
    broker = MemoryBroker()
    await broker.open_to_publish()
    kept = PublishOptions(history_size=1, history_ttl=60)
    assert (await broker.publish("ch", payload(b"1"), kept)).offset == 1
    await broker.close()
