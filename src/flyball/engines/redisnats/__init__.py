"""Redis keeps what NATS delivers. Needs the extra ``redis``: ``flyball[redis]``."""

from flyball.engines.redisnats.broker import RedisNatsBroker

__all__ = ["RedisNatsBroker"]
