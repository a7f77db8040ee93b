"""Fixtures for pytest."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flyball.core.node import Node
from flyball.testing.broker import ControlledBroker
from flyball.testing.client import TestClient
from flyball.testing.clock import TestClock


@pytest.fixture
def flyball_clock() -> TestClock:
    """A clock that the test moves."""
    return TestClock()


@pytest.fixture
def flyball_broker(flyball_clock: TestClock) -> ControlledBroker:
    """The broker of ``flyball_node``: a memory broker until the test holds something."""
    return ControlledBroker(flyball_clock)


async def flyball_node(
    flyball_clock: TestClock, flyball_broker: ControlledBroker
) -> AsyncIterator[Node]:
    """A running node in memory with the test's clock and broker, without handlers."""
    async with Node(broker=flyball_broker, clock=flyball_clock, clients=False) as node:
        yield node


async def flyball_client(flyball_node: Node) -> TestClient:
    """A client of ``flyball_node``, not connected yet. Make more with ``TestClient(node)``."""
    return TestClient(flyball_node)


try:
    import pytest_asyncio
except ImportError:  # async tests by other means: those make their nodes themselves
    pass
else:
    flyball_node = pytest_asyncio.fixture(flyball_node)
    flyball_client = pytest_asyncio.fixture(flyball_client)
