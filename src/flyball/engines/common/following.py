"""Brokers whose streams are followed over what happens to the links to their servers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from flyball.core.broker import Broker
from flyball.engines.common.continuity import Continuity
from flyball.engines.common.parts import ServersPart, V

if TYPE_CHECKING:
    from flyball.core.broker import BrokerEvents
    from flyball.core.types import StreamPosition
    from flyball.engines.common.continuity import Seen

__all__ = ["FollowingBroker"]

M = TypeVar("M")


class FollowingBroker(ServersPart[V], Broker, Generic[V, M]):
    """Tells of lost links, and of links that are back once the streams were looked at.

    Args:
        servers: shared with the other parts of the engine.
    """

    def __init__(self, servers: V) -> None:
        super().__init__(servers)
        self._events: BrokerEvents | None = None
        max_wait = max(shard.io_timeout for shard in servers.options)
        self._continuity: Continuity[M] = Continuity(self._unchanged, self._deliver, max_wait)

    async def start(self, events: BrokerEvents) -> None:
        """See :meth:`Broker.start`."""
        await self.close()
        self._events = events
        self._listen()
        status = self._servers.status
        status.on_lost = self._lost
        status.on_resubscribing = self._continuity.hold
        status.on_resubscribed = self._continuity.look
        status.on_restored = self._restored
        try:
            await self._servers.acquire()
        except BaseException:
            self._events = None
            raise

    async def close(self) -> None:
        """See :meth:`Broker.close`."""
        if self._events is not None:
            self._events = None
            await self._continuity.close()
            await self._servers.release()

    def _follows(self, channel: str, position: StreamPosition, hash_: int) -> bool:
        """Whether a publication may come after the last one of its stream, which keeps history.

        If not, the stream went back under an open link, and all streams are looked at.
        """
        if self._continuity.saw(channel, position.offset, position.epoch, hash_):
            return True
        self._continuity.hold()
        self._restored()
        return False

    def _lost(self, reason: str) -> None:
        if self._events is not None:
            self._events.on_broker_lost(f"{self._servers.engine} {reason}")

    def _restored(self) -> None:
        if self._events is not None:
            self._continuity.look(self._tell_restored)

    def _tell_restored(self) -> None:
        if self._events is not None:
            self._events.on_broker_restored()

    @abstractmethod
    def _listen(self) -> None:
        """Messages of channels are to come here."""

    @abstractmethod
    async def _unchanged(self, channel: str, seen: Seen) -> bool:
        """Whether a stream still has the publication; if not it gets a fresh epoch."""

    @abstractmethod
    def _deliver(self, channel: str, message: M) -> None:
        """Passes one message on."""
