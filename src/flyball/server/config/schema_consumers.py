"""Consumers: queues and tables the server reads API commands or publications from."""

from __future__ import annotations

from flyball.server.common.option import Duration, Int32, nested, opt, section
from flyball.server.common.tls import TLSConfig
from flyball.server.config.schema_common import RedisConnection

_DATA_MODE = "Messages are publication data; where it goes stands beside it."
_ENABLED = "Take message bodies as publication data, not as API commands."
_CHANNELS = "centrifugo-channels"
_IDEMPOTENCY = "centrifugo-idempotency-key"
_DELTA = "centrifugo-delta"
_VERSION = "centrifugo-version"
_VERSION_EPOCH = "centrifugo-version-epoch"
_TAG = "centrifugo-tag-"
_METHOD = "centrifugo-method"


@section
class HeaderDataMode:
    """Publication data mode with message headers (Kafka, NATS)."""

    enabled: bool = opt(False, _ENABLED)
    channels_header: str = opt(_CHANNELS, "Header with the channels, comma separated.")
    idempotency_key_header: str = opt(_IDEMPOTENCY, "Header with the idempotency key.")
    delta_header: str = opt(_DELTA, "Header with the delta switch.")
    version_header: str = opt(_VERSION, "Header with the version.")
    version_epoch_header: str = opt(_VERSION_EPOCH, "Header with the version epoch.")
    tags_header_prefix: str = opt(_TAG, "Start of headers that are tags.")


@section
class ValueDataMode:
    """Publication data mode with entry values (Redis streams)."""

    enabled: bool = opt(False, _ENABLED)
    channels_value: str = opt(_CHANNELS, "Value with the channels, comma separated.")
    idempotency_key_value: str = opt(_IDEMPOTENCY, "Value with the idempotency key.")
    delta_value: str = opt(_DELTA, "Value with the delta switch.")
    version_value: str = opt(_VERSION, "Value with the version.")
    version_epoch_value: str = opt(_VERSION_EPOCH, "Value with the version epoch.")
    tags_value_prefix: str = opt(_TAG, "Start of values that are tags.")


@section
class AttributeDataMode:
    """Publication data mode with message attributes (Google Pub/Sub, AWS SQS)."""

    enabled: bool = opt(False, _ENABLED)
    channels_attribute: str = opt(_CHANNELS, "Attribute with the channels, comma separated.")
    idempotency_key_attribute: str = opt(_IDEMPOTENCY, "Attribute with the idempotency key.")
    delta_attribute: str = opt(_DELTA, "Attribute with the delta switch.")
    version_attribute: str = opt(_VERSION, "Attribute with the version.")
    version_epoch_attribute: str = opt(_VERSION_EPOCH, "Attribute with the version epoch.")
    tags_attribute_prefix: str = opt(_TAG, "Start of attributes that are tags.")


@section
class PropertyDataMode:
    """Publication data mode with message properties (Azure Service Bus)."""

    enabled: bool = opt(False, _ENABLED)
    channels_property: str = opt(_CHANNELS, "Property with the channels, comma separated.")
    idempotency_key_property: str = opt(_IDEMPOTENCY, "Property with the idempotency key.")
    delta_property: str = opt(_DELTA, "Property with the delta switch.")
    version_property: str = opt(_VERSION, "Property with the version.")
    version_epoch_property: str = opt(_VERSION_EPOCH, "Property with the version epoch.")
    tags_property_prefix: str = opt(_TAG, "Start of properties that are tags.")


@section
class PostgresConsumer:
    """Reads an outbox table in PostgreSQL."""

    dsn: str = opt("", "Connection string of the database.", secret=True)
    outbox_table_name: str = opt("", "Table with the commands.")
    num_partitions: int = opt(1, "Partitions of the table, each worked by one node.")
    partition_select_limit: int = opt(100, "Most rows read at once.")
    partition_poll_interval: Duration = opt(0.3, "Time between looks for new rows.")
    partition_notification_channel: str = opt(
        "", "NOTIFY channel that wakes the partition named in the payload."
    )
    partition_notification_dsn: str = opt(
        "", "Connection string for LISTEN; empty takes dsn.", secret=True
    )
    tls: TLSConfig = nested(TLSConfig, "TLS towards the database.")
    use_try_lock: bool = opt(False, "Skip partitions another node works, rather than wait.")


