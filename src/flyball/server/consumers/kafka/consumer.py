"""Reads topics as a member of a group, again and again until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from flyball.server.consumers.base import Consumer
from flyball.server.consumers.errors import SourceError
from flyball.server.consumers.kafka.complaints import Complaints, heard_by
from flyball.server.consumers.kafka.link import Link
from flyball.server.consumers.kafka.partitions import Partition, Share

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiokafka import ConsumerRecord
    from aiokafka.abc import AbstractTokenProvider

    from flyball.server.consumers.kafka.options import KafkaOptions
    from flyball.server.consumers.workers import Worker, Workers

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.consumers")

POLL: Final = 1.0
"""Seconds that one wait for records takes at most; then we look whether all is well."""
SLACK: Final = 2.0
"""Seconds that a broker may be late before it counts as silent."""
NOWHERE: Final = TopicPartition("", 0)
"""Stands for no partition, where none would mean all."""


class KafkaConsumer(Consumer):
    """A consumer of some topics.

    Partitions that the group gives to this node are done side by side, the records of each in
    their order. An offset is committed when its record is done, and all before it. When partitions
    change hands, the records that are being done are finished first.

    Args:
        options: which topics, and how.
        workers: who keeps the loops.
        method_header: name of the header with the method.
        tokens: gives those of ``aws-msk-iam``.
    """

    def __init__(
        self,
        options: KafkaOptions,
        workers: Workers,
        method_header: str,
        tokens: AbstractTokenProvider | None = None,
    ) -> None:
        self._options = options
        self._workers = workers
        self._method_header = method_header
        self._tokens = tokens
        self._share: Share | None = None
        self._attempts = 0

    async def start(self) -> None:
        """See :meth:`Consumer.start`."""
        self._workers.start("group", self._turn)

    async def stop(self) -> None:
        """See :meth:`Consumer.stop`."""
        self._workers.stopping = True  # no share begins any more
        if self._share is not None:
            await self._share.end()
        await self._workers.stop()

    async def _turn(self, worker: Worker) -> None:
        """One membership in the group; an error ends it, and the next one begins."""
        patience = self._options.fetch_max_wait + self._options.dial_timeout + SLACK
        complaints = Complaints(worker, self._workers.clock, patience)
        with heard_by(complaints.hear):
            link = await self._connect(worker, complaints)
            try:
                listener = _Rebalances(self, link)
                link.client.subscribe(self._options.topics, listener=listener)
                await self._read(worker, link, complaints, listener.news)
            except KafkaError as error:
                raise SourceError(str(error)) from None
            finally:
                if self._share is not None:
                    await self._share.end()
                await link.close()

    async def _connect(self, worker: Worker, complaints: Complaints) -> Link:
        """A link by the first broker that can be had, another one in each attempt."""
        brokers, reason = self._options.brokers, ""
        for _ in brokers:
            broker = brokers[self._attempts % len(brokers)]
            self._attempts += 1
            link = Link(self._options, broker, self._tokens)
            try:
                with worker.interruptible(), complaints.kept():
                    await link.connect()
            except BaseException as error:
                await link.close()
                if not isinstance(error, SourceError):
                    raise
                # The library logs why, and raises that it was so.
                reason = complaints.last or f"{broker}: {error}"
            else:
                return link
        raise SourceError(reason)

    # -- reading

    async def _read(
        self, worker: Worker, link: Link, complaints: Complaints, news: asyncio.Event
    ) -> None:
        while True:
            hungry = [] if self._share is None else self._share.hungry()
            with worker.interruptible():
                found = await self._poll(link, hungry, news)
            self._hand_over(link, found)
            complaints.look(link, hungry)

    async def _poll(
        self, link: Link, hungry: list[TopicPartition], news: asyncio.Event
    ) -> Mapping[TopicPartition, list[ConsumerRecord[Any, Any]]]:
        """Records of partitions that want some; none if others want some too meanwhile."""
        news.clear()
        get = link.client.getmany(*(hungry or [NOWHERE]), timeout_ms=round(POLL * 1000))
        getting = asyncio.ensure_future(get)
        told = asyncio.ensure_future(news.wait())
        try:
            await asyncio.wait((getting, told), return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            getting.cancel()  # it takes records and returns in one go: none is lost by that
            await asyncio.wait((getting, told))
        return {} if getting.cancelled() else getting.result()

    def _hand_over(
        self, link: Link, found: Mapping[TopicPartition, list[ConsumerRecord[Any, Any]]]
    ) -> None:
        for place, records in found.items():
            if self._share is None or not self._share.put(place, records):
                # The group is just changing: whoever has it then gets these again.
                with contextlib.suppress(IllegalStateError):
                    link.client.seek(place, records[0].offset)

    # -- what the group decides

    async def revoked(self) -> None:
        """The group takes all partitions back, to give them anew."""
        if self._share is not None:
            await self._share.end()

    def assigned(self, link: Link, places: Collection[TopicPartition], news: asyncio.Event) -> None:
        """The group has given these partitions to this node."""
        if self._workers.stopping:
            return
        logger.info(
            "consumer has partitions",
            consumer=self._workers.commands.name,
            group=self._options.group,
            partitions=sorted(f"{place.topic}:{place.partition}" for place in places),
        )
        size, header = self._options.queue_size, self._method_header
        partitions = [Partition(place, size, header) for place in places]
        self._share = Share(link.client, partitions, self._workers, news.set)
        news.set()


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Is told by the library what the group decides."""

    def __init__(self, consumer: KafkaConsumer, link: Link) -> None:
        self._consumer = consumer
        self._link = link
        self.news = asyncio.Event()
        """Set when other partitions want records than before."""

    async def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002 - all are
        """The group waits until this returns."""
        await self._consumer.revoked()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Nothing is read of these before this returns."""
        self._consumer.assigned(self._link, assigned, self.news)
