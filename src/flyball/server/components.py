"""Parts of a server that have a life."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


async def nothing() -> None:
    """What a component does that needs no start, or no stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A step of a server's start, and of its stop."""

    start: Callable[[], Awaitable[None]] = nothing
    """Raises ConfigError if what it is configured with cannot be used."""
    stop: Callable[[], Awaitable[None]] = nothing
    """Called once ``start`` was, whether or not that came to its end."""


class Components:
    """Starts components in their order, and stops them in the opposite one."""

    def __init__(self, components: Iterable[Component]) -> None:
        self._components = tuple(components)
        self._started = AsyncExitStack()

    async def start(self) -> None:
        """Starts one after the other; what one of them raises ends it."""
        for component in self._components:
            self._started.push_async_callback(component.stop)
            await component.start()

    async def stop(self) -> None:
        """Stops all that were started, also where one of them raises; that is raised then."""
        await self._started.aclose()
