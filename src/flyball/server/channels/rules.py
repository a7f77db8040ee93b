"""Channel names and the options that hold for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from flyball.core.errors import ConfigError
from flyball.core.types import NO_DATA, PublishOptions, RecoveryMode, SubscribeOptions
from flyball.server.channels.data_format import CHECKS
from flyball.server.channels.options import ChannelOptions
from flyball.server.common.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flyball.core.types import ClientInfo, Raw
    from flyball.server.common.patterns import Pattern

__all__ = ["ChannelRules", "ChannelRulesOptions", "Namespace", "Overrides", "ResolvedChannel"]

CACHED_CHANNELS: Final = 16_384
"""Channel names remembered at a time; with more in use the cache starts over."""


class Overrides(Protocol):
    """Namespace options replaced for one subscription; None keeps the namespace's value."""

    @property
    def presence(self) -> bool | None:
        """Keep the subscriber in presence."""

    @property
    def join_leave(self) -> bool | None:
        """Emit its join and leave."""

    @property
    def force_push_join_leave(self) -> bool | None:
        """Deliver join and leave of others to it."""

    @property
    def force_positioning(self) -> bool | None:
        """Track its position."""

    @property
    def force_recovery(self) -> bool | None:
        """Make it recoverable."""


@dataclass(frozen=True, slots=True)
class ChannelRulesOptions:
    """Namespaces and the way channel names are read. TTLs are seconds, lengths bytes.

    An empty ``boundary``, ``private_prefix`` or ``user_boundary`` switches its rule off.
    """

    without_namespace: ChannelOptions = field(default_factory=ChannelOptions)
    namespaces: Mapping[str, ChannelOptions] = field(default_factory=dict)
    boundary: str = ":"
    private_prefix: str = "$"
    user_boundary: str = "#"
    user_separator: str = ","
    max_length: int = 255
    """0 or less: no limit."""
    publication_data_format: str = ""
    """Where the namespace says nothing."""
    history_meta_ttl: float = 2_592_000.0
    """Where the namespace says nothing."""


class Namespace:
    """The options of one namespace, ready for use."""

    __slots__ = (
        "_subscribe_options",
        "data_ok",
        "meta_ttl",
        "name",
        "options",
        "pattern",
        "publish_options",
    )

    def __init__(self, name: str, options: ChannelOptions, rules: ChannelRulesOptions) -> None:
        self.name = name
        """Empty for channels without a namespace."""
        self.options = options
        where = f"channel.namespaces[{name}]" if name else "channel.without_namespace"
        self.pattern: Pattern | None = None
        if options.channel_regex:
            self.pattern = compile_pattern(options.channel_regex, f"{where}.channel_regex")
        kind = options.publication_data_format or rules.publication_data_format
        if kind not in CHECKS:
            allowed = ", ".join(repr(name) for name in CHECKS)
            message = f"{where}.publication_data_format is {kind!r}, allowed are {allowed}"
            raise ConfigError(message)
        self.data_ok: Callable[[Raw | bytes], bool] = CHECKS[kind]
        """Whether data may be published here."""
        self.meta_ttl = options.history_meta_ttl or rules.history_meta_ttl
        self.publish_options = PublishOptions(
            history_size=options.history_size,
            history_ttl=options.history_ttl,
            history_meta_ttl=self.meta_ttl,
            delta=options.delta_publish,
        )
        """Of a publication about which nothing else is known."""
        self._subscribe_options: dict[tuple[bool, bool], SubscribeOptions] = {}

    def __repr__(self) -> str:
        return f"<Namespace {self.name!r}>"

    @property
    def keeps_history(self) -> bool:
        """Whether the channels have a stream."""
        return self.options.history_size > 0 and self.options.history_ttl > 0

    def subscribe_options(
        self, *, history_access: bool = False, presence_access: bool = False
    ) -> SubscribeOptions:
        """How a subscription behaves if nobody overrides anything.

        ``history_access`` and ``presence_access`` say whether the client, once subscribed,
        may read history and presence: then it may also ask for positions and for joins.
        """
        key = (history_access, presence_access)
        found = self._subscribe_options.get(key)
        if found is None:
            found = self.make_subscribe_options(
                history_access=history_access, presence_access=presence_access
            )
            self._subscribe_options[key] = found
        return found

    def make_subscribe_options(
        self,
        override: Overrides | None = None,
        *,
        history_access: bool = False,
        presence_access: bool = False,
        info: Raw = NO_DATA,
        data: Raw = NO_DATA,
        expire_at: float = 0.0,
    ) -> SubscribeOptions:
        """Options of one subscription that somebody (a token, a proxy, the API) shaped."""
        options = self.options
        presence, join_leave = options.presence, options.join_leave
        push, positioned = options.force_push_join_leave, options.force_positioning
        recoverable = options.force_recovery
        if override is not None:
            presence = _either(override.presence, presence)
            join_leave = _either(override.join_leave, join_leave)
            push = _either(override.force_push_join_leave, push)
            positioned = _either(override.force_positioning, positioned)
            recoverable = _either(override.force_recovery, recoverable)
        cache = options.force_recovery_mode == "cache"
        return SubscribeOptions(
            presence=presence,
            join_leave=join_leave,
            push_join_leave=push,
            allow_join_leave=options.join_leave and presence_access,
            positioned=positioned,
            allow_positioning=options.allow_positioning or history_access,
            recoverable=recoverable,
            allow_recovery=options.allow_recovery or history_access,
            recovery_mode=RecoveryMode.CACHE if cache else RecoveryMode.STREAM,
            auto_cache_recover=options.auto_cache_recover,
            history_meta_ttl=self.meta_ttl,
            allowed_deltas=frozenset(options.allowed_delta_types),
            allow_tags_filter=options.allow_tags_filter,
            expire_at=expire_at,
            client_side_refresh=not options.sub_refresh_proxy_enabled,
            info=info,
            data=data,
        )


