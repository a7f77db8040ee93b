"""Consumers of the clouds' queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyball.server.config import schema_consumers as schema
    from flyball.server.consumers import Consumer, Workers


def sqs_consumer(
    _name: str, _key: str, section: schema.AwsSqsConsumer, workers: Workers
) -> Consumer:
    """A consumer of AWS SQS.

    Raises:
        ConfigError: an option is wrong.
        ImportError: what it needs is not installed.
    """
    from flyball.server.consumers.sqs import SqsClient, SqsConsumer, SqsOptions

    options = SqsOptions(
        queues=section.queues,
        method_attribute=section.method_attribute,
        sns_envelope=section.sns_envelope,
        max_messages=section.max_number_of_messages,
        wait_time=section.wait_time_time,
        visibility_timeout=section.visibility_timeout,
        concurrency=section.max_concurrency,
        region=section.region,
        profile=section.credentials_profile,
        role=section.assume_role_arn,
        endpoint=section.localstack_endpoint,
    )
    return SqsConsumer(options, SqsClient(options), workers)


def pubsub_consumer(
    _name: str, _key: str, section: schema.GooglePubSubConsumer, workers: Workers
) -> Consumer:
    """A consumer of Google Pub/Sub.

    Raises:
        ConfigError: an option is wrong.
        ImportError: what it needs is not installed.
    """
    from flyball.server.consumers.pubsub import PubSubClient, PubSubConsumer, PubSubOptions

    by_key = section.auth_mechanism == "service_account"
    options = PubSubOptions(
        project=section.project_id,
        subscriptions=section.subscriptions,
        method_attribute=section.method_attribute,
        max_messages=section.max_outstanding_messages,
        max_bytes=section.max_outstanding_bytes,
        key_file=section.credentials_file if by_key else "",
    )
    return PubSubConsumer(options, PubSubClient(options), workers)


def service_bus_consumer(
    _name: str, _key: str, section: schema.AzureServiceBusConsumer, workers: Workers
) -> Consumer:
    """A consumer of Azure Service Bus.

    Raises:
        ConfigError: an option is wrong.
        ImportError: what it needs is not installed.
    """
    from flyball.server.consumers.servicebus import (
        BusClient,
        Identity,
        ServiceBusConsumer,
        ServiceBusOptions,
    )

    mode = section.publication_data_mode
    read = (
        *(mode.channels_property, mode.idempotency_key_property, mode.delta_property),
        *(mode.version_property, mode.version_epoch_property),
    )
    identity = None
    if section.use_azure_identity:
        identity = Identity(
            namespace=section.fully_qualified_namespace,
            tenant=section.tenant_id,
            client=section.client_id,
            secret=section.client_secret,
        )
    options = ServiceBusOptions(
        queues=section.queues,
        connection_string=section.connection_string,
        identity=identity,
        sessions=section.use_sessions,
        loops=section.max_concurrent_calls,
        max_messages=section.max_receive_messages,
        method_property=section.method_property,
        properties=read if mode.enabled else (),
        properties_prefix=mode.tags_property_prefix if mode.enabled else "",
    )
    return ServiceBusConsumer(options, BusClient(options), workers)
