"""Tarantool as presence manager."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.errors import FlyballError
from flyball.core.types import PresenceStats
from flyball.engines.common.parts import ServersPresenceManager
from flyball.engines.common.publications import read_info, write_info
from flyball.engines.tarantool.connection import string_of, text_of
from flyball.engines.tarantool.layout import stored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from flyball.core.types import ClientInfo
    from flyball.engines.tarantool.layout import Names
    from flyball.engines.tarantool.options import TarantoolOptions
    from flyball.engines.tarantool.servers import TarantoolServers


class TarantoolPresenceManager(ServersPresenceManager["TarantoolServers"]):
    """Knows by Tarantool who is subscribed.

    Args:
        servers: the servers, shared with the other parts of the engine.
        names: of channels.
        options: how long entries live.
    """

    def __init__(self, servers: TarantoolServers, names: Names, options: TarantoolOptions) -> None:
        super().__init__(servers)
        self._names = names
        self._ttl = options.presence_ttl

    async def add_presence(self, channel: str, client_id: str, info: ClientInfo) -> None:
        """See :meth:`PresenceManager.add_presence`."""
        entry = (text_of(client_id), text_of(info.user), text_of(write_info(info)), self._ttl)
        await self._call("presence_add", channel, *entry)

    async def remove_presence(self, channel: str, client_id: str, user: str) -> None:  # noqa: ARG002
        """See :meth:`PresenceManager.remove_presence`."""
        await self._call("presence_remove", channel, text_of(client_id))

    async def presence(self, channel: str) -> Mapping[str, ClientInfo]:
        """See :meth:`PresenceManager.presence`."""
        (found,) = await self._call("presence", channel)
        try:
            return {
                string_of(found[i]): read_info(stored(found[i + 1]))
                for i in range(0, len(found), 2)
            }
        except FlyballError as error:
            raise self._servers.faults.error(f"presence of {channel!r}: {error}") from None

    async def presence_stats(self, channel: str) -> PresenceStats:
        """See :meth:`PresenceManager.presence_stats`."""
        return PresenceStats(*await self._call("presence_stats", channel))

    async def _call(self, what: str, channel: str, *args: Any) -> Any:
        link = self._servers.shard_of(channel)
        return await self._servers.call(link, what, self._names.channel(channel), *args)
