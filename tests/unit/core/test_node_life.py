"""Start and shutdown: symmetrical, whatever fails, as often as one likes, in any event loop."""

import asyncio
import os

import pytest
from core_harness import Wire

import flyball
from flyball.core.broker import Controller, PresenceManager
from flyball.core.errors import Disconnect
from flyball.core.memory import MemoryBroker, MemoryPresenceManager
from flyball.core.node import Node
from flyball.testing import TestClient, settle


class Part:
    """A part of an engine that writes down what happens to it, and fails if the test says so."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.calls = []
        self.failing = {}

    def note(self, name):
        self.calls.append(name)
        if name in self.failing:
            raise self.failing[name]


class TrackedBroker(Part, MemoryBroker):
    async def start(self, events):
        self.note("start")
        await super().start(events)

    async def close(self):
        await super().close()
        self.note("close")


class TrackedPresence(Part, MemoryPresenceManager):
    async def start(self):
        self.note("start")
        await super().start()

    async def close(self):
        await super().close()
        self.note("close")


class TrackedController(Part, Controller):
    async def start(self, events, node_id):
        self.note("start")

    async def publish_control(self, message, node_id=""):
        self.note("publish")

    async def close(self):
        self.note("close")


@pytest.fixture
def parts(clock):
    return TrackedBroker(clock), TrackedPresence(clock), TrackedController()


@pytest.fixture
def node(clock, parts):
    broker, presence, controller = parts
    node = Node(clock=clock, broker=broker, presence_manager=presence, controller=controller)
    open_doors(node)
    return node


def open_doors(node):
    node.on_connecting(lambda event: flyball.Credentials(user="ann"))
    node.on_subscribe(lambda event: flyball.SubscribeOptions(recoverable=True, presence=True))


async def follow(node):
    """A client that hears what is published."""
    client = TestClient(node)
    await client.connect()
    await client.subscribe("news")
    await node.publish("news", 1, history_size=5, history_ttl=60)
    assert len(client.take_publications("news")) == 1
    assert len(await node.presence("news")) == 1
    return client


async def test_a_node_can_be_started_again(node, clock):
    for _ in range(3):
        async with node:
            client = await follow(node)
            assert node.running
            assert not node.shutting_down
        assert client.closed_code == 3001
        assert not node.running
        assert node.shutting_down
        assert clock.pending == 0
        assert not node.hub.sessions
        assert not node.tasks


async def test_what_is_kept_in_memory_ends_with_the_run(node):
    async with node:
        await follow(node)
    async with node:
        assert await node.presence("news") == {}
        assert (await node.history("news")).publications == []


def test_in_another_event_loop(node):
    async def live():
        async with node:
            await follow(node)

    for _ in range(3):
        asyncio.run(live())
    assert not node.running


def test_a_loop_that_was_closed_without_shutdown_is_left_behind(node, parts, caplog):
    async def live():
        await node.start()
        return await follow(node)

    for _ in range(3):
        asyncio.run(live())
    assert "closed without node.shutdown()" in caplog.text
    assert sum(node.metrics.subscriptions_inflight.values()) == 1
    assert set(node.metrics.connections_inflight.values()) == {1}
    assert [part.calls.count("close") for part in parts] == [2, 2, 2]
    assert node.hub.num_clients == 1
    for part in parts:
        part.failing["close"] = OSError("its loop is gone")
    asyncio.run(live())
    assert node.hub.num_clients == 1
    assert "its loop is gone" in caplog.text


def test_shutdown_in_another_loop_than_the_one_that_is_gone(node, parts):
    asyncio.run(node.start())
    asyncio.run(node.shutdown())
    assert not node.running
    assert all("close" in part.calls for part in parts)
    asyncio.run(node.start())
    assert node.running


def test_not_in_two_loops_at_once(node):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(node.start())
    with pytest.raises(RuntimeError, match="runs in another event loop"):
        asyncio.run(node.start())
    with pytest.raises(RuntimeError, match="runs in another event loop"):
        asyncio.run(node.shutdown())
    assert node.running
    loop.run_until_complete(node.shutdown())
    loop.close()
    asyncio.run(node.start())
    assert node.running


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("error", [flyball.ConfigError("no such store"), OSError("refused")])
async def test_a_failed_start_leaves_the_node_stopped(node, clock, parts, failing, error):
    early = Wire(node)
    parts[failing].failing["start"] = error
    with pytest.raises(type(error)):
        await node.start()
    assert not node.running
    assert early.closed_by == 3001
    assert [part.calls.count("close") for part in parts] == [1, 1, 1]
    assert "publish" not in parts[2].calls
    assert clock.pending == 0
    del parts[failing].failing["start"]
    async with node:
        await follow(node)


async def test_a_cancelled_start_leaves_the_node_stopped(clock):
    class Slow(MemoryBroker):
        async def start(self, events):
            await asyncio.Event().wait()

    node = Node(clock=clock, broker=Slow(clock), clients=False)
    starting = asyncio.ensure_future(node.start())
    await settle()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not node.running


async def test_several_starts_and_shutdowns_at_once(node, parts):
    await asyncio.gather(*(node.start() for _ in range(3)))
    await node.start()
    assert [part.calls.count("start") for part in parts] == [1, 1, 1]
    await asyncio.gather(*(node.shutdown() for _ in range(3)))
    await node.shutdown()
    assert [part.calls.count("close") for part in parts] == [1, 1, 1]


async def test_who_waits_for_a_start_that_fails_tries_again(clock):
    gate = asyncio.Event()
    errors = [OSError("refused")]

    class Slow(MemoryBroker):
        async def start(self, events):
            await gate.wait()
            if errors:
                raise errors.pop()
            await super().start(events)

    node = Node(clock=clock, broker=Slow(clock), clients=False)
    first, second, third = (asyncio.ensure_future(node.start()) for _ in range(3))
    await settle()
    gate.set()
    with pytest.raises(OSError):
        await first
    await second
    await third
    assert node.running
    await node.shutdown()


async def test_a_shutdown_takes_every_step(node, clock, parts):
    await node.start()
    client = await follow(node)
    for part in parts:
        part.failing["close"] = OSError("cannot close")
    parts[2].failing["publish"] = OSError("cannot tell")
    with pytest.raises(OSError, match="cannot tell"):
        await node.shutdown()
    assert client.closed_code == 3001
    assert [part.calls.count("close") for part in parts] == [1, 1, 1]
    assert not node.running
    for part in parts:
        part.failing.clear()
    async with node:
        await follow(node)


async def test_shutdown_of_a_node_that_never_ran(node, parts):
    early = Wire(node)
    await node.shutdown()
    assert early.closed_by == 3001
    assert [part.calls for part in parts] == [["close"], ["close"], ["close"]]


async def test_connections_to_a_stopped_node_are_refused(node):
    async with node:
        pass
    late = Wire(node)
    await settle()
    assert late.closed_by == 3001


async def test_presence_managers_need_nothing_to_start():
    class Plain(PresenceManager):
        async def add_presence(self, channel, client_id, info):
            pass

        async def remove_presence(self, channel, client_id, user):
            pass

        async def presence(self, channel):
            return {}

        async def presence_stats(self, channel):
            return flyball.PresenceStats(0, 0)

        async def close(self):
            pass

    async with Node(presence_manager=Plain(), clients=False) as node:
        assert await node.presence("news") == {}


class TestEnds:
    """Whatever fails while a session is being ended, its transport is closed."""

    async def test_a_failing_push(self, node, caplog):
        async with node:
            wire = Wire(node, disconnect_push=True)
            wire.connect()
            wire.framing = None  # nothing can be encoded any more
            wire.session.disconnect(Disconnect(4000, "bye"))
            assert wire.closed_by == 4000
            assert wire.session.closed
        assert "went wrong" in caplog.text

    async def test_a_failing_close(self, node, caplog):
        class Fragile(Wire):
            def _close(self, disconnect):
                if disconnect.code == 4000:
                    raise ValueError("no frame can carry this")
                super()._close(disconnect)

        async with node:
            wire = Fragile(node)
            wire.connect()
            wire.session.disconnect(Disconnect(4000, "bye"))
            assert wire.closed_by == 3004
            assert not node.hub.sessions
        assert "no frame can carry this" in caplog.text


async def test_a_node_without_a_door_refuses_to_start(clock):
    node = Node(clock=clock)
    with pytest.raises(
        flyball.ConfigError, match=r"no on_connecting handler[^@]+@node.on_connecting\n"
    ):
        await node.start()
    assert not node.running
    node.on_connecting(lambda event: flyball.Credentials("ann"))
    async with node:
        assert node.running


async def test_a_node_made_before_a_fork_is_another_one(monkeypatch):
    """``gunicorn --preload``: workers with one id would take each other's messages for their own."""
    node = flyball.Node(clients=False)
    made = node.id
    async with node:
        assert node.id == made
    monkeypatch.setattr(os, "getpid", lambda: -1)
    async with node:
        assert node.id != made
        (known,) = await node.info()
        assert known.uid == node.id
        assert (await node.connections()).total == 0
