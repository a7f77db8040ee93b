"""Redis, Valkey and what speaks their protocol. Needs the extra ``redis``: ``flyball[redis]``."""

from flyball.engines.redis.engine import RedisEngine, RedisOptions
from flyball.engines.redis.options import Endpoint, Login, ShardOptions, parse_address

__all__ = ["Endpoint", "Login", "RedisEngine", "RedisOptions", "ShardOptions", "parse_address"]
