"""Whatever happens to Tarantool or a node: nothing is lost in silence, health tells, all recovers."""

import asyncio

import pytest
from fault_world import (
    ROUNDS,
    Nodes,
    Toxic,
    audited,
    clocks_differ,
    nodes_are_killed,
    progress,
    tarantool_sections,
    the_network_breaks,
)
from tarantoolserver import TarantoolServer
from waiting import until, wait_for

from flyball.engines.tarantool import parse_address
from flyball.engines.tarantool.setup import set_up

NO_ROOM = "Failed to write to disk"
USERS = """
box.schema.user.create('boss', {if_not_exists = true, password = 'secret'})
box.schema.user.grant('boss', 'super', nil, nil, {if_not_exists = true})
box.schema.user.create('node', {if_not_exists = true, password = 'word'})
"""


@pytest.fixture
def tarantool():
    server = TarantoolServer()
    yield server
    server.stop()


@pytest.fixture
def nodes(tarantool):
    """Three nodes that start at the same time on a server that knows no module yet."""
    found = Nodes(sections=tarantool_sections(tarantool.url))
    yield found
    found.stop()


async def test_tarantool_is_killed(tarantool, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            tarantool.kill()
            await nodes.all_health(503)
            await asyncio.to_thread(tarantool.start)
            await nodes.all_health(200)
            await progress(auditor)


async def test_tarantool_stands_still(tarantool, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            await asyncio.to_thread(tarantool.pause)
            await nodes.all_health(503)
            tarantool.resume()
            await nodes.all_health(200)
            await progress(auditor)


async def test_all_that_it_keeps_is_gone(tarantool, nodes):
    """The module too: the nodes install it again, for the guest may do anything here."""
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            tarantool.kill()
            await asyncio.to_thread(tarantool.forget)
            await nodes.all_health(503)
            await asyncio.to_thread(tarantool.start)
            await nodes.all_health(200)
            await progress(auditor)


async def test_streams_are_emptied(tarantool, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            for name in ("streams", "publications"):
                await asyncio.to_thread(tarantool.run, f"box.space.flyball_{name}:truncate()")
            await progress(auditor)


async def test_links_are_ended(tarantool, nodes):
    """The server stops to listen, and its connections are cut by a module that is replaced."""
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            replace = "box.space.flyball_module:replace(box.space.flyball_module:get(1))"
            await asyncio.to_thread(tarantool.run, replace)
            await progress(auditor)


async def test_memory_is_full_for_a_while(tarantool, nodes):
    fill = """
    box.schema.space.create('ballast', {if_not_exists = true}):create_index('i', {if_not_exists = true})
    local text, n = string.rep('x', 500000), 0
    while pcall(box.space.ballast.replace, box.space.ballast, {n, text}) do
        n = n + 1
        if n % 8 == 0 then require('fiber').yield() end
    end
    text = string.rep('x', 2000)
    while pcall(box.space.ballast.replace, box.space.ballast, {n, text}) do n = n + 1 end
    text = 'x'
    while pcall(box.space.ballast.replace, box.space.ballast, {n, text}) do n = n + 1 end
    """
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            await asyncio.to_thread(tarantool.run, fill)
            refused = nodes.output().count("Failed to allocate")
            await until(lambda n=refused: nodes.output().count("Failed to allocate") > n)
            await asyncio.to_thread(tarantool.run, "box.space.ballast:drop()")
            await progress(auditor)


async def test_the_disk_is_full_for_a_while(tarantool, nodes):
    """What was taken back may have been read, and must not count."""
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            refused = tarantool.program.output.count(NO_ROOM)
            tarantool.fill_disk()
            await until(lambda n=refused: tarantool.program.output.count(NO_ROOM) >= n + 20)
            tarantool.free_disk()
            await progress(auditor)


@pytest.fixture
async def guarded():
    """A server on which nodes may do nothing but call the module."""
    server = await asyncio.to_thread(TarantoolServer, setup=USERS, guest=False)
    await install(server)
    yield server
    server.stop()


async def install(server):
    address = f"tcp://boss:secret@127.0.0.1:{server.port}"
    await set_up(parse_address(address), user="node")


@pytest.fixture
async def ruled(guarded):
    sections = tarantool_sections(guarded.url, user="node", password="word")
    found = await asyncio.to_thread(Nodes, sections=sections)
    yield found
    found.stop()


async def test_the_password_is_another_for_a_while(guarded, ruled):
    async with audited(ruled) as auditor:
        for _ in range(ROUNDS):
            await asyncio.to_thread(guarded.run, "box.schema.user.passwd('node', 'other')")
            guarded.kill()
            await asyncio.to_thread(guarded.start)
            await ruled.all_health(503)
            await asyncio.to_thread(guarded.run, "box.schema.user.passwd('node', 'word')")
            await ruled.all_health(200)
            await progress(auditor)


async def test_the_module_is_missing_for_a_while(guarded, ruled):
    async with audited(ruled) as auditor:
        for _ in range(ROUNDS):
            guarded.kill()
            await asyncio.to_thread(guarded.forget)
            await asyncio.to_thread(guarded.start)
            await ruled.all_health(503)
            await install(guarded)
            await ruled.all_health(200)
            await progress(auditor)


async def test_a_node_is_killed(nodes):
    await nodes_are_killed(nodes)


async def test_the_network_breaks(tarantool):
    await the_network_breaks(tarantool.port, lambda port: tarantool_sections(f"127.0.0.1:{port}"))


def follow(port):
    """Options of a follower of the server at ``port``."""
    return {
        "read_only": "true",
        "replication": f"'guest@127.0.0.1:{port}'",
        "replication_timeout": "0.5",
        "replication_connect_quorum": "0",
    }


def in_step(leader, follower):
    """Returns when the follower has all that the leader has."""
    ask = "return box.info.signature"
    wait_for(lambda: leader.run(ask) == follower.run(ask), "copy")


async def test_a_follower_takes_over():
    leader = await asyncio.to_thread(TarantoolServer)
    follower = await asyncio.to_thread(TarantoolServer, follow(leader.port))
    sections = tarantool_sections(
        f"127.0.0.1:{leader.port},127.0.0.1:{follower.port}", mode="leader-follower"
    )
    nodes = None
    try:
        nodes = await asyncio.to_thread(Nodes, sections=sections)
        async with audited(nodes) as auditor:
            for number in range(ROUNDS):
                if number % 2:  # by order
                    await asyncio.to_thread(leader.run, "box.cfg{read_only = true}")
                    await asyncio.to_thread(in_step, leader, follower)
                leader.kill()
                await nodes.all_health(503)
                await asyncio.to_thread(
                    follower.run, "box.cfg{replication = {}, read_only = false}"
                )
                await nodes.all_health(200)
                await progress(auditor)
                await asyncio.to_thread(leader.forget)
                leader.cfg = follow(follower.port)
                await asyncio.to_thread(leader.start)
                leader, follower = follower, leader
                await progress(auditor)
    finally:
        if nodes is not None:
            nodes.stop()
        leader.stop()
        follower.stop()


async def test_a_follower_that_lags_takes_over():
    """The last publications are gone, their offsets given anew: nobody may miss that."""
    leader = await asyncio.to_thread(TarantoolServer)
    behind = await Toxic(leader.port).start()
    follower = await asyncio.to_thread(TarantoolServer, follow(behind.port))
    sections = tarantool_sections(
        f"127.0.0.1:{leader.port},127.0.0.1:{follower.port}", mode="leader-follower"
    )
    nodes = None
    try:
        nodes = await asyncio.to_thread(Nodes, sections=sections)
        async with audited(nodes) as auditor:
            for _ in range(ROUNDS):
                await progress(auditor)
                behind.blocked.clear()
                await progress(auditor, 30)
                leader.kill()
                await asyncio.to_thread(
                    follower.run, "box.cfg{replication = {}, read_only = false}"
                )
                behind.cut()
                behind.blocked.set()
                await nodes.all_health(200)
                await progress(auditor)
                await asyncio.to_thread(leader.forget)
                behind.target = follower.port
                leader.cfg = follow(behind.port)
                await asyncio.to_thread(leader.start)
                leader, follower = follower, leader
    finally:
        if nodes is not None:
            nodes.stop()
        await behind.stop()
        leader.stop()
        follower.stop()


async def test_clocks_differ(tarantool):
    await clocks_differ(tarantool_sections(tarantool.url, presence_ttl="5s"))