def _either(override: bool | None, value: bool) -> bool:
    return value if override is None else override


def _name_ok(channel: str, rest: str, namespace: Namespace) -> bool:
    if namespace.pattern is None:
        return channel.isascii()
    return namespace.pattern.search(rest)


class ResolvedChannel:
    """All that a channel's name decides."""

    __slots__ = ("name", "namespace", "private", "user_limited", "valid")

    def __init__(
        self,
        name: str,
        namespace: Namespace | None,
        *,
        valid: bool = False,
        private: bool = False,
        user_limited: bool = False,
    ) -> None:
        self.name = name
        self.namespace = namespace
        """None: there is no such namespace."""
        self.valid = valid
        """The name is what the namespace allows."""
        self.private = private
        """Subscribing needs a token."""
        self.user_limited = user_limited
        """Ends with a list of users, and the namespace admits (only) them."""


class ChannelRules:
    """Answers what holds for a channel. Immutable; a reload makes a new one.

    Raises:
        ConfigError: a ``channel_regex`` does not compile, or a data format is unknown.
    """

    __slots__ = ("_by_options", "_cache", "_namespaces", "options", "without_namespace")

    def __init__(self, options: ChannelRulesOptions) -> None:
        self.options = options
        self.without_namespace = Namespace("", options.without_namespace, options)
        self._namespaces = {
            name: Namespace(name, own, options) for name, own in options.namespaces.items()
        }
        # Options are asked about again and again; hashing sixty fields each time is slow.
        self._by_options = {
            id(n.options): n for n in (self.without_namespace, *self._namespaces.values())
        }
        self._cache: dict[str, ResolvedChannel] = {}

    # -- names

    def resolve(self, channel: str) -> ResolvedChannel:
        """Everything about a channel's name; remembered, so cheap for channels in use."""
        found = self._cache.get(channel)
        return found if found is not None else self._resolve(channel)

    def _resolve(self, channel: str) -> ResolvedChannel:
        options = self.options
        limit = options.max_length
        too_long = limit > 0 and len(channel.encode("utf-8", "surrogatepass")) > limit
        name, rest = self._split(channel)
        namespace = self.namespace_named(name)
        if namespace is None:
            found = ResolvedChannel(channel, None)
        else:
            boundary = options.user_boundary
            limited = (
                namespace.options.allow_user_limited_channels
                and bool(boundary)
                and boundary in channel
            )
            found = ResolvedChannel(
                channel,
                namespace,
                valid=not too_long and _name_ok(channel, rest, namespace),
                private=self.is_private(channel),
                user_limited=limited,
            )
        # Long names are never in use, and would let strangers fill the memory.
        if not too_long:
            if len(self._cache) >= CACHED_CHANNELS:
                self._cache.clear()
            self._cache[channel] = found
        return found

    def _split(self, channel: str) -> tuple[str, str]:
        """The namespace's name, and what the namespace's pattern looks at."""
        options = self.options
        boundary, prefix = options.boundary, options.private_prefix
        public = channel.removeprefix(prefix) if prefix else channel
        if not boundary or boundary not in public:
            return "", channel
        name, _, rest = public.partition(boundary)
        return name, rest

    def namespace_of(self, channel: str) -> str:
        """The name of the channel's namespace, known or not; empty if the channel has none."""
        return self._split(channel)[0]

    def namespace(self, channel: str) -> Namespace | None:
        """The channel's namespace, or None if there is no such namespace."""
        return self.resolve(channel).namespace

    def namespace_options(self, channel: str) -> ChannelOptions | None:
        """The options of the channel's namespace, or None if there is no such namespace."""
        namespace = self.resolve(channel).namespace
        return namespace.options if namespace is not None else None

    def namespace_named(self, name: str) -> Namespace | None:
        """A namespace by its name; an empty name is the channels without one."""
        return self._namespaces.get(name) if name else self.without_namespace

    def name_ok(self, channel: str) -> bool:
        """Whether the namespace exists and allows the name: its pattern, or ASCII; length."""
        return self.resolve(channel).valid

    def length_ok(self, channel: str) -> bool:
        """Whether the name is short enough (bytes of UTF-8)."""
        limit = self.options.max_length
        return limit <= 0 or len(channel.encode("utf-8", "surrogatepass")) <= limit

    def is_private(self, channel: str) -> bool:
        """Whether clients need a token to subscribe."""
        prefix = self.options.private_prefix
        return bool(prefix) and channel.startswith(prefix)

    # -- users in names

    def users_of(self, channel: str) -> tuple[str, ...]:
        """The users listed at the end of a channel's name; anonymous ones are never listed."""
        boundary, separator = self.options.user_boundary, self.options.user_separator
        if not boundary or boundary not in channel:
            return ()
        listed = channel.rpartition(boundary)[2]
        users = listed.split(separator) if separator else [listed]
        return tuple(user for user in users if user)

    def user_listed(self, channel: str, user: str) -> bool:
        """Whether ``user`` is listed at the end of the channel's name."""
        return bool(user) and user in self.users_of(channel)

    def personal_channel(self, user: str, namespace: str = "") -> str:
        """The channel of one user: ``#42`` or ``namespace:#42``."""
        options = self.options
        prefix = namespace + options.boundary if namespace else ""
        return f"{prefix}{options.user_boundary}{user}"

    # -- options for the core

    def compiled(self, options: ChannelOptions) -> Namespace:
        """The namespace that ``options`` (from these rules) belong to."""
        found = self._by_options.get(id(options))
        return found if found is not None else Namespace("", options, self.options)

    def data_ok(self, options: ChannelOptions, data: Raw | bytes) -> bool:
        """Whether ``data`` has the ``publication_data_format`` of the channel."""
        return self.compiled(options).data_ok(data)

    def subscribe_options(
        self,
        channel: str,
        options: ChannelOptions,
        override: Overrides | None = None,
        *,
        info: Raw = NO_DATA,
        data: Raw = NO_DATA,
        expire_at: float = 0.0,
    ) -> SubscribeOptions:
        """How a server-made subscription behaves (token, proxy, server API).

        The namespace's options, with what ``override`` names put in their place. ``channel``
        is part of the signature for rules by name; ``expire_at`` is Unix seconds, 0 never.
        """
        namespace = self.resolve(channel).namespace
        if namespace is None or namespace.options is not options:
            namespace = self.compiled(options)
        if override is None and not info and not data and not expire_at:
            return namespace.subscribe_options()
        return namespace.make_subscribe_options(override, info=info, data=data, expire_at=expire_at)

    def publish_options(
        self,
        options: ChannelOptions,
        *,
        skip_history: bool = False,
        delta: bool | None = None,
        info: ClientInfo | None = None,
        tags: dict[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> PublishOptions:
        """How a publication into such a channel is kept; ``delta`` None takes the namespace's.

        Without any extra it is one value for all publications of the namespace.
        """
        namespace = self.compiled(options)
        plain = namespace.publish_options
        if not (
            skip_history
            or delta is not None
            or info is not None
            or tags
            or idempotency_key
            or version
            or version_epoch
        ):
            return plain
        return PublishOptions(
            history_size=plain.history_size,
            history_ttl=plain.history_ttl,
            history_meta_ttl=plain.history_meta_ttl,
            skip_history=skip_history,
            info=info,
            tags=tags,
            idempotency_key=idempotency_key,
            delta=plain.delta if delta is None else delta,
            version=version,
            version_epoch=version_epoch,
        )
