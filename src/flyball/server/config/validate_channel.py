"""Checks of channel and RPC namespaces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from flyball.core.errors import ConfigError
from flyball.server.channels.names import split_channel
from flyball.server.channels.options import MAP_TYPES, SHARED_POLL, ChannelOptions, MapOptions
from flyball.server.channels.publication_schema import read_schema
from flyball.server.common.durations import format_duration
from flyball.server.common.patterns import compile_pattern
from flyball.server.config.problems import Problem
from flyball.server.config.proxies import DEFAULT, described, proxy_uses
from flyball.server.config.schema import Config
from flyball.server.config.validate_common import (
    NAME,
    NAME_RULE,
    Scope,
    allowed,
    choices,
    one_of,
    repeated,
    scopes,
)

_MIN_PAGE: Final = 100
_MAX_PAGE: Final = 1000
_STREAM_TTL: Final = 60.0


def _namespace_names(config: Config) -> Iterator[Problem]:
    for key, names in (
        ("channel.namespaces", [each.name for each in config.channel.namespaces]),
        ("rpc.namespaces", [each.name for each in config.rpc.namespaces]),
    ):
        yield from repeated(key, names)
        for index, name in enumerate(names):
            if not NAME.fullmatch(name):
                yield Problem(f"{key}[{index}].name", f'"{name}" is not allowed; {NAME_RULE}')


def _proxy_names(config: Config) -> Iterator[Problem]:
    known = one_of(sorted({DEFAULT, *(proxy.name for proxy in config.proxies)}))
    for use in proxy_uses(config):
        if described(config, use) is None:
            text = f'there is no proxy "{use.name}"; add it to proxies, or {known}'
            yield Problem(use.key, text, use.user)


def _history(config: Config) -> Iterator[Problem]:
    for scope in scopes(config):
        options = scope.options
        if bool(options.history_size) != bool(options.history_ttl):
            missing = "history_ttl" if options.history_size else "history_size"
            yield scope.problem(
                missing,
                "history needs both history_size and history_ttl; set this one too, or neither",
            )
        for option in ("history_ttl", "history_meta_ttl"):
            value = getattr(options, option)
            if 0 < value < 1:
                text = f"{format_duration(value)} is too short; 1s is the shortest"
                yield scope.problem(option, text)
        meta_ttl = options.history_meta_ttl or config.channel.history_meta_ttl
        if 0 < meta_ttl < options.history_ttl:
            yield scope.problem(
                "history_ttl",
                f"{format_duration(options.history_ttl)} is longer than the lifetime of the stream"
                f" position, {format_duration(meta_ttl)}; raise history_meta_ttl",
            )
        if options.force_recovery and not options.keeps_history:
            yield scope.problem(
                "force_recovery", "recovery needs history; set history_size and history_ttl"
            )
        cache = options.force_recovery and options.force_recovery_mode == "cache"
        if options.auto_cache_recover and not cache:
            yield scope.problem(
                "auto_cache_recover",
                "only works with force_recovery and force_recovery_mode cache; set both",
            )


def _global_history(config: Config) -> Iterator[Problem]:
    value = config.channel.history_meta_ttl
    if 0 < value < 1:
        yield Problem(
            "channel.history_meta_ttl",
            f"{format_duration(value)} is too short; 1s is the shortest",
        )


def _allowed_values(config: Config) -> Iterator[Problem]:
    yield from choices("channel", config.channel, "publication_data_format")
    for scope in scopes(config):
        yield from choices(scope.key, scope.options, source=scope.label)


def _channel_regex(config: Config) -> Iterator[Problem]:
    for scope in scopes(config):
        if scope.options.channel_regex:
            key = f"{scope.key}.channel_regex"
            try:
                compile_pattern(scope.options.channel_regex, key)
            except ConfigError as error:
                text = str(error).removeprefix(f"{key}: ")
                yield scope.problem("channel_regex", text)


def _publication_schema(config: Config) -> Iterator[Problem]:
    for scope in scopes(config):
        if scope.options.publication_schema:
            key = f"{scope.key}.publication_schema"
            try:
                read_schema(scope.options.publication_schema, key, "*", defaultdict(int))
            except ConfigError as error:
                yield scope.problem("publication_schema", str(error).removeprefix(key).lstrip(": "))


def _stream_proxy(config: Config) -> Iterator[Problem]:
    for scope in scopes(config):
        options = scope.options
        if not options.subscribe_stream_proxy_enabled:
            continue
        for other in ("subscribe", "publish", "sub_refresh"):
            if getattr(options, f"{other}_proxy_enabled"):
                yield scope.problem(
                    "subscribe_stream_proxy_enabled",
                    f"cannot be used together with {other}_proxy_enabled; switch one of them off",
                )


def _map(config: Config) -> Iterator[Problem]:
    for scope in scopes(config):
        options = scope.options
        settings = options.map
        is_map = options.subscription_type in MAP_TYPES
        if settings.remove_client_on_unsubscribe and not is_map:
            yield scope.problem(
                "map.remove_client_on_unsubscribe",
                f"only works in map channels; set subscription_type, {one_of(MAP_TYPES)}",
            )
        if settings.client_key and (
            settings.publish_proxy_enabled or settings.remove_proxy_enabled
        ):
            yield scope.problem(
                "map.client_key",
                "cannot be used together with map.publish_proxy_enabled or"
                " map.remove_proxy_enabled: the proxy decides on keys; switch one of them off",
            )
        if is_map and not settings.mode:
            yield scope.problem(
                "map.mode",
                f"is required with subscription_type {options.subscription_type};"
                f" {one_of(allowed(MapOptions, 'mode')[1:])}",
            )
        yield from _map_negative(scope)
        yield from _map_mode(scope)
        yield from _map_pages(scope)


_MAP_SIZES: Final = (
    "stream_size",
    "default_page_size",
    "min_page_size",
    "max_page_size",
    "live_transition_max_publication_limit",
)
_MAP_TTLS: Final = ("key_ttl", "stream_ttl", "meta_ttl", "subscribe_catch_up_timeout")


def _map_negative(scope: Scope) -> Iterator[Problem]:
    for option in (*_MAP_SIZES, *_MAP_TTLS):
        if getattr(scope.options.map, option) < 0:
            yield scope.problem(f"map.{option}", "must not be negative; 0 takes the default")


def _map_mode(scope: Scope) -> Iterator[Problem]:
    settings = scope.options.map
    mode = settings.mode
    if mode in {"ephemeral", "recoverable"} and settings.key_ttl <= 0:
        yield scope.problem(
            "map.key_ttl", f"is required in mode {mode}, for example 1m: keys expire there"
        )
    if mode == "persistent":
        if settings.key_ttl:
            yield scope.problem(
                "map.key_ttl", "keys do not expire in mode persistent; remove it or change map.mode"
            )
        if scope.options.subscription_type in {"map_clients", "map_users"}:
            yield scope.problem(
                "map.mode",
                f"persistent does not work with subscription_type"
                f" {scope.options.subscription_type}: keys of gone clients must expire;"
                " use ephemeral or recoverable",
            )
    if mode == "ephemeral":
        for option in ("stream_size", "stream_ttl", "meta_ttl"):
            if getattr(settings, option):
                yield scope.problem(
                    f"map.{option}",
                    "mode ephemeral keeps no stream; remove it or set map.mode to recoverable",
                )
    elif settings.meta_ttl > 0:
        stream_ttl = settings.stream_ttl or _STREAM_TTL
        if settings.meta_ttl < stream_ttl:
            yield scope.problem(
                "map.meta_ttl",
                f"{format_duration(settings.meta_ttl)} is shorter than map.stream_ttl,"
                f" {format_duration(stream_ttl)}; raise it or remove it",
            )


def _map_pages(scope: Scope) -> Iterator[Problem]:
    settings = scope.options.map
    low = settings.min_page_size or _MIN_PAGE
    high = settings.max_page_size or _MAX_PAGE
    default = settings.default_page_size or low
    if not low <= default <= high:
        yield scope.problem(
            "map.default_page_size",
            f"page sizes must not fall from minimum to default to maximum: they are"
            f" min_page_size {low}, default_page_size {default}, max_page_size {high}",
        )


def _presence_prefixes(config: Config) -> Iterator[Problem]:
    for scope in scopes(config):
        for kind in ("map_clients", "map_users"):
            option = f"{kind}_presence_channel_prefix"
            prefix: str = getattr(scope.options, option)
            if not prefix:
                continue
            target = options_of(config, prefix)
            if target is None or target.subscription_type != kind:
                yield scope.problem(
                    option,
                    f'"{prefix}" must lead into a namespace with subscription_type {kind};'
                    " add such a namespace, or change the prefix",
                )


def options_of(config: Config, channel: str) -> ChannelOptions | None:
    """Returns the options ``channel`` would have, None when its namespace does not exist."""
    names = config.channel
    name, _ = split_channel(channel, names.namespace_boundary, names.private_prefix)
    if not name:
        return names.without_namespace
    return next((each for each in names.namespaces if each.name == name), None)


def _shared_poll(config: Config) -> Iterator[Problem]:
    for scope in scopes(config):
        if scope.options.subscription_type != SHARED_POLL:
            continue
        if not config.shared_poll.hmac_secret_key:
            yield Problem(
                "shared_poll.hmac_secret_key",
                "is required: it signs the keys that clients may track",
                scope.label,
            )
        poll = scope.options.shared_poll
        if poll.publish_enabled and poll.mode != "versioned":
            yield scope.problem(
                "shared_poll.publish_enabled", "needs versions; set shared_poll.mode to versioned"
            )


def _personal_channel(config: Config) -> Iterator[Problem]:
    personal = config.client.subscribe_to_user_personal_channel
    if not personal.enabled:
        return
    key = "client.subscribe_to_user_personal_channel"
    name = personal.personal_channel_namespace
    spaces: dict[str, ChannelOptions] = {each.name: each for each in config.channel.namespaces}
    options = spaces.get(name) if name else config.channel.without_namespace
    if options is None:
        yield Problem(
            f"{key}.personal_channel_namespace",
            f'there is no namespace "{name}"; add it to channel.namespaces',
        )
    elif personal.single_connection and not options.presence:
        where = f'namespace "{name}"' if name else "channel.without_namespace"
        yield Problem(
            f"{key}.single_connection",
            f"needs to know who is connected; switch presence on in {where}",
        )


CHANNEL_RULES: Final[tuple[Callable[[Config], Iterator[Problem]], ...]] = (
    _namespace_names,
    _proxy_names,
    _history,
    _global_history,
    _allowed_values,
    _channel_regex,
    _publication_schema,
    _stream_proxy,
    _map,
    _presence_prefixes,
    _shared_poll,
    _personal_channel,
)
