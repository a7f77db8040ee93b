"""Engines: where publications, presence and control messages live."""

from __future__ import annotations

from flyball.server.common.option import Duration, mapping, nested, opt, section
from flyball.server.common.tls import TLSConfig
from flyball.server.config.schema_common import RedisConnection

_UNREAD = "accepted but not read: the redisnats broker uses broker.redis and broker.nats"


@section
class RedisPrefixed(RedisConnection):
    """A Redis connection whose keys share a prefix."""

    prefix: str = opt("centrifugo", "Start of all keys and PUB/SUB channels.", first=True)


@section
class RedisBroker(RedisPrefixed):
    """Redis as broker."""

    history_use_lists: bool = opt(False, "Keep history in lists, not streams.")
    sharded_pub_sub: bool = opt(
        False, "Send messages by sharded PUB/SUB (Redis 7 and newer), for a Cluster."
    )


@section
class RedisPresenceManager(RedisPrefixed):
    """Redis as presence manager."""

    presence_ttl: Duration = opt(60.0, "Lifetime of a presence entry that is not renewed.")
    presence_hash_field_ttl: bool = opt(
        False, "Expire presence by hash field TTL (Redis 7.4 and newer)."
    )
    presence_user_mapping: bool = opt(
        False, "Count connections of each user, for quick presence stats."
    )


@section
class RedisEngine(RedisPresenceManager):
    """Redis as engine: broker and presence."""

    history_use_lists: bool = opt(False, "Keep history in lists, not streams.")
    sharded_pub_sub: bool = opt(
        False, "Send messages by sharded PUB/SUB (Redis 7 and newer), for a Cluster."
    )


@section
class RedisMapBroker(RedisPrefixed):
    """Redis as map broker."""

    cleanup_interval: Duration = opt(1.0, "Time between removals of expired keys.")
    cleanup_batch_size: int = opt(100, "Most keys removed in one step.")
    idempotent_result_ttl: Duration = opt(300.0, "How long results of idempotent calls are kept.")
    skip_pub_sub: bool = opt(False, "Do not deliver changes between nodes.")


@section
class TarantoolBroker:
    """Tarantool as broker."""

    prefix: str = opt("centrifugo", "Start of all names; it has no colon.")
    address: tuple[str, ...] = opt(
        ("tcp://127.0.0.1:3301",),
        "Servers, as host:port or URL; more than one shards channels over them. Each may be a"
        " leader with its followers, comma separated.",
    )
    mode: str = opt(
        "standalone",
        "What the servers of a shard are to each other.",
        allowed=("standalone", "leader-follower", "leader-follower-raft"),
    )
    user: str = opt("", "User; the guest if empty.")
    password: str = opt("", "Password.", secret=True)
    connect_timeout: Duration = opt(1.0, "Longest wait for a connection.")
    io_timeout: Duration = opt(4.0, "Longest wait for an answer.")


@section
class TarantoolEngine(TarantoolBroker):
    """Tarantool as engine: broker and presence."""

    presence_ttl: Duration = opt(60.0, "Lifetime of a presence entry that is not renewed.")


@section
class EngineConfig:
    """Default for broker and presence manager."""

    type: str = opt(
        "memory", "Kind of engine.", allowed=("memory", "redis", "tarantool"), flag=True
    )
    redis: RedisEngine = nested(RedisEngine, "Settings of the redis engine.")
    tarantool: TarantoolEngine = nested(TarantoolEngine, "Settings of the tarantool engine.")


@section
class NatsRawMode:
    """Plain NATS subjects and bodies, to talk to programs that know nothing of channels."""

    enabled: bool = opt(False, "Use raw subjects and bodies.")
    channel_replacements: dict[str, str] = mapping(
        "Replacements that turn a channel into a subject."
    )
    prefix: str = opt("", "Put before the subject.")


@section
class NatsBroker:
    """NATS as broker (no history)."""

    prefix: str = opt("centrifugo", "Start of all subjects.")
    url: str = opt("nats://localhost:4222", "Servers, comma separated.")
    dial_timeout: Duration = opt(1.0, "Longest wait for a connection.")
    write_timeout: Duration = opt(1.0, "Longest wait for a write.")
    tls: TLSConfig = nested(TLSConfig, "TLS towards the servers.")
    allow_wildcards: bool = opt(False, "Admit channels with the NATS wildcards * and >.")
    raw_mode: NatsRawMode = nested(NatsRawMode, "Plain subjects and bodies.")


@section
class NatsJetStream:
    """History, recovery and presence by JetStream."""

    enabled: bool = opt(False, "Keep history and presence by JetStream (NATS 2.11 and newer).")
    storage: str = opt("file", "Where history is kept.", allowed=("file", "memory"))
    replicas: int = opt(1, "Servers that keep a copy: 1, 3 or 5.")
    max_bytes: int = opt(-1, "Bytes of all history; publishing fails when full. -1: no limit.")
    presence_ttl: Duration = opt(60.0, "Lifetime of a presence entry that is not renewed.")
    idempotency_window: Duration = opt(300.0, "How long idempotency keys are remembered at most.")
    request_timeout: Duration = opt(4.0, "Longest wait for an answer of JetStream.")


@section
class NatsBrokerSection(NatsBroker):
    """The same, with what the original does not have."""

    credentials_file: str = opt("", "Credentials file (.creds) of a user: JWT and seed.")
    jetstream: NatsJetStream = nested(NatsJetStream, "History, recovery and presence by JetStream.")


@section
class PostgresOutbox:
    """How nodes read new rows."""

    poll_interval: Duration = opt(0.1, "Time between looks for new rows.")
    batch_size: int = opt(1000, "Most rows read at once.")


