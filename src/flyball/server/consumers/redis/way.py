"""The way to the server that has a stream: one server, the master of Sentinels, a node of a Cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flyball.core.errors import FlyballError
from flyball.engines.redis.cluster import moved_to
from flyball.engines.redis.connection import Connection, LinkLostError, connect
from flyball.engines.redis.sentinel import Sentinels, check_master

if TYPE_CHECKING:
    from flyball.engines.redis.connection import ReplyError
    from flyball.engines.redis.options import Endpoint, ShardOptions


class Way:
    """Leads to one stream.

    Args:
        shard: where to begin.
    """

    def __init__(self, shard: ShardOptions) -> None:
        self._shard = shard
        self._sentinels = Sentinels(shard) if shard.sentinel_master else None
        self._known = list(shard.seeds)
        """Nodes, the one to be tried first at the beginning."""

    async def connect(self) -> tuple[Connection, Endpoint]:
        """A connection to where the stream is, as far as is known.

        Raises:
            FlyballError: there is none.
        """
        if self._sentinels is not None:
            return await self._to_master(self._sentinels)
        failures = []
        for endpoint in self._known:
            try:
                return await open_connection(endpoint, self._shard), endpoint
            except FlyballError as error:
                failures.append(f"{endpoint}: {error}")
        raise LinkLostError("; ".join(failures[:3]))

    async def _to_master(self, sentinels: Sentinels) -> tuple[Connection, Endpoint]:
        endpoint = await sentinels.find_master()
        connection = await open_connection(endpoint, self._shard)
        try:
            async with asyncio.timeout(self._shard.io_timeout):
                await check_master(connection, endpoint)
        except BaseException:
            connection.abort("no master")
            raise
        return connection, endpoint

    def follow(self, error: ReplyError) -> bool:
        """Whether an answer shows another way, which is taken from now on."""
        if error.kind != "MOVED":
            return False
        self._known = list(dict.fromkeys((moved_to(error), *self._known)))
        return True

    async def check(self, endpoint: Endpoint) -> None:
        """A master that was cut off may go on as if it were one: the Sentinels know better.

        Raises:
            LinkLostError: another server is master.
        """
        if self._sentinels is None:
            return
        try:
            master = await self._sentinels.find_master()
        except FlyballError:
            return  # they are away, the master perhaps is not
        if master != endpoint:
            raise LinkLostError(f"the Sentinels name another master, {master}")


async def open_connection(endpoint: Endpoint, shard: ShardOptions) -> Connection:
    """A connection that nothing but answers come by.

    Raises:
        FlyballError: see :func:`~flyball.engines.redis.connection.connect`.
    """
    return await connect(endpoint, shard.login, shard, lambda _: None, lambda _: None)
