"""The Tarantool engine as a program asks for it."""

from __future__ import annotations

from flyball.core.engine import Engine
from flyball.engines.tarantool.broker import TarantoolBroker
from flyball.engines.tarantool.controller import TarantoolController
from flyball.engines.tarantool.layout import Names
from flyball.engines.tarantool.options import ShardOptions, TarantoolOptions, parse_address
from flyball.engines.tarantool.presence import TarantoolPresenceManager
from flyball.engines.tarantool.servers import TarantoolServers


class TarantoolEngine(Engine):
    """Broker, presence and control messages by Tarantool.

    ``TarantoolEngine("tcp://localhost:3301")``; more than one address shards channels over the
    servers. Addresses are those of :func:`~flyball.engines.tarantool.options.parse_address`, or
    ready :class:`~flyball.engines.tarantool.options.ShardOptions`. All nodes must have the same
    addresses in the same order.

    Raises:
        ConfigError: an address or an option is wrong.
    """

    __slots__ = ("servers",)

    def __init__(
        self,
        *addresses: str | ShardOptions,
        options: TarantoolOptions | None = None,
    ) -> None:
        options = options or TarantoolOptions()
        given = addresses or (ShardOptions(),)
        servers = TarantoolServers([parse_address(a) if isinstance(a, str) else a for a in given])
        self.servers: TarantoolServers = servers
        names = Names(options.prefix)
        super().__init__(
            TarantoolBroker(servers, names, options),
            TarantoolPresenceManager(servers, names, options),
            TarantoolController(servers, names),
        )
