"""The interfaces that engines implement: keep and spread publications, presence, control.

Methods are coroutines. One that can answer at once simply never suspends: the node drives
it without a task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from flyball.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

    from flyball.core.types import (
        ClientInfo,
        HistoryFilter,
        HistoryResult,
        PresenceStats,
        Publication,
        PublishOptions,
        PublishResult,
        StreamPosition,
    )


class BrokerEvents(Protocol):
    """What a broker tells its node. Called from the event loop, in order for each channel."""

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        *,
        delta: bool = False,
        previous: Publication | None = None,
        lag: float | None = None,
    ) -> None:
        """A publication for the subscribers of this node.

        ``position`` has an empty epoch where the channel keeps no history. ``previous`` is
        the publication before it in the stream, given when ``delta`` was asked. ``lag`` says
        how many seconds it was on its way, if that is known (:func:`take_lag`).
        """

    def on_join(self, channel: str, info: ClientInfo) -> None:
        """Somebody subscribed, on any node."""

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        """Somebody left, on any node."""

    def on_broker_lost(self, reason: str) -> None:
        """The link to the store is lost: publications may be missed from now on."""

    def on_broker_restored(self) -> None:
        """The link is back, with all subscriptions: positions must be checked at once."""


class NoEvents(BrokerEvents):
    """For who only publishes."""

    def on_publication(self, *_args: object, **_fields: object) -> None:
        """See :class:`BrokerEvents`."""

    def on_join(self, channel: str, info: ClientInfo) -> None:
        """See :class:`BrokerEvents`."""

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        """See :class:`BrokerEvents`."""

    def on_broker_lost(self, reason: str) -> None:
        """See :class:`BrokerEvents`: the next publish says why it fails."""

    def on_broker_restored(self) -> None:
        """See :class:`BrokerEvents`."""


def at_work() -> ConfigError:
    """What :meth:`Broker.open_to_publish` raises if the broker is open already."""
    message = (
        "this engine is at work already, for a node, or since before a fork:"
        " a publisher needs an engine of its own"
    )
    return ConfigError(message)


def take_lag(publication: Publication, now: float) -> float | None:
    """Seconds since ``publication`` was made, if its time is known, which no client is told.

    ``now`` in Unix seconds.
    """
    made, publication.time = publication.time, 0
    return max(now - made / 1000, 0.0) if made else None


class EnginePart(ABC):
    """What the parts of an engine have in common: a life, and trouble."""

    @property
    def problem(self) -> str:
        """Why it cannot work now, in a sentence; empty if all is well. Shown by health checks."""
        return ""

    @abstractmethod
    async def close(self) -> None:
        """Stops. May be called twice, and without a start."""


class Broker(EnginePart):
    """Keeps streams and spreads publications between nodes.

    What it cannot do for the store's sake raises ``EngineError``. ``subscribe`` raises it too,
    ``unsubscribe`` does not: a channel that nobody wants is not asked for again.
    """

    @abstractmethod
    async def start(self, events: BrokerEvents) -> None:
        """Connects; publications of subscribed channels go to ``events`` from now on.

        May be called again after :meth:`close`, also in another event loop.

        Raises:
            ConfigError: the store cannot be used as configured.
        """

    async def open_to_publish(self) -> None:
        """Connects for :meth:`publish` alone, in a program without a node; :meth:`close` ends it.

        Raises:
            ConfigError: the store cannot be used as configured, or the broker is at work already.
        """
        await self.start(NoEvents())

    @abstractmethod
    async def close(self) -> None:
        """Stops; nothing reaches ``events`` afterwards. May be called twice, and without a start."""

    @abstractmethod
    async def subscribe(self, channel: str) -> None:
        """This node has subscribers of ``channel`` from now on."""

    @abstractmethod
    async def unsubscribe(self, channel: str) -> None:
        """This node has none any more."""

    @abstractmethod
    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """Adds to the stream if ``options`` keep history, and spreads to all subscribed nodes.

        Returns once the store took it. A repeated idempotency key, or a version not above
        the last one of its version epoch, publishes nothing and returns the position with
        ``suppressed`` set. The publication with offset 1 carries the ``epoch``.
        """

    @abstractmethod
    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """Spreads a join (or a leave) to all subscribed nodes."""

    @abstractmethod
    async def history(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """Reads the stream. An untouched channel gets a fresh epoch with offset 0.

        ``query.meta_ttl`` (seconds, 0: the broker's default) prolongs the life of the position.
        Forward reads return offsets above ``query.since``, reverse ones below, newest first;
        without ``since`` from the oldest, or newest. Epochs are compared by the caller.
        """

    @abstractmethod
    async def remove_history(self, channel: str) -> None:
        """Drops the publications; offset and epoch live on."""

    async def renew_epoch(self, channel: str, seen: StreamPosition) -> None:
        """The stream went back behind ``seen``, a position that it had: a replica without the
        last publications took over. Gives it a fresh epoch if it still has that of ``seen``, so
        that nobody takes other publications with the same offsets for those.

        Brokers whose store cannot go back have nothing to do.
        """


class PresenceManager(EnginePart):
    """Knows who is subscribed, over all nodes."""

    async def start(self) -> None:
        """Connects, where there is something to connect to; again after :meth:`close`, if asked.

        Raises:
            ConfigError: the store cannot be used as configured.
        """

    @abstractmethod
    async def add_presence(self, channel: str, client_id: str, info: ClientInfo) -> None:
        """Adds or prolongs an entry; it vanishes if not prolonged within the presence TTL."""

    @abstractmethod
    async def remove_presence(self, channel: str, client_id: str, user: str) -> None:
        """Removes an entry; silent if there is none."""

    @abstractmethod
    async def presence(self, channel: str) -> Mapping[str, ClientInfo]:
        """Client id to client info."""

    @abstractmethod
    async def presence_stats(self, channel: str) -> PresenceStats:
        """Numbers of clients and of distinct users."""


class ControlEvents(Protocol):
    """What a controller tells its node."""

    def on_control(self, message: bytes) -> None:
        """A control message from a node (also from this one when broadcast)."""


class Controller(EnginePart):
    """Carries control messages between nodes."""

    @abstractmethod
    async def start(self, events: ControlEvents, node_id: str) -> None:
        """Connects; messages to all nodes and to ``node_id`` go to ``events``.

        May be called again after :meth:`close`, also in another event loop.
        """

    @abstractmethod
    async def publish_control(self, message: bytes, node_id: str = "") -> None:
        """Sends to one node, or to all (this one included) if ``node_id`` is empty."""
