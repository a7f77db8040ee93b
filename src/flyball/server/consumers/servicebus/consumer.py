"""Reads queues: each in as many loops as messages, or sessions, may be worked on at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from azure.servicebus.amqp import AmqpMessageBodyType

from flyball.server.consumers.attempts import OnceEach
from flyball.server.consumers.base import Consumer, Message
from flyball.server.consumers.errors import (
    DroppedError,
    StoppedError,
    TryAgainError,
)
from flyball.server.consumers.servicebus.client import NothingThereError, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusReceiver

    from flyball.server.consumers.servicebus.client import BusClient
    from flyball.server.consumers.servicebus.options import ServiceBusOptions
    from flyball.server.consumers.workers import Worker, Workers

ATTEMPTS: Final = 5
"""Then a message is abandoned: the queue delivers it again, or puts it with the dead letters."""
MESSAGE_WAIT: Final = 30.0
"""Seconds that one call waits for a message."""
IDLE_SESSION: Final = 1.0
"""Seconds that a session may say nothing before others have their turn."""
LEAST_LOCK: Final = timedelta(seconds=5)
"""A session whose lock ends sooner is given up; the bus gives it to whoever asks next."""


class ServiceBusConsumer(Consumer):
    """A consumer of some queues, for as long as it runs.

    A message is completed when it was done. Who has a session has all of it, in order.

    Args:
        options: which queues, and how.
        client: the way there.
        workers: who keeps the loops.
    """

    def __init__(self, options: ServiceBusOptions, client: BusClient, workers: Workers) -> None:
        self._options = options
        self._client = client
        self._workers = workers
        self._loops: list[Loop] = []

    async def start(self) -> None:
        """See :meth:`Consumer.start`."""
        for queue in self._options.queues:
            once = OnceEach(ATTEMPTS)
            loops = [
                Loop(queue, self._options, self._client, once) for _ in range(self._options.loops)
            ]
            self._loops += loops
            self._workers.start_alike(f"queue {queue}", [loop.turn for loop in loops])

    async def stop(self) -> None:
        """See :meth:`Consumer.stop`."""
        await self._workers.stop()
        await asyncio.gather(*(loop.hang_up() for loop in self._loops))
        self._loops.clear()
        await self._client.close()


class Loop:
    """Takes messages of one queue, or of one session after the other, and does them in order.

    Args:
        queue: its name.
        options: how it is read.
        client: the way there.
        once: has messages done; that of all loops of the queue.
    """

    def __init__(
        self,
        queue: str,
        options: ServiceBusOptions,
        client: BusClient,
        once: OnceEach,
    ) -> None:
        self._queue = queue
        self._options = options
        self._client = client
        self._once = once
        self._receiver: ServiceBusReceiver | None = None

    async def turn(self, worker: Worker) -> None:
        """Does the messages of one call."""
        try:
            await self._turn(worker)
        except NothingThereError:
            await self.hang_up()
        except TryAgainError:
            raise
        except BaseException:  # a link that failed, or was left while it waited, is of no use
            await self.hang_up()
            raise

    async def hang_up(self) -> None:
        """Gives up the link, and with it the session."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            await self._client.hang_up(receiver)

    async def _turn(self, worker: Worker) -> None:
        with worker.interruptible():
            if self._receiver is None:
                self._receiver = await self._client.receiver(self._queue)
            receiver = self._receiver
            worker.well()
            received = await self._receive(receiver)
        left, failure = await self._do(received, receiver, worker)
        in_session = left[:1] if failure else []  # what else is left is free with its session
        for raw in in_session if self._options.sessions else left:
            if not _is_late(raw, receiver):
                with told():
                    await receiver.abandon_message(raw)
        if self._options.sessions and (left or not received or _ends_soon(receiver)):
            await self.hang_up()
        if failure is not None:
            raise failure

    async def _receive(self, receiver: ServiceBusReceiver) -> list[ServiceBusReceivedMessage]:
        with told():
            return await receiver.receive_messages(
                max_message_count=self._options.max_messages,
                max_wait_time=IDLE_SESSION if self._options.sessions else MESSAGE_WAIT,
            )

    async def _do(
        self,
        received: list[ServiceBusReceivedMessage],
        receiver: ServiceBusReceiver,
        worker: Worker,
    ) -> tuple[list[ServiceBusReceivedMessage], TryAgainError | None]:
        """The messages that are not done, and why the last of those that failed is not."""
        left: list[ServiceBusReceivedMessage] = []
        failure: TryAgainError | None = None
        for raw in received:
            behind = bool(left) and self._options.sessions
            if worker.stopping or behind or _is_late(raw, receiver):
                left.append(raw)
                continue
            try:
                await self._do_one(raw, worker, partial(_is_ours, raw, receiver))
            except (TryAgainError, StoppedError) as error:
                left.append(raw)
                failure = error if isinstance(error, TryAgainError) else failure
            else:
                with told():
                    await receiver.complete_message(raw)
        return left, failure

    async def _do_one(
        self, raw: ServiceBusReceivedMessage, worker: Worker, ours: Callable[[], bool]
    ) -> None:
        number = raw.sequence_number
        identity = number, raw.enqueued_time_utc  # a queue that is made anew begins with 1 again
        place = f"queue {self._queue}, message {number}"
        read = partial(_message, raw, place, self._options)
        await self._once.do(worker, identity, Message(data=b"", place=place), read, ours)


def _locked_until(raw: ServiceBusReceivedMessage, receiver: ServiceBusReceiver) -> datetime:
    session = receiver.session
    found = raw.locked_until_utc if session is None else session.locked_until_utc
    return found or datetime.max.replace(tzinfo=UTC)


def _is_late(raw: ServiceBusReceivedMessage, receiver: ServiceBusReceiver) -> bool:
    """Whether somebody else may have the message by now."""
    return datetime.now(UTC) >= _locked_until(raw, receiver)


def _is_ours(raw: ServiceBusReceivedMessage, receiver: ServiceBusReceiver) -> bool:
    return not _is_late(raw, receiver)


def _ends_soon(receiver: ServiceBusReceiver) -> bool:
    session = receiver.session
    if session is None or session.locked_until_utc is None:
        return False
    return datetime.now(UTC) + LEAST_LOCK >= session.locked_until_utc


def _message(raw: ServiceBusReceivedMessage, place: str, options: ServiceBusOptions) -> Message:
    """What a message of the queue says.

    Raises:
        DroppedError: it cannot be read.
    """
    metadata: dict[str, str] = {}
    for key, value in (raw.application_properties or {}).items():
        name = _text(key)
        text = _text(value)
        if isinstance(name, str) and isinstance(text, str):
            metadata[name] = text
        elif isinstance(name, str) and options.is_read(name):
            kind = type(value).__name__
            raise DroppedError(f"property {name!r} is of type {kind}; strings are allowed")
    return Message(
        data=_body(raw),
        method=metadata.get(options.method_property, ""),
        metadata=metadata,
        place=place,
    )


def _text(value: Any) -> Any:
    """Strings come as bytes."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _body(raw: ServiceBusReceivedMessage) -> bytes:
    body: Any = raw.body
    match raw.body_type:
        case AmqpMessageBodyType.DATA:
            return b"".join(body)
        case AmqpMessageBodyType.VALUE if isinstance(body, bytes):
            return body
        case AmqpMessageBodyType.VALUE if isinstance(body, str):
            return body.encode()
        case _:
            raise DroppedError("its body is no data")
