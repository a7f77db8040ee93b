"""Calls from other threads and event loops: refused where they would corrupt, and a way for them."""

import asyncio
import sys
import threading

import pytest
from waiting import PATIENCE

import flyball
from flyball.testing import TestClient, settle

CALLS = {
    "publish": lambda node: node.publish("x", 1),
    "history": lambda node: node.history("x"),
    "remove_history": lambda node: node.remove_history("x"),
    "presence": lambda node: node.presence("x"),
    "presence_stats": lambda node: node.presence_stats("x"),
    "channels": lambda node: node.channels(),
    "channels_page": lambda node: node.channels_page(),
    "subscribe_user": lambda node: node.subscribe_user("u", "x"),
    "unsubscribe_user": lambda node: node.unsubscribe_user("u", "x"),
    "disconnect_user": lambda node: node.disconnect_user("u"),
    "refresh_user": lambda node: node.refresh_user("u"),
    "connections": lambda node: node.connections(),
    "users": lambda node: node.users(),
    "channel_state": lambda node: node.channel_state("x"),
    "info": lambda node: node.info(),
    "survey": lambda node: node.survey("op", b""),
}
THREADSAFE = sorted(set(CALLS) - {"info", "survey"})


async def elsewhere(function, *arguments):
    """The result of a plain function on a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


@pytest.mark.parametrize("name", CALLS)
async def test_calls_from_another_loop_are_refused(node, name):
    def call():
        return asyncio.run(asyncio.wait_for(CALLS[name](node), PATIENCE))

    with pytest.raises(
        flyball.WrongLoopError, match=f"node.{name} was called outside .*threadsafe"
    ):
        await elsewhere(call)


async def test_calls_without_a_loop_are_refused(node):
    def call():
        with pytest.raises(flyball.WrongLoopError, match=r"node\.publish was called outside"):
            node.publish("x", 1).send(None)
        with pytest.raises(RuntimeError, match=r"node\.subscribe was called outside"):
            node.subscribe("x")

    await elsewhere(call)


async def test_a_node_that_does_not_run_is_in_nobodys_loop(clock):
    """Nothing else is under way then: data may be laid in before the start and after the end."""
    node = flyball.Node(clock=clock, clients=False)
    await elsewhere(lambda: asyncio.run(node.publish("x", 1)))
    async with node:
        pass
    await elsewhere(lambda: asyncio.run(node.publish("x", 1)))


@pytest.mark.parametrize("name", THREADSAFE)
async def test_every_operation_for_threads(node, name):
    client = TestClient(node)
    await client.connect("u")
    await client.subscribe("rec:x")
    calls = {
        "publish": lambda n: n.publish("rec:x", 1, history_size=1, history_ttl=9).offset,
        "history": lambda n: n.history("rec:x").position.offset,
        "remove_history": lambda n: n.remove_history("rec:x"),
        "presence": lambda n: dict(n.presence("rec:x")),
        "presence_stats": lambda n: n.presence_stats("rec:x").num_clients,
        "channels": lambda n: n.channels(),
        "channels_page": lambda n: [c.channel for c in n.channels_page().channels],
        "connections": lambda n: [c.user for c in n.connections(user="u").connections],
        "users": lambda n: [found.user for found in n.users().users],
        "channel_state": lambda n: n.channel_state("rec:x").num_clients,
        "subscribe_user": lambda n: n.subscribe_user("u", "y", recoverable=True),
        "unsubscribe_user": lambda n: n.unsubscribe_user("u", "rec:x"),
        "disconnect_user": lambda n: n.disconnect_user("u"),
        "refresh_user": lambda n: n.refresh_user("u", expire_at=node.clock.time() + 9),
    }
    results = {"publish": 1, "history": 0, "presence": {}, "presence_stats": 0}
    results |= {"channels": {"rec:x": 1}, "channels_page": ["rec:x"]}
    results |= {"connections": ["u"], "users": ["u"], "channel_state": 1}
    assert await elsewhere(calls[name], node.threadsafe) == results.get(name)
    await settle()
    if name == "disconnect_user":
        assert client.closed_code == 3503
    elif name == "publish" or name.endswith("_user"):
        (push,) = client.pushes
        pushed = {"publish": "pub", "refresh_user": "refresh"}.get(name, name.removesuffix("_user"))
        assert getattr(push, pushed) is not None


async def test_what_is_raised_arrives_in_the_thread(node):
    def call():
        with pytest.raises(flyball.ConfigError, match="publish needs a channel"):
            node.threadsafe.publish("", 1)

    await elsewhere(call)


async def test_the_nodes_own_thread_awaits(node):
    with pytest.raises(flyball.WrongLoopError, match=r"use `await node\.publish"):
        node.threadsafe.publish("x", 1)


def test_a_node_that_does_not_run():
    node = flyball.Node()
    with pytest.raises(flyball.WrongLoopError, match=r"threadsafe\.publish: the node does not run"):
        node.threadsafe.publish("x", 1)


async def test_a_loop_that_does_not_answer(node):
    told = threading.Event()

    def call():
        try:
            node.threadsafe.publish("x", 1)
        except TimeoutError as error:
            return error
        finally:
            told.set()

    node.threadsafe.timeout = 0.01
    thread = asyncio.get_running_loop().run_in_executor(None, call)
    told.wait()  # the loop stands still, as in a handler that never waits
    assert "did not answer within 0.01 s" in str(await thread)


async def test_a_timeout_of_the_work_itself(node, monkeypatch):
    async def history(channel, query):
        raise TimeoutError("the store is slow")

    monkeypatch.setattr(node.broker, "history", history)
    with pytest.raises(TimeoutError, match="the store is slow"):
        await elsewhere(node.threadsafe.history, "x")


async def test_a_node_that_is_stopped_meanwhile(node, monkeypatch):
    waits = asyncio.Event()

    async def history(channel, query):
        waits.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(node.broker, "history", history)
    thread = asyncio.get_running_loop().run_in_executor(None, node.threadsafe.history, "x")
    await waits.wait()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # as the end of asyncio.run does
    with pytest.raises(flyball.WrongLoopError, match="the node was stopped"):
        await thread


async def test_a_thousand_publications_from_threads(node):
    """Threads that change at every turn, and an auditor that counts."""
    per_thread, threads = 250, 4
    seen = []

    async def audit():
        async with node.subscribe("rec:audit") as reader:
            ready.set()
            async for publication in reader:
                seen.append((publication.offset, bytes(publication.data)))
                if len(seen) == per_thread * threads:
                    return

    def publish(number):
        for i in range(per_thread):
            node.threadsafe.publish("rec:audit", f"{number}:{i}", history_size=9, history_ttl=60)

    ready = asyncio.Event()
    auditor = asyncio.create_task(audit())
    await ready.wait()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        await asyncio.gather(*(elsewhere(publish, number) for number in range(threads)))
        await auditor
    finally:
        sys.setswitchinterval(interval)
    assert [offset for offset, _ in seen] == list(range(1, 1001))
    assert len({data for _, data in seen}) == 1000
    for number in range(threads):
        own = [data for _, data in seen if data.startswith(b'"%d:' % number)]
        assert own == [b'"%d:%d"' % (number, i) for i in range(per_thread)]
