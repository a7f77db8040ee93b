"""The partitions that a node has: each is an ordered queue with a loop of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from flyball.server.consumers.base import Message
from flyball.server.consumers.errors import SourceError, StoppedError
from flyball.server.consumers.kafka._private import commit
from flyball.server.consumers.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

    from flyball.server.consumers.workers import Worker

    Record: TypeAlias = ConsumerRecord[Any, Any]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.consumers")

COMMIT_INTERVAL: Final = 0.2
"""Seconds between two commits; what was done in between is done again if the node dies."""
_NOT_OURS: Final = (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)
"""Answers to commits for partitions that are given anew."""
LAST_COMMIT: Final = 3.0
"""Seconds for the commit before partitions are given away."""


class Partition:
    """Records of one partition, done one after the other.

    Args:
        place: which it is.
        most: records that may wait.
        method_header: name of the header with the method.
    """

    def __init__(self, place: TopicPartition, most: int, method_header: str) -> None:
        self.place: TopicPartition = place
        self.next: int | None = None
        """Offset behind the last record that is done; None: there is none yet."""
        self.committed: int | None = None
        """What the group knows of it."""
        self.most: int = most
        self._method_header = method_header
        self._queue: deque[Record] = deque()
        self._filled = asyncio.Event()
        self.changed: Callable[[Partition], None] = lambda _: None
        """Called after each record that is done."""

    @property
    def hungry(self) -> bool:
        """There is room for more."""
        return len(self._queue) < self.most

    @property
    def waiting(self) -> int:
        """Records that are not done."""
        return len(self._queue)

    def put(self, records: Iterable[Record]) -> None:
        """Takes records, those that follow the last ones."""
        self._queue.extend(records)
        self._filled.set()

    async def turn(self, worker: Worker) -> None:
        """Does the next record, however often it takes."""
        if not self._queue:
            self._filled.clear()
            with worker.interruptible():
                await self._filled.wait()
        record = self._queue[0]
        await worker.finish(self._message(record))
        self._queue.popleft()
        self.next = record.offset + 1
        self.changed(self)
        await asyncio.sleep(0)  # the other partitions, and all else there is, have their turn

    def _message(self, record: Record) -> Message:
        metadata: dict[str, str] = {}
        for name, value in record.headers:
            # Those that are no text are of no use here; of two with one name the first counts.
            metadata.setdefault(name, (value or b"").decode("utf-8", "replace"))
        return Message(
            data=record.value or b"",
            method=metadata.get(self._method_header, ""),
            metadata=metadata,
            place=f"topic {record.topic}, partition {record.partition}, offset {record.offset}",
        )


class Share:
    """What the group has given to this node, until it takes it back.

    Args:
        client: commits.
        partitions: that it has.
        workers: of the consumer; those of the partitions are others.
        room: called when a partition that was full wants more.
    """

    def __init__(
        self,
        client: AIOKafkaConsumer,
        partitions: Iterable[Partition],
        workers: Workers,
        room: Callable[[], None],
    ) -> None:
        self.partitions: dict[TopicPartition, Partition] = {p.place: p for p in partitions}
        self._client = client
        self._room = room
        self._workers = Workers(workers.commands, workers.clock)
        self._marked = asyncio.Event()
        self._ending = asyncio.Lock()
        for partition in self.partitions.values():
            partition.changed = self._changed
            name = f"topic {partition.place.topic}, partition {partition.place.partition}"
            self._workers.start(name, partition.turn)
        self._workers.start("commits", self._commit_turn)

    @property
    def over(self) -> bool:
        """It is taken back, or is just being."""
        return self._workers.stopping

    def hungry(self) -> list[TopicPartition]:
        """Partitions that want more."""
        if self.over:
            return []
        return [place for place, partition in self.partitions.items() if partition.hungry]

    def put(self, place: TopicPartition, records: Iterable[Record]) -> bool:
        """Takes records, if their partition is one of these."""
        if self.over or place not in self.partitions:
            return False
        self.partitions[place].put(records)
        return True

    async def end(self) -> None:
        """Returns when no record is being done, and those that were are committed.

        The others stay: whoever has their partition next does them.
        """
        async with self._ending:
            if self.over:
                return
            await self._workers.stop()
            await self._last_commit()

    def _changed(self, partition: Partition) -> None:
        self._marked.set()
        # Half of it must be free: not a fetch for each record.
        if partition.waiting == partition.most // 2:
            self._room()

    # -- commits

    async def _commit_turn(self, worker: Worker) -> None:
        with worker.interruptible():
            await self._marked.wait()
            self._marked.clear()
            try:
                await self._commit()
            except _NOT_OURS:
                raise StoppedError("this share ends soon") from None
            except KafkaError as error:
                self._marked.set()
                if not error.retriable:  # others the library has logged
                    raise SourceError(f"offsets are not committed: {error}") from None
        await worker.sleep(COMMIT_INTERVAL)

    async def _last_commit(self) -> None:
        try:
            async with asyncio.timeout(LAST_COMMIT):
                await self._commit()
        except _NOT_OURS:
            reason = "the group has given the partitions to others"
        except TimeoutError:
            reason = f"no answer within {LAST_COMMIT:g} s"
        except KafkaError as error:
            reason = str(error)
        else:
            return
        logger.warning(
            "offsets are not committed: the last records may be done again",
            consumer=self._workers.commands.name,
            reason=reason,
        )

    async def _commit(self) -> None:
        """Tells the group how far we are."""
        offsets = {
            place: partition.next
            for place, partition in self.partitions.items()
            if partition.next is not None and partition.next != partition.committed
        }
        if offsets:
            await commit(self._client, offsets)
        for place, offset in offsets.items():
            self.partitions[place].committed = offset
