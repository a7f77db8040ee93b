"""A connection that comes back: it is watched, and made anew whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from flyball.engines.common.links import LinkWatch, forget, keep_trying
from flyball.engines.redis.connection import Connection, LinkLostError, connect, pack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flyball.engines.common.status import LinkStatus
    from flyball.engines.redis.options import Endpoint, Login, ShardOptions

logger: Final = logging.getLogger("flyball.engine")

PING: Final = pack(("PING",))


class Link:
    """One connection to whatever server ``find`` names, for as long as it is open.

    Args:
        name: shown in logs and health checks.
        find: gives the server to connect to now; raises ``FlyballError`` if there is none.
        login: how to log in there.
        options: its time limits.
        status: told when the link is lost and when it is back.
    """

    def __init__(
        self,
        name: str,
        find: Callable[[], Awaitable[Endpoint]],
        login: Login,
        options: ShardOptions,
        status: LinkStatus,
    ) -> None:
        self.name: str = name
        self.endpoint: Endpoint | None = None
        """Where it leads, once connected."""
        self._find = find
        self._login = login
        self._options = options
        self._status = status
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._watch: LinkWatch[Connection] = LinkWatch(options.io_timeout, self._waits, self._ping)
        self._open = False

    # -- life

    async def open(self) -> None:
        """Connects.

        Raises:
            FlyballError: that failed; nothing goes on in the background.
        """
        self._open = True
        try:
            await self._connect()
        except BaseException:
            self._open = False
            raise

    def open_soon(self) -> None:
        """Connects in the background, again and again until that works."""
        self._open = True
        self._down("not connected yet")
        self._reconnect()

    async def close(self) -> None:
        """Ends it; whoever waits for an answer is told."""
        self._open = False
        self._status.closed(self)
        self._watch.stop()
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._connection is not None:
            self._connection.abort("the node stops")
            self._connection = None

    @property
    def up(self) -> bool:
        """It is connected now."""
        return self._connection is not None and not self._connection.lost

    def drop(self, reason: str) -> None:
        """Gives up the connection and makes another one."""
        if self._connection is not None:
            self._connection.abort(reason)

    # -- commands

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Sends a packed command: see :meth:`Connection.send`.

        Raises:
            LinkLostError: it is not connected.
        """
        if self._connection is None:
            raise LinkLostError(self._status.reason(self) or "not connected")
        return self._connection.send(command)

    # -- connecting

    async def _connect(self) -> None:
        endpoint = await self._find()
        connection = await connect(endpoint, self._login, self._options, self._take, self._lost)
        try:
            await self._prepare(connection, endpoint)
        except BaseException:
            connection.abort("not prepared")
            raise
        if connection.lost:
            raise LinkLostError("the server closed the connection")
        self._connection, self.endpoint = connection, endpoint
        self._watch.start(connection)

    async def _prepare(self, connection: Connection, endpoint: Endpoint) -> None:
        """What is done before anybody else uses the connection; may raise FlyballError."""

    def _take(self, message: Any) -> None:
        """A message that answers no command; there are none without subscriptions."""

    def _lost(self, reason: str) -> None:
        if self._connection is None:
            return  # it never was ours: whoever connects is told
        self._connection = None
        self._watch.stop()
        if self._open:
            self._down(reason)
            self._reconnect()

    def _reconnect(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._try_again(), name=f"flyball redis link {self.name}")

    async def _try_again(self) -> None:
        await keep_trying(self._connect, self._down)
        self._task = None
        self._restored()

    def _down(self, reason: str) -> None:
        self._status.lost(self, f"{self.name}: {reason}")

    def _restored(self) -> None:
        self._status.restored(self)

    # -- watching

    def _waits(self, connection: Connection) -> bool:
        return connection.waiting

    def _ping(self, connection: Connection) -> None:
        connection.send(PING).add_done_callback(forget)
