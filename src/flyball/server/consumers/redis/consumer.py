"""Reads Redis streams: each in a loop and over a connection of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from flyball.core.errors import FlyballError
from flyball.engines.redis.connection import ReplyError
from flyball.server.consumers.base import Consumer, Message
from flyball.server.consumers.errors import SourceError, StoppedError
from flyball.server.consumers.in_hand import BatchSize, Holding
from flyball.server.consumers.redis.group import MOST, Entry, Group
from flyball.server.consumers.redis.position import Position

if TYPE_CHECKING:
    from flyball.aio.clock import Clock
    from flyball.server.consumers.redis.options import StreamOptions
    from flyball.server.consumers.workers import Worker, Workers

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.consumers")

CLAIM_INTERVAL: Final = 5.0
"""Seconds between looks for entries that others had too long; we wait for new ones meanwhile."""
START: Final = b"0-0"


class RedisStreamConsumer(Consumer):
    """A consumer of some streams, for as long as it runs.

    Args:
        options: which streams, and how.
        workers: who keeps the loops.
        name: of this consumer in the group; none of another node, or of this one, has it.
    """

    def __init__(self, options: StreamOptions, workers: Workers, name: str) -> None:
        self._workers = workers
        self._readers: list[Reader] = []
        for stream in options.streams:
            position = Position()
            for number in range(options.num_workers):
                consumer = f"{name}-{number + 1}" if options.num_workers > 1 else name
                group = Group(options, stream, consumer, position)
                self._readers.append(Reader(group, options, workers.clock))

    async def start(self) -> None:
        """See :meth:`Consumer.start`."""
        for reader in self._readers:
            self._workers.start(f"{reader.stream}, consumer {reader.consumer}", reader.turn)

    async def stop(self) -> None:
        """See :meth:`Consumer.stop`."""
        await asyncio.gather(self._workers.stop(), *(r.wake() for r in self._readers))
        await asyncio.gather(*(reader.close() for reader in self._readers))


class Reader:
    """One loop that reads a stream.

    Whenever anything failed it asks what it was given before: Redis knows that better than we do.

    Args:
        group: the stream's.
        options: names of the values, times.
        clock: where time comes from.
    """

    def __init__(self, group: Group, options: StreamOptions, clock: Clock) -> None:
        self.stream: str = group.stream
        self.consumer: str = group.consumer
        self._group = group
        self._options = options
        self._clock = clock
        self._size = BatchSize(MOST)
        self._payload = options.payload_value.encode()
        self._method = options.method_value.encode()
        self._in_doubt = True
        """There may be entries that we were given and know nothing of."""
        self._reads = False
        self._claim_at = 0.0
        self._claim_from = START
        self._done: dict[bytes, Entry] = {}
        """Entries that are done, and of which Redis may not know that yet."""

    # -- the loop

    async def turn(self, worker: Worker) -> None:
        """Does the entries that are there, and waits if there are none."""
        try:
            if not self._group.up:
                await self._open(worker)
            entries = await self._next(worker)
            if entries:
                self._size.saw(max(entry.size for entry in entries))
                await self._do_all(entries, worker)
        except StoppedError:
            raise
        except Exception as error:
            self._in_doubt = True
            self._group.drop(str(error))
            if worker.stopping:
                raise StoppedError("the consumer stops") from None
            if isinstance(error, (FlyballError, TimeoutError)):
                raise self._explained(error) from None
            raise

    async def _open(self, worker: Worker) -> None:
        with worker.interruptible():
            await self._group.open()
        self._in_doubt = True
        self._claim_at, self._claim_from = self._clock.monotonic(), START

    async def _next(self, worker: Worker) -> list[Entry]:
        """What is to be done next: what we were given, what others left, what is new."""
        if self._in_doubt:
            if entries := await self._group.pending(self._size.now):
                return entries
            self._in_doubt = False
            self._done.clear()
            self._group.position.forget(self.consumer)
        left = self._claim_at - self._clock.monotonic()
        if left <= 0:
            return await self._claim()
        if worker.stopping:
            raise StoppedError("the consumer stops")
        worker.well()
        self._reads = True
        try:
            return await self._group.read(self._size.now, left)
        finally:
            self._reads = False

    async def _claim(self) -> list[Entry]:
        if self._claim_from == START:
            await self._group.check_place()
        self._claim_from, entries = await self._group.claim(self._claim_from, self._size.now)
        if self._claim_from == START:
            self._claim_at = self._clock.monotonic() + CLAIM_INTERVAL
        return entries

    def _explained(self, error: Exception) -> SourceError:
        if isinstance(error, TimeoutError):
            return SourceError(f"no answer within {self._options.shard.io_timeout:g} s")
        kind = error.kind if isinstance(error, ReplyError) else ""
        if kind == "WRONGTYPE":
            return SourceError(f"the key {self.stream!r} holds no stream; remove it, or rename one")
        if "unknown command" in str(error):
            return SourceError(f"Redis 6.2 or newer is needed: {error}")
        return SourceError(str(error))

    # -- entries

    async def _do_all(self, entries: list[Entry], worker: Worker) -> None:
        """Has them done, one after the other."""
        left = {entry.id: entry for entry in entries}
        acks = []
        limit = self._options.visibility_timeout
        with Holding(self._clock, limit, lambda: self._group.keep(left)) as holding:
            for entry in entries:
                if worker.stopping:
                    break
                self._check(holding)
                await self._do(entry, worker, holding)
                acks.append(self._ack(entry))
                del left[entry.id]
            async with asyncio.timeout(self._options.shard.io_timeout):
                await asyncio.gather(*acks)

    def _check(self, holding: Holding) -> None:
        self._group.check()
        holding.check()

    async def _do(self, entry: Entry, worker: Worker, holding: Holding) -> None:
        async def keep() -> None:
            self._check(holding)

        if entry.fields is None:
            logger.warning(
                "entry was removed from its stream before it was done",
                stream=self.stream,
                id=entry.id.decode(),
            )
        elif self._done.get(entry.id) != entry:
            await worker.finish(self._message(entry.id, entry.fields), keep)
            self._done[entry.id] = entry

    def _ack(self, entry: Entry) -> asyncio.Future[object]:
        answer = self._group.ack(entry.id)
        answer.add_done_callback(lambda done: self._acked(entry, done))
        return answer

    def _acked(self, entry: Entry, answer: asyncio.Future[object]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self._done.pop(entry.id, None)
            self._group.position.done(entry.id)

    def _message(self, name: bytes, fields: dict[bytes, bytes]) -> Message:
        return Message(
            data=fields.get(self._payload, b""),
            method=_text(fields.get(self._method, b"")),
            metadata={_text(k): _text(v) for k, v in fields.items() if k != self._payload},
            place=f"stream {self.stream}, id {name.decode()}",
        )

    # -- the end

    async def wake(self) -> None:
        """Ends the wait for new entries."""
        if self._reads:
            await self._group.wake()

    async def close(self) -> None:
        """Leaves what is not done to others."""
        if self._group.up:
            try:
                await self._group.leave()
            except (FlyballError, TimeoutError) as error:
                logger.warning(
                    "entries that are not done were not handed back; they are taken over later",
                    stream=self.stream,
                    reason=str(error) or "no answer",
                )
        self._group.drop("the consumer stops")


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
