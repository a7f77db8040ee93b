"""PostgreSQL as broker and controller, by the sections of the configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

from flyball.core.engine import Engine
from flyball.server.build.errors import missing, naming
from flyball.server.common.tls import named_client_context

if TYPE_CHECKING:
    from flyball.core.broker import Broker
    from flyball.engines.postgres import ControllerOptions, Server, StreamOptions
    from flyball.engines.postgres.broker import PostgresBroker
    from flyball.engines.postgres.controller import PostgresController
    from flyball.server.config import Config
    from flyball.server.config.schema_engines import (
        PostgresBrokerSection,
        PostgresControllerSection,
    )

BROKER_KEY: Final = "broker.postgres"
CONTROLLER_KEY: Final = "controller.postgres"
NAME: Final = "stream"
"""Of the broker, in the metrics."""


def postgres_broker(config: Config) -> Engine:
    """The broker alone: presence and control messages are others' matter.

    Raises:
        ConfigError: an option is wrong, or what it needs is not installed.
    """
    _require("broker")
    from flyball.engines.postgres.broker import PostgresBroker
    from flyball.engines.postgres.database import Database

    database = Database(server(BROKER_KEY, config.broker.postgres))
    return Engine(PostgresBroker(database, stream_options(config)))


def postgres_controller(config: Config) -> PostgresController:
    """Carries messages between nodes.

    Raises:
        ConfigError: see :func:`postgres_broker`.
    """
    _require("controller")
    from flyball.engines.postgres.controller import PostgresController
    from flyball.engines.postgres.database import Database

    database = Database(server(CONTROLLER_KEY, config.controller.postgres))
    return PostgresController(database, controller_options(config))


def _require(name: str) -> None:
    try:
        import asyncpg  # noqa: F401
    except ImportError as error:
        raise missing(f'{name}.type: "postgres"', "postgres", error) from None


def server(key: str, section: PostgresBrokerSection | PostgresControllerSection) -> Server:
    """Where the database of a section is.

    Raises:
        ConfigError: the address is malformed, or a certificate cannot be used.
    """
    from flyball.engines.postgres import parse_dsn

    tls = section.tls
    with naming(key):
        return parse_dsn(
            section.dsn,
            notify_dsn=section.notify_dsn,
            tls=named_client_context(tls, f"{key}.tls") if tls.enabled else None,
            pool_size=section.pool_size,
            connect_timeout=section.connect_timeout,
            io_timeout=section.io_timeout,
        )


def stream_options(config: Config) -> StreamOptions:
    """How publications are kept.

    Raises:
        ConfigError: an option is wrong.
    """
    from flyball.engines.postgres import StreamOptions

    section = config.broker.postgres
    with naming(BROKER_KEY):
        return StreamOptions(
            table_prefix=section.table_prefix,
            num_shards=section.num_shards,
            skip_schema_init=section.skip_schema_init,
            use_notify=section.use_notify,
            poll_interval=section.outbox.poll_interval,
            batch_size=section.outbox.batch_size,
            partition_lookahead_days=section.partition_lookahead_days,
            partition_retention_days=section.partition_retention_days,
            cleanup_interval=section.cleanup_interval,
            binary_data=section.binary_data,
            stream_retention=section.stream_retention,
            idempotent_result_ttl=section.idempotent_result_ttl,
            history_meta_ttl=config.channel.history_meta_ttl,
        )


def controller_options(config: Config) -> ControllerOptions:
    """How messages between nodes are carried.

    Raises:
        ConfigError: an option is wrong.
    """
    from flyball.engines.postgres import ControllerOptions

    section = config.controller.postgres
    with naming(CONTROLLER_KEY):
        return ControllerOptions(
            table_prefix=section.table_prefix,
            num_shards=section.num_shards,
            skip_schema_init=section.skip_schema_init,
            use_notify=section.use_notify,
            poll_interval=section.poll_interval,
            batch_size=section.batch_size,
            partition_lookahead_days=section.partition_lookahead_days,
            partition_retention_days=section.partition_retention_days,
            cleanup_interval=section.partition_cleanup_interval,
        )


class PostgresFigures:
    """What a PostgreSQL broker counts, in the shape of the metrics."""

    def __init__(self, broker: PostgresBroker) -> None:
        self._broker = broker

    @property
    def removed(self) -> dict[tuple[str, str], int]:
        """Rows and partitions removed, for each kind."""
        return {(NAME, kind): count for kind, count in self._broker.upkeep.removed.items()}

    @property
    def lags(self) -> dict[tuple[str, str], float]:
        """Seconds since when each shard has rows that were not read."""
        lags = self._broker.outbox.lags(time.monotonic())
        return {(NAME, str(shard)): lag for shard, lag in enumerate(lags)}

    @property
    def partitions(self) -> dict[str, int]:
        """Partitions of the table."""
        return {NAME: self._broker.upkeep.partitions}


def postgres_figures(config: Config, broker: Broker) -> PostgresFigures | None:
    """What ``broker`` counts, if it is one of PostgreSQL."""
    if not (config.broker.enabled and config.broker.type == "postgres"):
        return None
    return PostgresFigures(cast("PostgresBroker", broker))
