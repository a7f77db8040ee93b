"""Whatever happens to NATS with JetStream or a node: nothing is lost in silence, all recovers."""

import asyncio

import pytest
from fault_world import (
    ROUNDS,
    Nodes,
    audited,
    clocks_differ,
    nats_sections,
    nodes_are_killed,
    progress,
    the_network_breaks,
)
from natsserver import NatsCluster, NatsServer
from redisservers import RedisServer


@pytest.fixture
def nats():
    server = NatsServer(jetstream=True, kind="wheel")
    yield server
    server.stop()


@pytest.fixture
def nodes(nats):
    found = Nodes(sections=nats_sections(nats.url))
    yield found
    found.stop()


async def test_nats_is_killed(nats, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            nats.kill()
            await nodes.all_health(503)
            await asyncio.to_thread(nats.start)
            await nodes.all_health(200)
            await progress(auditor)


async def test_nats_stands_still(nats, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            nats.pause()
            await nodes.all_health(503)
            nats.resume()
            await nodes.all_health(200)
            await progress(auditor)


async def test_its_streams_are_gone(nats, nodes):
    """Somebody removes what JetStream keeps, or it is kept in memory only."""
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            nats.kill()
            await asyncio.to_thread(nats.forget)
            await nodes.all_health(503)
            await asyncio.to_thread(nats.start)
            await nodes.all_health(200)
            await progress(auditor)


async def test_the_password_is_another_for_a_while(nats, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            nats.kill()
            nats.config = "authorization { token: other }"
            await asyncio.to_thread(nats.start)
            await nodes.all_health(503)
            nats.kill()
            nats.config = ""
            await asyncio.to_thread(nats.start)
            await nodes.all_health(200)
            await progress(auditor)


async def test_a_node_is_killed(nodes):
    await nodes_are_killed(nodes)


async def test_the_network_breaks(nats):
    await the_network_breaks(nats.port, lambda port: nats_sections(f"nats://127.0.0.1:{port}"))


async def test_leaders_change():
    """Of three servers with a copy each, the one after the other goes and comes back."""
    cluster = await asyncio.to_thread(NatsCluster, kind="wheel")
    nodes = None
    try:
        sections = nats_sections(cluster.url, jetstream={"replicas": 3})
        nodes = await asyncio.to_thread(Nodes, sections=sections)
        async with audited(nodes) as auditor:
            for number in range(ROUNDS):
                server = cluster.nodes[number % 3]
                if number % 2:
                    server.pause()
                    await progress(auditor)
                    server.resume()
                else:
                    server.kill()
                    await progress(auditor)
                    await asyncio.to_thread(server.start)
                await nodes.all_health(200)
                await progress(auditor)
    finally:
        if nodes is not None:
            nodes.stop()
        cluster.stop()


async def test_redisnats():
    """History in Redis, delivery by NATS: either of them goes and comes back."""
    redis, nats = RedisServer("redis"), NatsServer(kind="wheel")
    nodes = None
    try:
        store = {"address": redis.url, "io_timeout": "800ms", "connect_timeout": "500ms"}
        sections = nats_sections(nats.url, "redisnats", redis=store)
        sections["enable_unreleased_features"] = True
        nodes = await asyncio.to_thread(Nodes, sections=sections)
        async with audited(nodes) as auditor:
            for number in range(ROUNDS):
                server = (nats, redis)[number % 2]
                server.kill()
                await nodes.all_health(503)
                await asyncio.to_thread(server.start)
                await nodes.all_health(200)
                await progress(auditor)
    finally:
        if nodes is not None:
            nodes.stop()
        nats.stop()
        redis.stop()


async def test_clocks_differ(nats):
    await clocks_differ(nats_sections(nats.url, jetstream={"presence_ttl": "5s"}))
