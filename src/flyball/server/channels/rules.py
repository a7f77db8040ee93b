"""Channel names and what holds for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flyball.server.channels.names import listed_users, split_channel
from flyball.server.channels.namespace import Namespace
from flyball.server.channels.options import ChannelOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.core.schemas import Faults

__all__ = ["ChannelRules", "ChannelRulesOptions", "ResolvedChannel"]

CACHED_CHANNELS: Final = 16_384
"""Channel names remembered at a time; with more in use the cache starts over."""


@dataclass(frozen=True, slots=True)
class ChannelRulesOptions:
    """Namespaces and the way channel names are read. TTLs are seconds, lengths bytes.

    An empty ``boundary``, ``private_prefix`` or ``user_boundary`` switches its rule off.
    """

    without_namespace: ChannelOptions = field(default_factory=ChannelOptions)
    """Of channels without a namespace."""
    namespaces: Mapping[str, ChannelOptions] = field(default_factory=dict)
    """By name."""
    boundary: str = ":"
    """Ends the namespace in a name."""
    private_prefix: str = "$"
    """Begins the names of channels that need a token."""
    user_boundary: str = "#"
    """Begins the list of users in a name."""
    user_separator: str = ","
    """Stands between them."""
    max_length: int = 255
    """0 or less: no limit."""
    publication_data_format: str = ""
    """Where the namespace says nothing."""
    history_meta_ttl: float = 2_592_000.0
    """Where the namespace says nothing."""


class ResolvedChannel:
    """All that a channel's name decides."""

    __slots__ = ("name", "namespace", "private", "user_limited", "users", "valid")

    def __init__(
        self,
        name: str,
        namespace: Namespace | None,
        *,
        valid: bool = False,
        private: bool = False,
        user_limited: bool = False,
        users: tuple[str, ...] = (),
    ) -> None:
        self.name: str = name
        self.namespace: Namespace | None = namespace
        """None: there is no such namespace."""
        self.valid: bool = valid
        """The name is what the namespace allows."""
        self.private: bool = private
        """Subscribing needs a token."""
        self.user_limited: bool = user_limited
        """Ends with a list of users, and the namespace admits (only) them."""
        self.users: tuple[str, ...] = users
        """The list, if it is user-limited."""


class ChannelRules:
    """Answers what holds for a channel. Immutable; a reload makes a new one.

    Args:
        options: namespaces, and the way names are read.
        cached: how many names are remembered at a time.
        faults: where publications that do not fit a schema are counted.

    Raises:
        ConfigError: a ``channel_regex`` does not compile, a data format is unknown, or a
            ``publication_schema`` is none.
    """

    __slots__ = ("_cache", "_cached", "_namespaces", "options", "without_namespace")

    def __init__(
        self,
        options: ChannelRulesOptions,
        *,
        cached: int = CACHED_CHANNELS,
        faults: Faults | None = None,
    ) -> None:
        self.options: ChannelRulesOptions = options
        self.without_namespace: Namespace = Namespace(
            "", options.without_namespace, options, faults
        )
        self._namespaces = {
            name: Namespace(name, own, options, faults) for name, own in options.namespaces.items()
        }
        self._cached = cached
        self._cache: dict[str, ResolvedChannel] = {}

    def resolve(self, channel: str) -> ResolvedChannel:
        """Everything about a channel's name; remembered, so cheap for channels in use."""
        found = self._cache.get(channel)
        return found if found is not None else self._resolve(channel)

    def _resolve(self, channel: str) -> ResolvedChannel:
        options = self.options
        name, rest = split_channel(channel, options.boundary, options.private_prefix)
        namespace = self.namespace_named(name)
        short = self._length_ok(channel)
        if namespace is None:
            found = ResolvedChannel(channel, None)
        else:
            limited = (
                namespace.options.allow_user_limited_channels
                and bool(options.user_boundary)
                and options.user_boundary in channel
            )
            users = listed_users(channel, options.user_boundary, options.user_separator)
            found = ResolvedChannel(
                channel,
                namespace,
                # Short names only: what a pattern costs grows with the name.
                valid=short and namespace.name_ok(channel, rest),
                private=bool(options.private_prefix) and channel.startswith(options.private_prefix),
                user_limited=limited,
                users=users if limited else (),
            )
        if short:
            self._remember(channel, found)
        return found

    def _remember(self, channel: str, found: ResolvedChannel) -> None:
        """Only short names: long ones are never in use, and would let strangers fill the memory."""
        if len(self._cache) >= self._cached:
            self._cache.clear()
        self._cache[channel] = found

    def _length_ok(self, channel: str) -> bool:
        limit = self.options.max_length
        return limit <= 0 or len(channel.encode("utf-8", "surrogatepass")) <= limit

    def namespace(self, channel: str) -> Namespace | None:
        """The channel's namespace, or None if there is no such namespace."""
        return self.resolve(channel).namespace

    def namespace_named(self, name: str) -> Namespace | None:
        """A namespace by its name; an empty name is the channels without one."""
        return self._namespaces.get(name) if name else self.without_namespace

    def personal_channel(self, user: str, namespace: str = "") -> str:
        """The channel of one user: ``#42`` or ``namespace:#42``."""
        options = self.options
        prefix = namespace + options.boundary if namespace else ""
        return f"{prefix}{options.user_boundary}{user}"
