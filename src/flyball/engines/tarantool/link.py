"""The link to one shard: a connection to its leader, made anew whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from flyball.core.errors import ConfigError, FlyballError
from flyball.engines.common.links import keep_trying
from flyball.engines.tarantool.connection import (
    READ_ONLY,
    Connection,
    LinkLostError,
    ReplyError,
)
from flyball.engines.tarantool.module import greet
from flyball.engines.tarantool.options import RAFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.engines.common.status import LinkStatus
    from flyball.engines.tarantool.module import Instance
    from flyball.engines.tarantool.options import ShardOptions

logger: Final = logging.getLogger("flyball.engine")

BATCH: Final = 1000
"""Names in one request."""
POLL_SHARE: Final = 0.25
"""Part of the time for an answer that the server waits for messages."""

Message = list[Any]
"""Name, kind, and what the kind has."""


class Link:
    """Calls and messages of one shard, for as long as it is open.

    Args:
        options: its servers.
        status: told when the link is lost and when it is back.
        take: gets the messages.
    """

    def __init__(
        self, options: ShardOptions, status: LinkStatus, take: Callable[[Message], None]
    ) -> None:
        self.options: ShardOptions = options
        self._status = status
        self._take = take
        self._connection: Connection | None = None
        self._names: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._polls: asyncio.Task[None] | None = None
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

    async def close(self) -> None:
        """Ends it; whoever waits for an answer is told."""
        self._open = False
        self._status.closed(self)
        tasks = [t for t in (self._task, self._polls) if t and not t.get_loop().is_closed()]
        self._task = self._polls = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort("the node stops")
        self._names.clear()

    # -- what others ask for

    @property
    def connection(self) -> Connection:
        """The one that there is now.

        Raises:
            LinkLostError: it is not connected.
        """
        if self._connection is None:
            raise self._missing()
        return self._connection

    async def call(self, what: str, *args: Any) -> Any:
        """Calls a function of the module: see :meth:`Connection.ask`."""
        try:
            return await self.connection.ask(what, *args)
        except FlyballError as error:
            raise self.fault(error) from None

    def fault(self, error: FlyballError) -> FlyballError:
        """Looks at what a request came to: a server that leads no more is left."""
        if isinstance(error, ReplyError) and error.code == READ_ONLY and self._connection:
            self._connection.abort("the server is read-only now")
        return error

    def _missing(self) -> LinkLostError:
        return LinkLostError(self._status.reason(self) or "not connected")

    async def subscribe(self, name: str) -> None:
        """Messages of ``name`` come once this returns.

        Raises:
            LinkLostError: the link is down, or lost before that.
            ReplyError: the server refuses.
        """
        self._names.add(name)
        try:
            await self.call("subscribe", (name,))
        except BaseException:
            self._names.discard(name)
            raise

    def unsubscribe(self, name: str) -> None:
        """No more of them; harmless if it was not subscribed."""
        if name in self._names and self._connection is not None:
            self._connection.post("unsubscribe", (name,))
        self._names.discard(name)

    # -- connecting

    async def _connect(self) -> None:
        connection = await self._find()
        try:
            await connection.ask("open")
            names = list(self._names)
            for start in range(0, len(names), BATCH):
                await connection.ask("subscribe", names[start : start + BATCH])
        except BaseException:
            connection.abort("not prepared")
            raise
        if connection.lost:
            raise LinkLostError(connection.lost)
        self._connection = connection
        loop = asyncio.get_running_loop()
        self._polls = loop.create_task(self._poll(connection), name="flyball tarantool polls")

    async def _find(self) -> Connection:
        """A connection to the leader: all servers are asked, for two may think that they lead.

        Raises:
            ConfigError: none can be used, and trying again would not help.
            LinkLostError: none leads.
        """
        servers = self.options.servers
        opened = [Connection(server, self.options, self._lost) for server in servers]
        leader: Connection | None = None
        try:
            asked = [self._ask(connection) for connection in opened]
            found = await asyncio.gather(*asked, return_exceptions=True)
            leader = self._choose(opened, found)
        finally:
            for connection in opened:
                if connection is not leader:
                    connection.abort("another server leads")
        return leader

    async def _ask(self, connection: Connection) -> int:
        """Term of a server that leads.

        Raises:
            FlyballError: it does not, or cannot be used.
        """
        await connection.open()
        instance = await greet(connection, self.options)
        _check_leader(instance, self.options.mode)
        return instance.term

    def _choose(self, opened: list[Connection], found: list[int | BaseException]) -> Connection:
        """The one with the newest term; of several the first."""
        terms: dict[Connection, int] = {}
        problems: list[FlyballError] = []
        for connection, outcome in zip(opened, found, strict=True):
            if isinstance(outcome, int):
                terms[connection] = outcome
            elif isinstance(outcome, FlyballError):
                problems.append(outcome)
            else:
                raise outcome
        if terms:
            return max(terms, key=terms.__getitem__)
        if len(problems) == 1:
            raise problems[0]
        pairs = zip(opened, problems, strict=True)
        text = "; ".join(f"{connection.endpoint}: {problem}" for connection, problem in pairs)
        if all(isinstance(problem, ConfigError) for problem in problems):
            raise ConfigError(text)
        raise LinkLostError(text)

    def _lost(self, connection: Connection, reason: str) -> None:
        if connection is not self._connection:
            return  # it never was ours: whoever connects is told
        self._connection = None
        if self._polls is not None:
            self._polls.cancel()
            self._polls = None
        if self._open:
            self._down(reason)
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._try_again(), name="flyball tarantool link")

    async def _try_again(self) -> None:
        await keep_trying(self._connect, self._down)
        self._task = None
        self._restored()

    def _down(self, reason: str) -> None:
        self._status.lost(self, f"{self.options}: {reason}")

    def _restored(self) -> None:
        status = self._status
        if status.on_resubscribing is not None:
            status.on_resubscribing()
        if status.on_resubscribed is not None:
            status.on_resubscribed()
        status.restored(self)

    # -- messages

    async def _poll(self, connection: Connection) -> None:
        """Fetches messages for as long as the connection lasts. It finds out too if nobody answers."""
        wait = self.options.io_timeout * POLL_SHARE
        read_only = False
        try:
            while not read_only:
                read_only, messages = await connection.ask("poll", wait)
                for message in messages:
                    if message[0] in self._names:
                        self._take(message)
                    else:  # given up while the link was being made
                        connection.post("unsubscribe", (message[0],))
            connection.abort("the server is read-only now")
        except FlyballError as error:
            connection.abort(str(error))
        except Exception as error:  # whatever it is: messages were lost, so the link is
            logger.exception("tarantool: a message was not handled")
            connection.abort(f"a message was not handled: {error}")


def _check_leader(instance: Instance, mode: str) -> None:
    if mode == RAFT:
        if not instance.state:
            raise ConfigError("it takes part in no election (election_mode); mode is " + mode)
        if instance.state != "leader":
            raise LinkLostError(f"it is no leader ({instance.state})")
    if instance.read_only:
        raise LinkLostError("it is read-only")
