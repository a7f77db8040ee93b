"""Tarantool as the configuration has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.server.build.errors import missing, naming

if TYPE_CHECKING:
    from flyball.core.engine import Engine
    from flyball.engines.tarantool import ShardOptions
    from flyball.server.config import Config
    from flyball.server.config.schema_engines import TarantoolBroker


def tarantool_engine(name: str, config: Config, section: TarantoolBroker) -> Engine:
    """The Tarantool engine of one section.

    Raises:
        ConfigError: an address is malformed, or what the engine needs is not installed.
    """
    shards = tarantool_shards(name, section)
    from flyball.engines.tarantool import TarantoolEngine, TarantoolOptions

    with naming(f"{name}.tarantool"):
        options = TarantoolOptions(
            prefix=section.prefix,
            history_meta_ttl=config.channel.history_meta_ttl,
            presence_ttl=getattr(section, "presence_ttl", 60.0),
        )
    return TarantoolEngine(*shards, options=options)


def tarantool_shards(name: str, section: TarantoolBroker) -> list[ShardOptions]:
    """The servers of one section.

    Raises:
        ConfigError: see :func:`tarantool_engine`.
    """
    try:
        from flyball.engines.tarantool import ShardOptions, parse_address
    except ImportError as error:
        raise missing(f'{name}.type: "tarantool"', "tarantool", error) from None
    with naming(f"{name}.tarantool"):
        base = ShardOptions(
            mode=section.mode,
            user=section.user,
            password=section.password,
            connect_timeout=section.connect_timeout,
            io_timeout=section.io_timeout,
        )
    with naming(f"{name}.tarantool.address"):
        return [parse_address(address, base) for address in section.address]