@section
class KafkaConsumer:
    """Reads Kafka topics."""

    brokers: tuple[str, ...] = opt((), "Seed brokers, host:port.")
    topics: tuple[str, ...] = opt((), "Topics to read.")
    consumer_group: str = opt("", "Consumer group shared by all nodes.")
    max_poll_records: int = opt(100, "Most records fetched at once.")
    fetch_max_bytes: Int32 = opt(0, "Most bytes of one fetch; 0 leaves it to the client.")
    fetch_max_wait: Duration = opt(0.5, "Longest time a broker gathers records for a fetch.")
    fetch_read_uncommitted: bool = opt(False, "Read records of open transactions too.")
    partition_queue_max_size: int = opt(1000, "Records of a partition held before it is paused.")
    dial_timeout: Duration = opt(3.0, "Longest wait for a connection.")
    tls: TLSConfig = nested(TLSConfig, "TLS towards the brokers.")
    sasl_mechanism: str = opt(
        "",
        "How to authenticate; empty does not.",
        allowed=("", "plain", "scram-sha-256", "scram-sha-512", "aws-msk-iam"),
    )
    sasl_user: str = opt("", "User name for SASL.")
    sasl_password: str = opt("", "Password for SASL.", secret=True)
    assume_role_arn: str = opt("", "AWS role to assume, with aws-msk-iam.")
    instance_id: str = opt("", "Makes the node a static member of the group.")
    method_header: str = opt(_METHOD, "Header with the API method.")
    publication_data_mode: HeaderDataMode = nested(HeaderDataMode, _DATA_MODE)


@section
class NatsJetStreamConsumer:
    """Reads a NATS JetStream stream."""

    url: str = opt("nats://127.0.0.1:4222", "Servers, comma separated.")
    credentials_file: str = opt("", "Credentials file; goes before user name and token.")
    username: str = opt("", "User name.")
    password: str = opt("", "Password.", secret=True)
    token: str = opt("", "Token, when there is no user name.", secret=True)
    stream_name: str = opt("", "Stream to read.")
    use_existing_consumer: bool = opt(False, "Use the durable consumer as it is.")
    subjects: tuple[str, ...] = opt((), "Subjects to read; empty reads all of the stream.")
    durable_consumer_name: str = opt("", "Durable consumer shared by all nodes.")
    deliver_policy: str = opt("new", "Where a new consumer starts.", allowed=("new", "all"))
    max_ack_pending: int = opt(100, "Most messages not acknowledged yet.")
    method_header: str = opt(_METHOD, "Header with the API method.")
    publication_data_mode: HeaderDataMode = nested(HeaderDataMode, _DATA_MODE)
    tls: TLSConfig = nested(TLSConfig, "TLS towards the servers.")


@section
class RedisStreamConsumer(RedisConnection):
    """Reads Redis streams."""

    streams: tuple[str, ...] = opt((), "Streams to read.")
    consumer_group: str = opt("", "Consumer group shared by all nodes.")
    visibility_timeout: Duration = opt(
        30.0, "Entries not acknowledged in this time are taken over."
    )
    num_workers: int = opt(
        1, "Entries of a stream worked at one time; more than one are not in order."
    )
    payload_value: str = opt("payload", "Value with the payload.")
    method_value: str = opt("method", "Value with the API method.")
    publication_data_mode: ValueDataMode = nested(ValueDataMode, _DATA_MODE)


