"""Servers that Sentinels watch: who is master now, and following it when another one takes over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from flyball.core.errors import FlyballError
from flyball.engines.redis.connection import Connection, LinkLostError, connect, pack
from flyball.engines.redis.link import Link
from flyball.engines.redis.options import Endpoint
from flyball.engines.redis.pubsub import PubSubLink

if TYPE_CHECKING:
    from flyball.engines.redis.options import ShardOptions

FOLLOW_INTERVAL: Final = 1.0
"""Seconds between questions to the Sentinels whether the master is still the same."""


class Sentinels:
    """Asks the Sentinels of one master.

    The first that answers decides; it is asked first the next time.
    """

    def __init__(self, options: ShardOptions) -> None:
        self._options = options
        self._seeds = list(options.seeds)

    async def find_master(self) -> Endpoint:
        """Where the master is now.

        Raises:
            LinkLostError: no Sentinel answers, or none knows the master.
        """
        failures = []
        for seed in list(self._seeds):
            try:
                found = await self._ask(seed)
            except (FlyballError, TimeoutError) as error:
                failures.append(f"{seed}: {error or 'no answer'}")
                continue
            if found is None:
                failures.append(f"{seed} knows no master {self._options.sentinel_master!r}")
                continue
            self._seeds.remove(seed)
            self._seeds.insert(0, seed)
            return found
        raise LinkLostError(f"no Sentinel helps: {'; '.join(failures)}")

    async def _ask(self, seed: Endpoint) -> Endpoint | None:
        options = self._options
        command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", options.sentinel_master)
        connection = await connect(
            seed, options.sentinel_login, options, lambda _: None, lambda _: None
        )
        try:
            async with asyncio.timeout(options.io_timeout):
                found = await connection.send(pack(command))
        finally:
            connection.abort("not needed any more")
        if not found:
            return None
        return Endpoint(found[0].decode(), int(found[1]))


async def check_master(connection: Connection, endpoint: Endpoint) -> None:
    """Asks a server whether it is what the Sentinels say.

    Raises:
        LinkLostError: it is not.
    """
    role: Any = await connection.send(pack(("ROLE",)))
    if role[0] != b"master":
        raise LinkLostError(f"{endpoint} is no master (yet): {role[0].decode()}")


class _Following:
    """What a link to a master does beyond others: it leaves one that is none any more."""

    _sentinels: Sentinels
    _follower: asyncio.Task[None] | None = None
    endpoint: Endpoint | None

    def follow(self, sentinels: Sentinels) -> Self:
        """Asks these Sentinels."""
        self._sentinels = sentinels
        return self

    def _start_following(self) -> None:
        if self._follower is None:
            work = self._follow_master()
            self._follower = asyncio.get_running_loop().create_task(work, name="flyball sentinels")

    async def _stop_following(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None and not follower.get_loop().is_closed():
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)

    async def _follow_master(self) -> None:
        """A master that was cut off may go on as if it were one: the Sentinels know better."""
        while True:
            await asyncio.sleep(FOLLOW_INTERVAL)
            try:
                master = await self._sentinels.find_master()
            except FlyballError:
                continue  # they are away, the master perhaps is not
            if self.endpoint is not None and master != self.endpoint:
                self.drop(f"the Sentinels name another master, {master}")

    def drop(self, reason: str) -> None:
        raise NotImplementedError


class SentinelLink(_Following, Link):
    """A link for commands to the master."""

    async def _prepare(self, connection: Connection, endpoint: Endpoint) -> None:
        await check_master(connection, endpoint)
        self._start_following()

    def drop(self, reason: str) -> None:
        """See :meth:`Link.drop`."""
        Link.drop(self, reason)

    async def close(self) -> None:
        """See :meth:`Link.close`."""
        await self._stop_following()
        await Link.close(self)


class SentinelPubSubLink(_Following, PubSubLink):
    """A link for subscriptions to the master."""

    async def _prepare(self, connection: Connection, endpoint: Endpoint) -> None:
        await check_master(connection, endpoint)
        connection.subscriber = True
        self._start_following()

    def drop(self, reason: str) -> None:
        """See :meth:`Link.drop`."""
        PubSubLink.drop(self, reason)

    async def close(self) -> None:
        """See :meth:`Link.close`."""
        await self._stop_following()
        await PubSubLink.close(self)
