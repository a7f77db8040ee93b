"""Whatever happens to Redis or a node: nothing is lost in silence, health tells, all recovers."""

import asyncio
import os
import signal

import pytest
from fault_world import (
    ROUNDS,
    Nodes,
    audited,
    clocks_differ,
    nodes_are_killed,
    progress,
    redis_sections,
    the_network_breaks,
)
from redisservers import RedisServer


@pytest.fixture
def redis():
    server = RedisServer("redis")
    yield server
    server.stop()


@pytest.fixture
def nodes(redis):
    found = Nodes([redis.url])
    yield found
    found.stop()


async def test_redis_is_killed(redis, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            redis.kill()
            await nodes.all_health(503)
            await asyncio.to_thread(redis.start)
            await nodes.all_health(200)
            await progress(auditor)


async def test_redis_stands_still(redis, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            os.kill(redis.pid, signal.SIGSTOP)
            await nodes.all_health(503)
            os.kill(redis.pid, signal.SIGCONT)
            await nodes.all_health(200)
            await progress(auditor)


async def test_redis_is_flushed(redis, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            redis.ask("FLUSHALL")
            await progress(auditor)


async def test_links_are_ended(redis, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            for kind in ("pubsub", "normal"):
                redis.ask("CLIENT", "KILL", "TYPE", kind)
                await progress(auditor)


async def test_a_node_is_killed(nodes):
    await nodes_are_killed(nodes)


async def test_the_network_breaks(redis):
    await the_network_breaks(redis.port, lambda port: redis_sections([f"redis://127.0.0.1:{port}"]))


async def test_clocks_differ(redis):
    await clocks_differ(redis_sections([redis.url], presence_ttl="5s"))
