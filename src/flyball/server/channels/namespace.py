"""One namespace: its options, made ready for use."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from flyball.core.errors import ConfigError, Error
from flyball.core.types import NO_DATA, PublishOptions, Raw, RecoveryMode, SubscribeOptions
from flyball.server.channels.access import HISTORY, OPERATIONS, PRESENCE, Access
from flyball.server.channels.data_format import CHECKS
from flyball.server.channels.publication_schema import read_schema
from flyball.server.common.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.core.schemas import Faults, PayloadSchema
    from flyball.core.types import SubscriptionSource
    from flyball.server.channels.options import ChannelOptions
    from flyball.server.channels.overrides import Overrides
    from flyball.server.common.patterns import Pattern

__all__ = ["Namespace", "NamespaceDefaults"]


class NamespaceDefaults(Protocol):
    """What holds where a namespace says nothing."""

    @property
    def publication_data_format(self) -> str:
        """What publication data must be."""

    @property
    def history_meta_ttl(self) -> float:
        """Seconds that offset and epoch of a stream live."""


class Namespace:
    """The options of one namespace, ready for use.

    Args:
        name: of the namespace, empty for channels without one.
        options: what is set for it.
        defaults: what holds where it says nothing.
        faults: where publications that do not fit its schema are counted.

    Raises:
        ConfigError: the ``channel_regex`` does not compile, the data format is unknown, or the
            ``publication_schema`` is none.
    """

    __slots__ = (
        "_subscribe_options",
        "access",
        "data_ok",
        "meta_ttl",
        "name",
        "options",
        "pattern",
        "publish_options",
        "schema",
    )

    def __init__(
        self,
        name: str,
        options: ChannelOptions,
        defaults: NamespaceDefaults,
        faults: Faults | None = None,
    ) -> None:
        self.name: str = name
        """Empty for channels without a namespace."""
        self.options: ChannelOptions = options
        where = f"channel.namespaces[{name}]" if name else "channel.without_namespace"
        self.pattern: Pattern | None = None
        if options.channel_regex:
            self.pattern = compile_pattern(options.channel_regex, f"{where}.channel_regex")
        kind = options.publication_data_format or defaults.publication_data_format
        if kind not in CHECKS:
            allowed = ", ".join(repr(name) for name in CHECKS)
            message = f"{where}.publication_data_format is {kind!r}, allowed are {allowed}"
            raise ConfigError(message)
        self.data_ok: Callable[[Raw | bytes], bool] = CHECKS[kind]
        """Whether data may be published here."""
        self.schema: PayloadSchema | None = None
        """What publications must fit."""
        if options.publication_schema:
            self.schema = read_schema(
                options.publication_schema,
                f"{where}.publication_schema",
                f"{name}:*" if name else "*",
                defaultdict(int) if faults is None else faults,
            )
        self.meta_ttl: float = options.history_meta_ttl or defaults.history_meta_ttl
        self.publish_options: PublishOptions = PublishOptions(
            history_size=options.history_size,
            history_ttl=options.history_ttl,
            history_meta_ttl=self.meta_ttl,
            delta=options.delta_publish,
        )
        """Of a publication about which nothing else is known."""
        self.access: Final = {each: Access(each, options) for each in OPERATIONS}
        """Who may do what."""
        self._subscribe_options: dict[
            tuple[tuple[bool, bool], SubscriptionSource | None], SubscribeOptions
        ] = {}

    def __repr__(self) -> str:
        return f"<Namespace {self.name!r}>"

    def name_ok(self, channel: str, rest: str) -> bool:
        """Whether a channel may have this name; ``rest`` follows the namespace's."""
        return channel.isascii() if self.pattern is None else self.pattern.search(rest)

    def misfit(self, data: Raw | bytes) -> str:
        """Where ``data`` does not fit the ``publication_schema``; empty if it does."""
        if self.schema is not None:
            try:
                self.schema.check(Raw(data))
            except Error as error:
                return error.detail
        return ""

    def rights(self, user: str, *, insecure: bool) -> tuple[bool, bool]:
        """Whether ``user``, once subscribed, may read history, and presence.

        Then it may also ask for positions and recovery, and for joins and leaves.
        """
        return (
            self.access[HISTORY].of_subscriber(user, insecure=insecure),
            self.access[PRESENCE].of_subscriber(user, insecure=insecure),
        )

    def subscribe_options(
        self,
        rights: tuple[bool, bool] = (False, False),
        source: SubscriptionSource | None = None,
    ) -> SubscribeOptions:
        """How a subscription behaves if nobody overrides anything; one value for all of them.

        Args:
            rights: see :meth:`rights`.
            source: who wants it; None is told by the way it comes about.
        """
        found = self._subscribe_options.get((rights, source))
        if found is None:
            found = replace(self._make_subscribe_options(*rights), source=source)
            self._subscribe_options[rights, source] = found
        return found

    def _make_subscribe_options(self, history: bool, presence: bool) -> SubscribeOptions:
        options = self.options
        cache = options.force_recovery_mode == "cache"
        return SubscribeOptions(
            presence=options.presence,
            join_leave=options.join_leave,
            push_join_leave=options.force_push_join_leave,
            allow_join_leave=options.join_leave and presence,
            positioned=options.force_positioning,
            allow_positioning=options.allow_positioning or history,
            recoverable=options.force_recovery,
            allow_recovery=options.allow_recovery or history,
            recovery_mode=RecoveryMode.CACHE if cache else RecoveryMode.STREAM,
            auto_cache_recover=options.auto_cache_recover,
            history_meta_ttl=self.meta_ttl,
            allowed_deltas=frozenset(options.allowed_delta_types),
            allow_tags_filter=options.allow_tags_filter,
            client_side_refresh=not options.sub_refresh_proxy_enabled,
        )

    def shaped_options(
        self,
        overrides: Overrides,
        rights: tuple[bool, bool] = (False, False),
        *,
        info: Raw = NO_DATA,
        data: Raw = NO_DATA,
        expire_at: float = 0.0,
    ) -> SubscribeOptions:
        """Options of one subscription that somebody (a token, a proxy, the API) shaped.

        Args:
            overrides: what is to be in place of the namespace's options.
            rights: see :meth:`rights`.
            info: ``chan_info`` of the subscriber.
            data: sent to the client in the subscribe result.
            expire_at: Unix seconds, 0 never.
        """
        plain = self.subscribe_options(rights)
        if not (overrides or info or data or expire_at):
            return plain
        return replace(plain, info=info, data=data, expire_at=expire_at, **overrides)
