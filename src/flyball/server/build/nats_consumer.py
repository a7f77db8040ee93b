"""A consumer of NATS JetStream as the configuration has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from flyball.server.build.errors import naming
from flyball.server.common.tls import tls_client_context

if TYPE_CHECKING:
    from flyball.engines.nats import ServerOptions
    from flyball.server.config.schema_consumers import NatsJetStreamConsumer as Section
    from flyball.server.consumers import Consumer, Workers

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.consumers")

DIAL_TIMEOUT: Final = 2.0
"""Seconds; the section has no option for it."""
ANSWER_TIMEOUT: Final = 4.0
"""Seconds for any answer of the server; likewise."""


def nats_consumer(name: str, key: str, section: Section, workers: Workers) -> Consumer:
    """The consumer of one section.

    Raises:
        ConfigError: an option is wrong.
    """
    from flyball.server.consumers.nats import DurableOptions, JetStreamConsumer

    options = DurableOptions(
        servers=_servers(name, key, section),
        stream=section.stream_name,
        durable=section.durable_consumer_name,
        use_existing=section.use_existing_consumer,
        subjects=section.subjects,
        deliver_all=section.deliver_policy == "all",
        max_ack_pending=section.max_ack_pending,
        method_header=section.method_header,
    )
    if section.use_existing_consumer and section.subjects:
        logger.warning(
            "the consumer is used as it is: these subjects have no effect",
            option=f"{key}.subjects",
        )
    return JetStreamConsumer(options, workers, key)


def _servers(name: str, key: str, section: Section) -> ServerOptions:
    from flyball.engines.nats import ServerOptions, parse_servers
    from flyball.engines.nats.credentials import read_credentials

    tls = section.tls
    with naming(f"{key}.url"):
        servers = parse_servers(section.url)
    if section.credentials_file:
        with naming(f"{key}.credentials_file"):
            read_credentials(section.credentials_file)  # it is read again for each connection
    return ServerOptions(
        servers=servers,
        user=section.username,
        password=section.password,
        token=section.token,
        credentials_file=section.credentials_file,
        tls=tls_client_context(tls, f"{key}.tls") if tls.enabled else None,
        tls_server_name=tls.server_name,
        name=f"flyball consumer {name}",
        dial_timeout=DIAL_TIMEOUT,
        write_timeout=ANSWER_TIMEOUT,
        request_timeout=ANSWER_TIMEOUT,
    )
