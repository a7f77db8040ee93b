"""Redis as presence manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flyball.core.errors import FlyballError
from flyball.core.types import PresenceStats
from flyball.engines.common.parts import ServersPresenceManager
from flyball.engines.redis import layout, scripts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.core.types import ClientInfo
    from flyball.engines.redis.layout import Names
    from flyball.engines.redis.servers import RedisServers

DEFAULT_TTL: Final = 60.0
"""Seconds."""


class RedisPresenceManager(ServersPresenceManager["RedisServers"]):
    """Knows by Redis who is subscribed.

    Args:
        servers: the servers, shared with the other parts of the engine.
        names: of keys.
        presence_ttl: seconds that an entry lives if nobody prolongs it.
        user_mapping: count the clients of each user, so that stats need not read them all.
        hash_field_ttl: let Redis (7.4, Valkey 9) end single entries.
    """

    def __init__(
        self,
        servers: RedisServers,
        names: Names,
        *,
        presence_ttl: float = DEFAULT_TTL,
        user_mapping: bool = False,
        hash_field_ttl: bool = False,
    ) -> None:
        super().__init__(servers)
        self._names = names
        self._ttl = presence_ttl
        self._users = user_mapping
        self._field_ttl = "1" if hash_field_ttl else "0"

    async def add_presence(self, channel: str, client_id: str, info: ClientInfo) -> None:
        """See :meth:`PresenceManager.add_presence`."""
        args = (
            client_id,
            layout.write_info(info),
            max(int(self._ttl * 1000), 1),
            info.user,
            self._field_ttl,
        )
        await self._run(scripts.PRESENCE_ADD, channel, args, users=self._users)

    async def remove_presence(self, channel: str, client_id: str, user: str) -> None:
        """See :meth:`PresenceManager.remove_presence`."""
        await self._run(scripts.PRESENCE_REMOVE, channel, (client_id, user), users=self._users)

    async def presence(self, channel: str) -> Mapping[str, ClientInfo]:
        """See :meth:`PresenceManager.presence`."""
        found = await self._run(scripts.PRESENCE_GET, channel, (), users=False)
        try:
            return {
                found[i].decode(): layout.read_info(found[i + 1]) for i in range(0, len(found), 2)
            }
        except FlyballError as error:
            raise self._servers.faults.error(f"presence of {channel!r}: {error}") from None

    async def presence_stats(self, channel: str) -> PresenceStats:
        """See :meth:`PresenceManager.presence_stats`."""
        if not self._users:
            users = [info.user for info in (await self.presence(channel)).values()]
            return PresenceStats(len(users), len(set(users)))
        clients, users_count = await self._run(scripts.PRESENCE_STATS, channel, (), users=True)
        return PresenceStats(clients, users_count)

    async def _run(
        self, script: scripts.Script, channel: str, args: tuple[object, ...], *, users: bool
    ) -> Any:
        shard = self._servers.shard_of(channel)
        keys = self._names.presence(layout.channel_bytes(channel, braces=shard.braces), users=users)
        return await self._servers.ask(shard.run(script, keys, args))
