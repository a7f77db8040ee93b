"""PostgreSQL: publications with history that applications write in their own transactions."""

from flyball.engines.postgres.engine import PostgresEngine
from flyball.engines.postgres.options import (
    ControllerOptions,
    Server,
    StreamOptions,
    parse_dsn,
)

__all__ = ["ControllerOptions", "PostgresEngine", "Server", "StreamOptions", "parse_dsn"]
