"""A consumer of an outbox in PostgreSQL as the configuration has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.server.common.tls import named_client_context

if TYPE_CHECKING:
    from flyball.server.config.schema_consumers import PostgresConsumer as Section
    from flyball.server.consumers import Consumer, Workers


def postgres_consumer(name: str, key: str, section: Section, workers: Workers) -> Consumer:
    """The consumer of one section.

    Raises:
        ConfigError: an option is wrong.
        ImportError: what it needs is not installed.
    """
    from flyball.engines.postgres import parse_dsn
    from flyball.server.consumers.postgres import OutboxOptions, PostgresConsumer

    tls = named_client_context(section.tls, f"{key}.tls") if section.tls.enabled else None
    options = OutboxOptions(
        server=parse_dsn(section.dsn, notify_dsn=section.partition_notification_dsn, tls=tls),
        table=section.outbox_table_name,
        num_partitions=section.num_partitions,
        select_limit=section.partition_select_limit,
        poll_interval=section.partition_poll_interval,
        notification_channel=section.partition_notification_channel,
        use_try_lock=section.use_try_lock,
    )
    return PostgresConsumer(name, options, workers)
