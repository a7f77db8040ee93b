"""The engine: broker, presence manager and controller, which may be chosen apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from flyball.core.engine import Engine
from flyball.core.errors import ConfigError
from flyball.core.memory import MemoryBroker
from flyball.server.build.errors import Refusals, missing, naming
from flyball.server.build.postgres import postgres_broker, postgres_controller
from flyball.server.build.tarantool import tarantool_engine
from flyball.server.common.tls import tls_client_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.engines.nats import JetStreamOptions, NatsEngine, NatsOptions, ServerOptions
    from flyball.engines.redis import Login, ShardOptions
    from flyball.server.common.tls import TLSConfig
    from flyball.server.config import Config
    from flyball.server.config.schema_common import RedisConnection
    from flyball.server.config.schema_engines import (
        NatsBrokerSection,
        RedisBroker,
        RedisEngine,
        RedisPresenceManager,
    )

    RedisSection: TypeAlias = RedisBroker | RedisEngine | RedisPresenceManager


def node_engine(config: Config) -> Engine:
    """What ``engine`` says, and in place of that ``broker``, ``presence_manager``, ``controller``.

    Raises:
        ConfigError: an address is malformed, or what the engine needs is not installed.
    """
    refused = Refusals()
    engine = refused.of(lambda: _engine(config), Engine)
    # Another type is told of by the checks.
    if config.broker.enabled and config.broker.type in _BROKERS:
        chosen = refused.of(lambda: _BROKERS[config.broker.type](config), Engine)
        engine.broker, engine.controller = chosen.broker, chosen.controller
        if chosen.presence_manager is not None and engine.presence_manager is None:
            engine.presence_manager = chosen.presence_manager
    if config.presence_manager.enabled:
        engine.presence_manager = refused.of(
            lambda: _presence_engine(config), Engine
        ).presence_manager
    if config.controller.enabled:
        engine.controller = refused.of(lambda: postgres_controller(config), lambda: None)
    refused.tell()
    return engine


def _engine(config: Config) -> Engine:
    match config.engine.type:
        case "redis":
            return redis_engine("engine", config, config.engine.redis)
        case "tarantool":
            return tarantool_engine("engine", config, config.engine.tarantool)
        case _:
            return Engine()


def _presence_engine(config: Config) -> Engine:
    """An engine of which the presence manager is wanted."""
    name, chosen = "presence_manager", config.presence_manager
    match chosen.type:
        case "redis":
            return redis_engine(name, config, chosen.redis)
        case "tarantool":
            return tarantool_engine(name, config, chosen.tarantool)
        case _:
            return Engine()


def _memory_broker(config: Config) -> Engine:
    """It carries no control messages."""
    return Engine(MemoryBroker(history_meta_ttl=config.channel.history_meta_ttl))


def _redis_broker(config: Config) -> Engine:
    engine = redis_engine("broker", config, config.broker.redis)
    return Engine(engine.broker, controller=engine.controller)


def _tarantool_broker(config: Config) -> Engine:
    engine = tarantool_engine("broker", config, config.broker.tarantool)
    return Engine(engine.broker, controller=engine.controller)


def _nats_broker(config: Config) -> NatsEngine:
    from flyball.engines.nats import NatsEngine

    section = config.broker.nats
    return NatsEngine(_nats_servers(section), options=_nats_options(config))


def _redisnats_broker(config: Config) -> Engine:
    if config.broker.nats.jetstream.enabled:
        raise ConfigError("broker.nats.jetstream: redisnats keeps history in Redis; switch it off")
    store = redis_engine("broker", config, config.broker.redis, spreads=False).broker
    assert store is not None
    from flyball.engines.redisnats import RedisNatsBroker

    nats = _nats_broker(config)
    with naming("broker.nats.raw_mode"):
        broker = RedisNatsBroker(store, nats.link, _nats_options(config))
    return Engine(broker, controller=nats.controller)


_BROKERS: Final[dict[str, Callable[[Config], Engine]]] = {
    "memory": _memory_broker,
    "redis": _redis_broker,
    "nats": _nats_broker,
    "redisnats": _redisnats_broker,
    "postgres": postgres_broker,
    "tarantool": _tarantool_broker,
}
"""Kinds of broker: how they are made, with their controllers."""


def _nats_servers(section: NatsBrokerSection) -> ServerOptions:
    from flyball.engines.nats import ServerOptions, parse_servers
    from flyball.engines.nats.credentials import read_credentials

    key = "broker.nats"
    tls = section.tls
    with naming(f"{key}.url"):
        servers = parse_servers(section.url)
    if section.credentials_file:
        with naming(f"{key}.credentials_file"):
            read_credentials(section.credentials_file)  # it is read again for each connection
    with naming(key):
        return ServerOptions(
            servers=servers,
            credentials_file=section.credentials_file,
            tls=tls_client_context(tls, f"{key}.tls") if tls.enabled else None,
            tls_server_name=tls.server_name,
            dial_timeout=section.dial_timeout,
            write_timeout=section.write_timeout,
            request_timeout=section.jetstream.request_timeout,
        )


def _nats_options(config: Config) -> NatsOptions:
    from flyball.engines.nats import NatsOptions, RawMode

    section = config.broker.nats
    raw = section.raw_mode
    replacements = tuple(raw.channel_replacements.items())
    mode = RawMode(prefix=raw.prefix, channel_replacements=replacements) if raw.enabled else None
    with naming("broker.nats.jetstream"):
        return NatsOptions(
            prefix=section.prefix,
            allow_wildcards=section.allow_wildcards,
            raw_mode=mode,
            jetstream=_jetstream_options(config) if section.jetstream.enabled else None,
        )


def _jetstream_options(config: Config) -> JetStreamOptions:
    from flyball.engines.nats import JetStreamOptions

    section = config.broker.nats.jetstream
    return JetStreamOptions(
        storage=section.storage,
        replicas=section.replicas,
        max_bytes=section.max_bytes,
        history_meta_ttl=config.channel.history_meta_ttl,
        presence_ttl=section.presence_ttl,
        idempotency_window=section.idempotency_window,
    )


def redis_engine(
    name: str, config: Config, section: RedisSection, *, spreads: bool = True
) -> Engine:
    """The Redis engine of one section; ``spreads``: it carries publications between nodes.

    Raises:
        ConfigError: see :func:`node_engine`.
    """
    try:
        from flyball.engines.redis import RedisEngine, RedisOptions
    except ImportError as error:
        raise missing(f'{name}.type: "redis"', "redis", error) from None
    key = f"{name}.redis"
    options = RedisOptions(
        prefix=section.prefix,
        history_use_lists=getattr(section, "history_use_lists", False),
        history_meta_ttl=config.channel.history_meta_ttl,
        presence_ttl=getattr(section, "presence_ttl", 60.0),
        presence_hash_field_ttl=getattr(section, "presence_hash_field_ttl", False),
        presence_user_mapping=getattr(section, "presence_user_mapping", False),
        sharded_pub_sub=getattr(section, "sharded_pub_sub", False),
        spreads=spreads,
    )
    return RedisEngine(*redis_shards(key, section), options=options)


def redis_shards(key: str, section: RedisConnection) -> list[ShardOptions]:
    """All servers that a section names.

    Raises:
        ConfigError: an address is malformed.
    """
    from flyball.engines.redis import ShardOptions

    base = ShardOptions(
        login=_login(
            key, section.user, section.password, section.client_name, section, section.tls
        ),
        connect_timeout=section.connect_timeout,
        io_timeout=section.io_timeout,
        sentinel_master=section.sentinel_master_name,
        sentinel_login=_login(
            f"{key}.sentinel",
            section.sentinel_user,
            section.sentinel_password,
            section.sentinel_client_name,
            None,
            section.sentinel_tls,
            tls_key=f"{key}.sentinel_tls",
        ),
    )
    return _addresses(key, section, base)


def _addresses(key: str, section: RedisConnection, base: ShardOptions) -> list[ShardOptions]:
    from dataclasses import replace

    from flyball.engines.redis.options import SENTINEL_PORT, parse_address, parse_endpoints

    plain = replace(base, sentinel_master="")
    if section.sentinel_address and not section.sentinel_master_name:
        message = (
            f"{key}.sentinel_master_name: it is empty, and sentinel_address asks for it; set it to"
            " the name that the Sentinels know the master by"
        )
        raise ConfigError(message)
    used = next((n for n in ("sentinel_address", "cluster_address") if getattr(section, n)), "")
    with naming(f"{key}.{used or 'address'}"):
        if section.sentinel_address:
            return [
                replace(base, seeds=parse_endpoints(item, SENTINEL_PORT))
                for item in section.sentinel_address
            ]
        if section.cluster_address:
            return [
                replace(plain, seeds=parse_endpoints(item), cluster=True)
                for item in section.cluster_address
            ]
        return [
            parse_address(item, base if "+sentinel" in item.partition("://")[0] else plain)
            for item in section.address
        ]


def _login(
    key: str,
    user: str,
    password: str,
    client_name: str,
    section: RedisConnection | None,
    tls: TLSConfig,
    *,
    tls_key: str = "",
) -> Login:
    from flyball.engines.redis import Login

    return Login(
        user=user,
        password=password,
        client_name=client_name,
        db=section.db if section is not None else 0,
        force_resp2=section.force_resp2 if section is not None else False,
        tls=tls_client_context(tls, tls_key or f"{key}.tls") if tls.enabled else None,
        tls_server_name=tls.server_name,
    )
