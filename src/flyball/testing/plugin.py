"""Fixtures for pytest, and async tests that need no setting.

With ``pip install flyball[testing]`` an async test that takes one of these fixtures is run by
pytest-asyncio without a marker, whatever its mode.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from flyball.core.node import Node
from flyball.testing.broker import ControlledBroker
from flyball.testing.client import TestClient
from flyball.testing.clock import TestClock
from flyball.testing.live import LiveServer

PREFIX = "flyball_"
"""What the names of our fixtures begin with."""
OTHERS = frozenset({"anyio", "asyncio", "trio"})
"""Markers that say who runs an async test."""


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> None:
    """Marks async tests that take fixtures of ours, unless they are somebody's already."""
    function = getattr(obj, "__func__", obj)
    if (
        inspect.iscoroutinefunction(function)
        and collector.istestfunction(obj, name)
        and any(taken.startswith(PREFIX) for taken in inspect.signature(function).parameters)
        and not OTHERS & {mark.name for mark in getattr(function, "pytestmark", ())}
        and collector.config.pluginmanager.has_plugin("asyncio")
    ):
        pytest.mark.asyncio(function)


@pytest.fixture
def flyball_clock() -> TestClock:
    """A clock that the test moves."""
    return TestClock()


@pytest.fixture
def flyball_broker(flyball_clock: TestClock) -> ControlledBroker:
    """The broker of ``flyball_node``: a memory broker until the test holds something."""
    return ControlledBroker(flyball_clock)


@pytest.fixture
def flyball_live() -> Iterator[Callable[..., LiveServer]]:
    """Serves nodes on real ports until the test ends; takes what :class:`LiveServer` takes."""
    servers: list[LiveServer] = []

    def live(node: Node, **fields: Any) -> LiveServer:
        server = LiveServer(node, **fields)
        server.start()
        servers.append(server)
        return server

    yield live
    for server in reversed(servers):
        server.stop()


async def flyball_node(
    flyball_clock: TestClock, flyball_broker: ControlledBroker
) -> AsyncIterator[Node]:
    """A running node in memory with the test's clock and broker, without handlers."""
    async with Node(broker=flyball_broker, clock=flyball_clock, clients=False) as node:
        yield node


async def flyball_client(flyball_node: Node) -> TestClient:
    """A client of ``flyball_node``, not connected yet. Make more with ``flyball_connect``."""
    return TestClient(flyball_node)


async def flyball_connect(flyball_node: Node) -> Callable[..., Awaitable[TestClient]]:
    """Makes connected clients, each with a token of its own.

    Keywords are those of :class:`TestClient`; a ``node`` of one's own stands for ``flyball_node``.
    """

    async def connect(token: str = "", *, node: Node = flyball_node, **options: Any) -> TestClient:
        client = TestClient(node, **options)
        await client.connect(token)
        return client

    return connect


try:
    import pytest_asyncio
except ImportError:  # async tests by other means: those make their nodes themselves
    pass
else:
    flyball_node = pytest_asyncio.fixture(flyball_node)
    flyball_client = pytest_asyncio.fixture(flyball_client)
    flyball_connect = pytest_asyncio.fixture(flyball_connect)
