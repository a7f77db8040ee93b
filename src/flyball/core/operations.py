"""What may be done with a channel, by the program or by a client: publish, history, presence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flyball.core.errors import Error
from flyball.core.types import HistoryFilter
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.core.broker import Broker, PresenceManager
    from flyball.core.metrics import Metrics
    from flyball.core.types import (
        ClientInfo,
        HistoryResult,
        PresenceStats,
        PublishOptions,
        PublishResult,
        Raw,
    )


class ChannelOperations:
    """The engine's abilities, counted."""

    __slots__ = ("_broker", "_metrics", "_presence")

    def __init__(self, broker: Broker, presence_manager: PresenceManager, metrics: Metrics) -> None:
        self._broker = broker
        self._presence = presence_manager
        self._metrics = metrics

    async def publish(
        self, channel: str, data: Raw, options: PublishOptions, info: ClientInfo | None
    ) -> PublishResult:
        """Publishes ready data with the publisher's info. Returns once the broker took it."""
        if info is not options.info:
            options = msgspec.structs.replace(options, info=info)
        self._metrics.messages_sent["publication"] += 1
        result = await self._broker.publish(channel, data, options)
        if result.suppressed:
            self._metrics.publish_suppressed[result.suppressed] += 1
        return result

    async def history(self, channel: str, query: HistoryFilter | None = None) -> HistoryResult:
        """Reads part of a stream.

        Raises:
            Error: 112 if ``query.since.epoch`` is given and not the stream's.
        """
        self._metrics.actions["history"] += 1
        query = query or HistoryFilter()
        result = await self._broker.history(channel, query)
        if query.since is not None and query.since.epoch not in ("", result.position.epoch):
            raise Error(codes.UNRECOVERABLE_POSITION)
        return result

    async def remove_history(self, channel: str) -> None:
        """Drops the publications of a stream; its position lives on."""
        self._metrics.actions["history_remove"] += 1
        await self._broker.remove_history(channel)

    async def presence(self, channel: str) -> Mapping[str, ClientInfo]:
        """Who is in ``channel``: client id to info, over all nodes."""
        self._metrics.actions["presence"] += 1
        return await self._presence.presence(channel)

    async def presence_stats(self, channel: str) -> PresenceStats:
        """How many are in ``channel``, over all nodes."""
        self._metrics.actions["presence_stats"] += 1
        return await self._presence.presence_stats(channel)
