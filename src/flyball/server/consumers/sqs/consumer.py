"""Reads queues: each in as many loops as messages of it may be done at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flyball.protocol.codec import UNREADABLE
from flyball.server.consumers.attempts import OnceEach
from flyball.server.consumers.base import Consumer, Message
from flyball.server.consumers.errors import (
    DroppedError,
    SourceError,
    StoppedError,
    TryAgainError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.clock import Clock
    from flyball.server.consumers.sqs.client import SqsClient
    from flyball.server.consumers.sqs.options import SqsOptions
    from flyball.server.consumers.workers import Worker, Workers

ATTEMPTS: Final = 3
"""Then a message is left to the queue, which delivers it again when its time is over."""
MOST_AT_ONCE: Final = 10
"""Messages that one call may delete."""


class SqsConsumer(Consumer):
    """A consumer of some queues, for as long as it runs.

    A message is deleted when it was done. Loops beside each other need not know of each other: a
    queue gives nothing more of a group while something of it is in somebody's hands.

    Args:
        options: which queues, and how.
        client: the way there.
        workers: who keeps the loops.
    """

    def __init__(self, options: SqsOptions, client: SqsClient, workers: Workers) -> None:
        self._options = options
        self._client = client
        self._workers = workers

    async def start(self) -> None:
        """See :meth:`Consumer.start`."""
        for url in self._options.queues:
            once = OnceEach(ATTEMPTS)
            loops = [
                Loop(url, self._options, self._client, self._workers.clock, once)
                for _ in range(self._options.concurrency)
            ]
            self._workers.start_alike(f"queue {loops[0].queue}", [loop.turn for loop in loops])

    async def stop(self) -> None:
        """See :meth:`Consumer.stop`."""
        await self._workers.stop()
        await self._client.close()


class Loop:
    """Receives messages of one queue, does one after the other, and deletes those that are done.

    Args:
        url: of the queue.
        options: how it is read.
        client: the way there.
        clock: where time comes from.
        once: has messages done; that of all loops of the queue.
    """

    def __init__(
        self,
        url: str,
        options: SqsOptions,
        client: SqsClient,
        clock: Clock,
        once: OnceEach,
    ) -> None:
        self.queue: str = url.rpartition("/")[2]
        self._url = url
        self._ordered = url.endswith(".fifo")
        self._options = options
        self._client = client
        self._clock = clock
        self._once = once
        self._done: dict[str, str] = {}
        """Messages that are to be deleted: id to receipt."""

    async def turn(self, worker: Worker) -> None:
        """Does the messages of one call."""
        await self._delete()  # what could not be deleted in the turn before
        with worker.interruptible():
            received = await self._receive()
        if not received and not self._options.wait_time:
            await worker.sleep(1.0)  # nothing waited for a message: an empty queue is not stormed
        left, failure = await self._do(received, worker)
        await self._delete()
        if worker.stopping and left:
            await self._give_back(left)
        if failure is not None:
            raise failure

    # -- doing

    async def _do(
        self, received: list[Any], worker: Worker
    ) -> tuple[list[Any], TryAgainError | None]:
        """The messages that are not done, and why the last of those that failed is not."""
        end = self._clock.monotonic() + self._options.visibility_timeout

        def ours() -> bool:
            return self._clock.monotonic() < end

        left: list[Any] = []
        held: set[str] = set()  # groups whose next message is not done
        failure: TryAgainError | None = None
        for raw in received:
            group = self._group(raw)
            if worker.stopping or not ours() or group in held:
                left.append(raw)
                continue
            try:
                await self._do_one(raw, worker, ours)
            except (TryAgainError, StoppedError) as error:
                left.append(raw)
                held.add(group)
                held.discard("")
                failure = error if isinstance(error, TryAgainError) else failure
        return left, failure

    async def _do_one(self, raw: Any, worker: Worker, ours: Callable[[], bool]) -> None:
        identity: str = raw["MessageId"]
        place = f"queue {self.queue}, message {identity}"
        unread = Message(data=raw["Body"].encode(), place=place)
        read = partial(_message, raw, place, self._options)
        await self._once.do(worker, identity, unread, read, ours)
        self._done[identity] = raw["ReceiptHandle"]

    def _group(self, raw: Any) -> str:
        """What it must keep its order in; empty: in nothing."""
        found: str = raw.get("Attributes", {}).get("MessageGroupId", "")
        return found if self._ordered else ""

    # -- the queue

    async def _receive(self) -> list[Any]:
        options = self._options
        answer = await self._client.call(
            "receive_message",
            wait=options.wait_time,
            QueueUrl=self._url,
            MaxNumberOfMessages=options.max_messages,
            WaitTimeSeconds=int(options.wait_time),
            VisibilityTimeout=int(options.visibility_timeout),
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["MessageGroupId"],
        )
        found: list[Any] = answer.get("Messages", [])
        return found

    async def _delete(self) -> None:
        """Deletes what is done; what the queue does not know under its receipt comes again."""
        if not self._done:
            return
        ids = list(self._done)[:MOST_AT_ONCE]
        entries = [{"Id": str(n), "ReceiptHandle": self._done[i]} for n, i in enumerate(ids)]
        answer = await self._client.call(
            "delete_message_batch", QueueUrl=self._url, Entries=entries
        )
        failed = [entry for entry in answer.get("Failed", ()) if not entry["SenderFault"]]
        kept = {int(entry["Id"]) for entry in failed}
        for number, found in enumerate(ids):
            if number not in kept:
                del self._done[found]
        if failed:
            raise SourceError(f"messages could not be deleted: {failed[0]['Code']}")

    async def _give_back(self, messages: list[Any]) -> None:
        """Lets others have them now, not when their time is over."""
        entries = [
            {"Id": str(n), "ReceiptHandle": raw["ReceiptHandle"], "VisibilityTimeout": 0}
            for n, raw in enumerate(messages)
        ]
        operation = "change_message_visibility_batch"
        await self._client.call(operation, QueueUrl=self._url, Entries=entries)


class Envelope(msgspec.Struct):
    """What SNS puts around a message."""

    message: str = msgspec.field(name="Message")


def _message(raw: Any, place: str, options: SqsOptions) -> Message:
    """What a message of the queue says.

    Raises:
        DroppedError: it cannot be read.
    """
    metadata = {
        name: attribute["StringValue"]
        for name, attribute in raw.get("MessageAttributes", {}).items()
        if "StringValue" in attribute  # there are binary ones too
    }
    return Message(
        data=_body(raw["Body"], options).encode(),
        method=metadata.get(options.method_attribute, ""),
        metadata=metadata,
        place=place,
    )


def _body(text: str, options: SqsOptions) -> str:
    if not options.sns_envelope:
        return text
    try:
        return msgspec.json.decode(text, type=Envelope).message
    except UNREADABLE as error:
        raise DroppedError(f"no envelope of SNS: {error}") from None
