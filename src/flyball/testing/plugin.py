"""Fixtures for pytest."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flyball.core.node import Node
from flyball.testing.clock import TestClock


@pytest.fixture
def flyball_clock() -> TestClock:
    """A clock that the test moves."""
    return TestClock()


async def flyball_node(flyball_clock: TestClock) -> AsyncIterator[Node]:
    """A running node on the memory engine and the test's clock, without handlers."""
    async with Node(clock=flyball_clock) as node:
        yield node


try:
    import pytest_asyncio
except ImportError:  # async tests by other means: those make their nodes themselves
    pass
else:
    flyball_node = pytest_asyncio.fixture(flyball_node)  # type: ignore[assignment]
