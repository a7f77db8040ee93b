"""Tarantool: history and presence in spaces, and messages between nodes, by a module of our own."""

from flyball.engines.tarantool.engine import TarantoolEngine
from flyball.engines.tarantool.options import (
    Endpoint,
    ShardOptions,
    TarantoolOptions,
    parse_address,
)

__all__ = ["Endpoint", "ShardOptions", "TarantoolEngine", "TarantoolOptions", "parse_address"]
