"""The engine: broker, presence manager and controller, which may be chosen apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from flyball.core.engine import Engine
from flyball.core.errors import ConfigError
from flyball.core.memory import MemoryBroker
from flyball.server.common.tls import tls_client_context

if TYPE_CHECKING:
    from flyball.engines.redis import Login, ShardOptions
    from flyball.server.common.tls import TLSConfig
    from flyball.server.config import Config
    from flyball.server.config.schema_common import RedisConnection
    from flyball.server.config.schema_engines import (
        RedisBroker,
        RedisEngine,
        RedisPresenceManager,
    )

    RedisSection: TypeAlias = RedisBroker | RedisEngine | RedisPresenceManager


def node_engine(config: Config) -> Engine:
    """What ``engine`` says, and in place of that ``broker`` and ``presence_manager``.

    Raises:
        ConfigError: an address is malformed, or what the engine needs is not installed.
    """
    engine = Engine()
    if config.engine.type == "redis":
        engine = redis_engine("engine", config, config.engine.redis)
    if config.broker.enabled:
        if config.broker.type == "redis":
            chosen = redis_engine("broker", config, config.broker.redis)
            engine.broker, engine.controller = chosen.broker, chosen.controller
        else:  # it carries no control messages
            meta_ttl = config.channel.history_meta_ttl
            engine.broker, engine.controller = MemoryBroker(history_meta_ttl=meta_ttl), None
    if config.presence_manager.enabled:
        engine.presence_manager = None
        if config.presence_manager.type == "redis":
            section = config.presence_manager.redis
            engine.presence_manager = redis_engine(
                "presence_manager", config, section
            ).presence_manager
    return engine


def redis_engine(name: str, config: Config, section: RedisSection) -> Engine:
    """The Redis engine of one section.

    Raises:
        ConfigError: see :func:`node_engine`.
    """
    try:
        from flyball.engines.redis import RedisEngine, RedisOptions
    except ImportError as error:
        message = f'{name}.type: "redis" needs an extra: pip install "flyball[redis]" ({error})'
        raise ConfigError(message) from None
    key = f"{name}.redis"
    options = RedisOptions(
        prefix=section.prefix,
        history_use_lists=getattr(section, "history_use_lists", False),
        history_meta_ttl=config.channel.history_meta_ttl,
        presence_ttl=getattr(section, "presence_ttl", 60.0),
        presence_hash_field_ttl=getattr(section, "presence_hash_field_ttl", False),
        presence_user_mapping=getattr(section, "presence_user_mapping", False),
    )
    return RedisEngine(*_shards(key, section), options=options)


def _shards(key: str, section: RedisConnection) -> list[ShardOptions]:
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
    try:
        if section.sentinel_address:
            if not section.sentinel_master_name:
                raise ConfigError("sentinel_master_name is missing")
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
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


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
