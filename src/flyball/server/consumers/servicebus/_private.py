"""All use of names that Azure's client does not promise."""

from __future__ import annotations

from typing import Any


class Sockets:
    """The sockets under a link: the client forgets to close those whose connection it has lost.

    Args:
        receiver: the link, before it is opened.
    """

    def __init__(self, receiver: Any) -> None:
        self._connections: list[Any] = []
        create = receiver._create_handler

        def remembered(*args: Any) -> None:
            create(*args)
            self._remember(receiver._handler)

        receiver._create_handler = remembered

    def _remember(self, handler: Any) -> None:
        """Keeps the connection, which the handler has when it is open, or failed to be."""
        open_async = handler.open_async

        async def remembered(*args: Any, **more: Any) -> None:
            try:
                await open_async(*args, **more)
            finally:
                self._connections.append(handler._connection)

        handler.open_async = remembered

    async def close(self) -> None:
        """Closes those that are open."""
        for connection in self._connections:
            if connection is not None:
                await connection._transport.close()
        self._connections.clear()
