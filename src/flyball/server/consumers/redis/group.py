"""A stream's consumer group as one consumer of it sees it, over a connection of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flyball.core.errors import FlyballError
from flyball.engines.common.links import forget
from flyball.engines.redis.connection import Connection, LinkLostError, ReplyError, pack
from flyball.server.consumers.redis.position import UNKNOWN, parsed
from flyball.server.consumers.redis.way import Way, open_connection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.engines.redis import Endpoint
    from flyball.server.consumers.redis.options import StreamOptions
    from flyball.server.consumers.redis.position import Id, Position

HANDED_BACK: Final = "handed-back"
"""The consumer that gets what others leave: its entries are taken over at once."""
LONG_AGO: Final = 24 * 3600 * 1000
"""Milliseconds that those entries count as not heard of."""
MOST: Final = 100
"""Entries in one command that are not read for their content."""
REDIRECTIONS: Final = 5
"""Times that we follow a Cluster from node to node in one go."""


class Entry(NamedTuple):
    """One entry of a stream."""

    id: bytes
    fields: dict[bytes, bytes] | None
    """None: it was removed while it was pending."""

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return sum(map(len, self.fields.values())) if self.fields else 0


class Group:
    """One consumer in the group of one stream.

    What is asked raises :class:`LinkLostError`, :class:`ReplyError` or ``TimeoutError``; the
    connection has to be dropped then.

    Args:
        options: which group, and how it is reached.
        stream: its key.
        consumer: name of the consumer; nobody else has it.
        position: how far the stream was read.
    """

    def __init__(
        self, options: StreamOptions, stream: str, consumer: str, position: Position
    ) -> None:
        self.stream: str = stream
        self.consumer: str = consumer
        self.position: Position = position
        self._options = options
        self._way = Way(options.shard)
        self._connection: Connection | None = None
        self._endpoint: Endpoint | None = None
        self._client_id: int | None = None

    # -- the connection

    @property
    def up(self) -> bool:
        """It is connected."""
        return self._connection is not None and not self._connection.lost

    def check(self) -> None:
        """Raises :class:`LinkLostError` if the connection is gone."""
        if not self.up:
            raise LinkLostError("the connection is lost")

    def drop(self, reason: str) -> None:
        """Gives up the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort(reason)

    async def open(self) -> None:
        """Connects to where the stream is, and makes the group if there is none."""
        for _ in range(REDIRECTIONS):
            self._connection, self._endpoint = await self._way.connect()
            try:
                return await self._join()
            except BaseException as error:
                self.drop("not ready")
                if not (isinstance(error, ReplyError) and self._way.follow(error)):
                    raise
        raise LinkLostError("the nodes of the Cluster send us in circles")

    async def _join(self) -> None:
        create = ("XGROUP", "CREATE", self.stream, self._options.group)
        try:
            await self._ask(*create, self.position.start(await self._last()), "MKSTREAM")
        except ReplyError as error:
            if error.kind != "BUSYGROUP":
                raise
        try:
            self._client_id = await self._ask("CLIENT", "ID")
        except ReplyError:  # a user that may not ask
            self._client_id = None
        await self._look()

    async def _ask(self, *parts: Any, more: float = 0.0) -> Any:
        """An answer in the time that the server has for one, and ``more`` seconds."""
        if self._connection is None:
            raise LinkLostError("not connected")
        async with asyncio.timeout(self._options.shard.io_timeout + more):
            return await self._connection.send(pack(parts))

    # -- where the stream is

    async def check_place(self) -> None:
        """Looks whether this is still the right server, and how far the group has read."""
        if self._endpoint is not None:
            await self._way.check(self._endpoint)
        await self._look()

    async def _last(self) -> Id | None:
        """Id of the stream's last entry; None: there is no stream."""
        try:
            found = _pairs(await self._ask("XINFO", "STREAM", self.stream))
        except ReplyError as error:
            if "no such key" in str(error):
                return None
            if error.kind == "NOPERM":  # a user that may not ask: nothing speaks against it
                return UNKNOWN
            raise
        return parsed(found[b"last-generated-id"])

    async def _look(self) -> None:
        try:
            groups = await self._ask("XINFO", "GROUPS", self.stream)
        except ReplyError:  # a user that may not ask
            return
        for group in map(_pairs, groups):
            if group[b"name"] == self._options.group.encode():
                self.position.reached(group[b"last-delivered-id"])

    # -- entries

    async def pending(self, count: int) -> list[Entry]:
        """What was given to this consumer before, and is not done."""
        return await self._read("0", "COUNT", count)

    async def read(self, count: int, wait: float) -> list[Entry]:
        """What nobody was given yet; waits ``wait`` seconds for it."""
        milliseconds = max(int(wait * 1000), 1)
        entries = await self._read(">", "COUNT", count, "BLOCK", milliseconds, more=wait)
        if entries:
            self.position.reached(entries[-1].id)
        return entries

    async def _read(self, after: str, *how: Any, more: float = 0.0) -> list[Entry]:
        who = (self._options.group, self.consumer)
        where = ("STREAMS", self.stream, after)
        found = await self._ask("XREADGROUP", "GROUP", *who, *how, *where, more=more)
        if not found:
            return []
        # A map in RESP3, a list of pairs in RESP2.
        lists = found.values() if isinstance(found, dict) else (pair[1] for pair in found)
        return self._entries(next(iter(lists)))

    async def claim(self, start: bytes, count: int) -> tuple[bytes, list[Entry]]:
        """Takes over what others had too long; also tells where to go on, ``0-0``: at the start."""
        idle = max(int(self._options.visibility_timeout * 1000), 1)
        who = (self.stream, self._options.group, self.consumer)
        found = await self._ask("XAUTOCLAIM", *who, idle, start, "COUNT", count)
        removed = found[2] if len(found) > 2 else ()  # since Redis 7
        there = [entry for entry in found[1] if entry is not None]
        return found[0], self._entries([*((i, None) for i in removed), *there])

    def _entries(self, found: Iterable[Any]) -> list[Entry]:
        entries = [Entry(i, None if f is None else _flat(f)) for i, f in found]
        for entry in entries:
            self.position.take(entry.id, self.consumer)
        return entries

    def ack(self, entry: bytes) -> asyncio.Future[Any]:
        """Says that an entry is done."""
        return self._post("XACK", self.stream, self._options.group, entry)

    def keep(self, entries: Iterable[bytes]) -> asyncio.Future[Any]:
        """Says that entries are still being worked on."""
        who = (self.stream, self._options.group, self.consumer)
        return self._post("XCLAIM", *who, 0, *entries, "JUSTID")

    def _post(self, *parts: Any) -> asyncio.Future[Any]:
        assert self._connection is not None
        answer = self._connection.send(pack(parts))
        answer.add_done_callback(forget)
        return answer

    # -- the end

    async def wake(self) -> None:
        """Ends a :meth:`read` that waits. What it was given is not lost, unless that fails."""
        if self._connection is None or self._endpoint is None:
            return
        try:
            await self._unblock(self._endpoint)
        except (FlyballError, TimeoutError):
            self._connection.abort("the consumer stops")

    async def _unblock(self, endpoint: Endpoint) -> None:
        if self._client_id is None:
            raise LinkLostError("the connection is not known by its number")
        shard = self._options.shard
        other = await open_connection(endpoint, shard)
        try:
            async with asyncio.timeout(shard.io_timeout):
                await other.send(pack(("CLIENT", "UNBLOCK", self._client_id)))
        finally:
            other.abort("not needed any more")

    async def leave(self) -> None:
        """Gives what is not done to whoever comes next, and removes the consumer."""
        group = (self.stream, self._options.group)
        while left := await self._ask("XPENDING", *group, "-", "+", MOST, self.consumer):
            ids = [entry[0] for entry in left]
            idle = ("IDLE", LONG_AGO, "JUSTID")
            if not await self._ask("XCLAIM", *group, HANDED_BACK, 0, *ids, *idle):
                return  # what is pending of them was removed from the stream
        # Only without entries: with them it would take them along.
        await self._ask("XGROUP", "DELCONSUMER", *group, self.consumer)


def _pairs(found: Any) -> dict[bytes, Any]:
    """A map, which is a flat list in RESP2."""
    return found if isinstance(found, dict) else _flat(found)


def _flat(found: list[Any]) -> dict[bytes, Any]:
    return dict(zip(found[::2], found[1::2], strict=True))
