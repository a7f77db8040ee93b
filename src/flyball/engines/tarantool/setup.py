"""Puts our module into servers, for an operator: with rights that no node needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.core.errors import ConfigError, FlyballError
from flyball.engines.tarantool.connection import Connection
from flyball.engines.tarantool.module import install, install_script

if TYPE_CHECKING:
    from flyball.engines.tarantool.options import ShardOptions

__all__ = ["install_script", "set_up"]

_READ_ONLY: Final = b"return box.info.ro"


async def set_up(shard: ShardOptions, *, user: str = "", synchronous: bool = False) -> str:
    """Installs the module at the leader of a shard; returns where that is.

    Args:
        shard: with the login of a user that may do anything.
        user: may call the module; none if empty.
        synchronous: see :func:`~flyball.engines.tarantool.module.install`.

    Raises:
        ConfigError: no server of it can be used.
    """
    problems = []
    for endpoint in shard.servers:
        connection = Connection(endpoint, shard, lambda _connection, _reason: None)
        try:
            await connection.open()
            (read_only,) = await connection.run(_READ_ONLY)
            if not read_only:
                await install(connection, user=user, synchronous=synchronous)
                return str(endpoint)
            problems.append(f"{endpoint}: it is read-only")
        except FlyballError as error:
            problems.append(f"{endpoint}: {error}")
        finally:
            connection.abort("done")
    raise ConfigError(f"the module was not installed: {'; '.join(problems)}")
