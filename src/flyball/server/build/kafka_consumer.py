"""A Kafka consumer as the configuration has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from flyball.core.errors import ConfigError
from flyball.server.build.errors import missing
from flyball.server.common.tls import named_client_context

if TYPE_CHECKING:
    from aiokafka.abc import AbstractTokenProvider

    from flyball.server.config.schema_consumers import KafkaConsumer as Section
    from flyball.server.consumers import Consumer, Workers
    from flyball.server.consumers.kafka import KafkaOptions, Sasl

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.consumers")


def kafka_consumer(_name: str, key: str, section: Section, workers: Workers) -> Consumer:
    """The consumer of one section.

    Raises:
        ConfigError: an option is wrong.
        ImportError: what it needs is not installed.
    """
    from flyball.server.consumers.kafka import KafkaConsumer

    options = _options(key, section)
    tokens = _tokens(key, options)
    return KafkaConsumer(options, workers, section.method_header, tokens)


def _options(key: str, section: Section) -> KafkaOptions:
    from flyball.server.consumers.kafka import KafkaOptions

    return KafkaOptions(
        brokers=section.brokers,
        topics=section.topics,
        group=section.consumer_group,
        instance_id=section.instance_id,
        max_poll_records=section.max_poll_records,
        fetch_max_bytes=section.fetch_max_bytes,
        fetch_max_wait=section.fetch_max_wait,
        read_uncommitted=section.fetch_read_uncommitted,
        queue_size=section.partition_queue_max_size,
        dial_timeout=section.dial_timeout,
        tls=named_client_context(section.tls, f"{key}.tls") if section.tls.enabled else None,
        sasl=_sasl(key, section),
    )


def _sasl(key: str, section: Section) -> Sasl | None:
    from flyball.server.consumers.kafka import Sasl

    if section.sasl_mechanism:
        if section.sasl_mechanism == "plain" and not section.tls.enabled:
            logger.warning(
                "the password for Kafka goes over the network as it is: enable TLS",
                option=f"{key}.tls.enabled",
            )
        return Sasl(
            mechanism=section.sasl_mechanism,
            user=section.sasl_user,
            password=section.sasl_password,
            role=section.assume_role_arn,
        )
    for option in ("sasl_user", "sasl_password", "assume_role_arn"):
        if getattr(section, option):
            logger.warning(
                "nobody logs in to Kafka: sasl_mechanism is empty", unused=f"{key}.{option}"
            )
    return None


def _tokens(key: str, options: KafkaOptions) -> AbstractTokenProvider | None:
    from flyball.server.consumers.kafka.options import MSK

    if options.sasl is None or options.sasl.mechanism != MSK:
        return None
    try:
        from flyball.server.consumers.kafka.msk import MskTokens
    except ImportError as error:
        raise missing(f"{key}.sasl_mechanism: it", "kafka-msk", error) from None
    tokens = MskTokens(options.region, options.sasl)
    if not tokens.region:
        raise ConfigError(
            f"{key}.brokers: their names do not tell the AWS region that {MSK} signs for;"
            " give the names that AWS gave them, or set AWS_REGION in the environment"
        )
    return tokens