@section
class GooglePubSubConsumer:
    """Reads Google Pub/Sub subscriptions."""

    project_id: str = opt("", "Google Cloud project.")
    subscriptions: tuple[str, ...] = opt((), "Subscriptions to read.")
    max_outstanding_messages: int = opt(100, "Most messages worked at one time.")
    max_outstanding_bytes: int = opt(1_000_000, "Most bytes of messages worked at one time.")
    auth_mechanism: str = opt(
        "", "How to authenticate.", allowed=("", "default", "service_account")
    )
    credentials_file: str = opt("", "Service account file, with service_account.")
    method_attribute: str = opt(_METHOD, "Attribute with the API method.")
    publication_data_mode: AttributeDataMode = nested(AttributeDataMode, _DATA_MODE)


@section
class AwsSqsConsumer:
    """Reads AWS SQS queues."""

    queues: tuple[str, ...] = opt((), "URLs of the queues.")
    sns_envelope: bool = opt(False, "Bodies are SNS envelopes; take their Message.")
    region: str = opt("", "AWS region.")
    max_number_of_messages: Int32 = opt(10, "Most messages of one receive call.")
    wait_time_time: Duration = opt(20.0, "How long a receive call waits for messages.")
    visibility_timeout: Duration = opt(30.0, "Messages not deleted in this time come again.")
    max_concurrency: int = opt(1, "Messages worked at one time.")
    credentials_profile: str = opt("", "Profile in the AWS credentials file.")
    assume_role_arn: str = opt("", "AWS role to assume.")
    method_attribute: str = opt(_METHOD, "Attribute with the API method.")
    localstack_endpoint: str = opt("", "Endpoint of a local stand-in for AWS.")
    publication_data_mode: AttributeDataMode = nested(AttributeDataMode, _DATA_MODE)


@section
class AzureServiceBusConsumer:
    """Reads Azure Service Bus queues."""

    connection_string: str = opt("", "Connection string of the namespace.", secret=True)
    use_azure_identity: bool = opt(False, "Authenticate by the four identity options.")
    fully_qualified_namespace: str = opt("", "Host name of the namespace (identity).")
    tenant_id: str = opt("", "Tenant (identity).")
    client_id: str = opt("", "Application (identity).")
    client_secret: str = opt("", "Secret of the application (identity).", secret=True)
    queues: tuple[str, ...] = opt((), "Queues to read.")
    use_sessions: bool = opt(False, "Read by sessions, each in order.")
    max_concurrent_calls: int = opt(1, "Messages worked at one time.")
    max_receive_messages: int = opt(1, "Most messages of one receive call.")
    method_property: str = opt(_METHOD, "Property with the API method.")
    publication_data_mode: PropertyDataMode = nested(PropertyDataMode, _DATA_MODE)


@section
class Consumer:
    """An entry of ``consumers``."""

    name: str = opt("", "Name in logs and metrics: letters, digits and _, at least two.")
    enabled: bool = opt(False, "Start this consumer.")
    type: str = opt(
        "",
        "Kind of consumer.",
        allowed=(
            "postgresql",
            "kafka",
            "nats_jetstream",
            "redis_stream",
            "google_pub_sub",
            "aws_sqs",
            "azure_service_bus",
        ),
    )
    postgresql: PostgresConsumer = nested(PostgresConsumer, "Settings of type postgresql.")
    kafka: KafkaConsumer = nested(KafkaConsumer, "Settings of type kafka.")
    nats_jetstream: NatsJetStreamConsumer = nested(
        NatsJetStreamConsumer, "Settings of type nats_jetstream."
    )
    redis_stream: RedisStreamConsumer = nested(
        RedisStreamConsumer, "Settings of type redis_stream."
    )
    google_pub_sub: GooglePubSubConsumer = nested(
        GooglePubSubConsumer, "Settings of type google_pub_sub."
    )
    aws_sqs: AwsSqsConsumer = nested(AwsSqsConsumer, "Settings of type aws_sqs.")
    azure_service_bus: AzureServiceBusConsumer = nested(
        AzureServiceBusConsumer, "Settings of type azure_service_bus."
    )