@section
class PostgresBroker:
    """PostgreSQL as broker."""

    dsn: str = opt("", "Connection string of the database.", secret=True)
    tls: TLSConfig = nested(TLSConfig, "TLS towards the database.")
    pool_size: int = opt(16, "Connections kept.")
    num_shards: int = opt(8, "Shards that order publications; the same on all nodes.")
    cleanup_interval: Duration = opt(60.0, "Time between removals of old rows.")
    idempotent_result_ttl: Duration = opt(300.0, "How long results of idempotent calls are kept.")
    binary_data: bool = opt(False, "Keep data as BYTEA, not JSONB.")
    stream_retention: Duration = opt(86_400.0, "Age of rows kept.")
    use_notify: bool = opt(False, "Wake up by LISTEN/NOTIFY, not by polling alone.")
    notify_dsn: str = opt("", "Connection string for LISTEN; empty takes dsn.", secret=True)
    table_prefix: str = opt("cf", "Start of all table names.")
    skip_schema_init: bool = opt(False, "Do not create tables at start.")
    outbox: PostgresOutbox = nested(PostgresOutbox, "How nodes read new rows.")
    partition_lookahead_days: int = opt(2, "Days for which partitions are made ahead.")
    partition_retention_days: int = opt(7, "Days after which partitions are dropped.")


@section
class PostgresBrokerSection(PostgresBroker):
    """The same, with what the original does not have."""

    connect_timeout: Duration = opt(2.0, "Longest wait for a connection.")
    io_timeout: Duration = opt(4.0, "Longest wait for an answer.")


@section
class PostgresMapBroker(PostgresBroker):
    """PostgreSQL as map broker."""

    ttl_check_interval: Duration = opt(1.0, "Time between removals of expired keys.")


@section
class RedisNatsBroker:
    """Leftover section of the redisnats broker."""

    redis: RedisBroker = nested(RedisBroker, "Not read; set broker.redis.", note=_UNREAD)
    nats: NatsBroker = nested(NatsBroker, "Not read; set broker.nats.", note=_UNREAD)


@section
class BrokerConfig:
    """PUB/SUB and history, when they shall differ from the engine."""

    enabled: bool = opt(False, "Use this broker in place of the engine's.", flag=True)
    type: str = opt(
        "memory",
        "Kind of broker.",
        allowed=("memory", "redis", "nats", "postgres", "redisnats", "tarantool"),
        flag=True,
    )
    redis: RedisBroker = nested(RedisBroker, "Settings of the redis broker.")
    nats: NatsBrokerSection = nested(NatsBrokerSection, "Settings of the nats broker.")
    postgres: PostgresBrokerSection = nested(
        PostgresBrokerSection, "Settings of the postgres broker."
    )
    redisnats: RedisNatsBroker = nested(RedisNatsBroker, "Not read.", hidden=True)
    tarantool: TarantoolBroker = nested(TarantoolBroker, "Settings of the tarantool broker.")


@section
class PresenceManagerConfig:
    """Presence, when it shall differ from the engine."""

    enabled: bool = opt(False, "Use this presence manager in place of the engine's.", flag=True)
    type: str = opt(
        "memory",
        "Kind of presence manager.",
        allowed=("memory", "redis", "tarantool"),
        flag=True,
    )
    redis: RedisPresenceManager = nested(
        RedisPresenceManager, "Settings of the redis presence manager."
    )
    tarantool: TarantoolEngine = nested(
        TarantoolEngine, "Settings of the tarantool presence manager."
    )


@section
class MapBrokerConfig:
    """State and streams of map channels."""

    type: str = opt(
        "memory", "Kind of map broker.", allowed=("memory", "redis", "postgres"), flag=True
    )
    redis: RedisMapBroker = nested(RedisMapBroker, "Settings of the redis map broker.")
    postgres: PostgresMapBroker = nested(PostgresMapBroker, "Settings of the postgres map broker.")


@section
class PostgresController:
    """PostgreSQL for messages between nodes."""

    dsn: str = opt("", "Connection string of the database.", secret=True)
    tls: TLSConfig = nested(TLSConfig, "TLS towards the database.")
    pool_size: int = opt(8, "Connections kept.")
    num_shards: int = opt(1, "Shards that order messages; the same on all nodes.")
    table_prefix: str = opt("cf", "Start of all table names.")
    poll_interval: Duration = opt(0.05, "Time between looks for new messages.")
    use_notify: bool = opt(False, "Wake up by LISTEN/NOTIFY, not by polling alone.")
    notify_dsn: str = opt("", "Connection string for LISTEN; empty takes dsn.", secret=True)
    partition_retention_days: int = opt(1, "Days after which partitions are dropped.")
    partition_lookahead_days: int = opt(2, "Days for which partitions are made ahead.")
    partition_cleanup_interval: Duration = opt(60.0, "Time between removals of partitions.")
    batch_size: int = opt(1000, "Most messages read at once.")
    skip_schema_init: bool = opt(False, "Do not create tables at start.")


@section
class PostgresControllerSection(PostgresController):
    """The same, with what the original does not have."""

    connect_timeout: Duration = opt(2.0, "Longest wait for a connection.")
    io_timeout: Duration = opt(4.0, "Longest wait for an answer.")


@section
class ControllerConfig:
    """Messages between nodes, for brokers that carry none."""

    enabled: bool = opt(False, "Use a controller.")
    type: str = opt("", "Kind of controller.", allowed=("postgres",))
    postgres: PostgresControllerSection = nested(
        PostgresControllerSection, "Settings of the postgres controller."
    )
