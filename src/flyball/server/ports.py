"""The ports of a server: opened together, closed in two steps."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from flyball.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server")


class PortListener(Protocol):
    """A listener of any protocol. The order at the end: stop, shut the node down, close."""

    @property
    def options(self) -> ListenerPlace:
        """Where it listens."""

    @property
    def port(self) -> int:
        """The port in use, once started."""

    async def start(self) -> None:
        """Opens the port; raises ``OSError`` if that cannot be."""

    def stop_accepting(self) -> None:
        """Takes no more connections."""

    async def close(self) -> None:
        """Ends what is left."""


class ListenerPlace(Protocol):
    """What start-up tells of a port."""

    @property
    def host(self) -> str:
        """Empty for all interfaces."""

    @property
    def port(self) -> int:
        """0 for any free one."""

    @property
    def ssl_context(self) -> object | None:
        """None: no TLS."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port and what start-up tells of it."""

    listener: PortListener
    purpose: str
    """What is served there."""
    keys: str
    """The options that say where it is."""

    async def open(self) -> None:
        """Raises ConfigError, naming the options, if that cannot be."""
        options = self.listener.options
        path: str = getattr(options, "path", "")
        try:
            await self.listener.start()
        except OSError as error:
            where = path or f"{options.host or '*'}:{options.port}"
            message = f"cannot listen on {where} ({self.keys}): {_reason(error)}"
            raise ConfigError(message) from error
        if path:
            return  # nobody else is to come there
        logger.info(
            "serving",
            endpoints=self.purpose,
            address=options.host or "*",
            port=self.listener.port,
            tls=options.ssl_context is not None,
        )


class Ports:
    """All ports of a server."""

    def __init__(self, ports: Sequence[Port]) -> None:
        self.listeners: list[PortListener] = [port.listener for port in ports]
        """In their order; that of client connections is the first."""
        self._ports = ports

    async def open(self) -> None:
        """Opens one after the other.

        Raises:
            ConfigError: one cannot be opened.
        """
        for port in self._ports:
            await port.open()

    async def stop_accepting(self) -> None:
        """Takes no more connections; those that are open live on."""
        for listener in self.listeners:
            listener.stop_accepting()

    async def close(self) -> None:
        """Ends what is left, on all ports at a time."""
        await asyncio.gather(*(listener.close() for listener in self.listeners))


def _reason(error: OSError) -> str:
    """Why a port cannot be opened, without asyncio's words around it."""
    text = error.strerror or str(error)
    if error.errno is not None and text.startswith("error while attempting"):
        return os.strerror(error.errno)
    return text
