"""Reads subscriptions: messages side by side, those with the same ordering key in order."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from flyball.server.consumers.attempts import attempt
from flyball.server.consumers.base import Consumer, Message
from flyball.server.consumers.errors import SourceError
from flyball.server.consumers.lanes import Lanes
from flyball.server.consumers.pubsub.client import LEASE, GoneError

if TYPE_CHECKING:
    from flyball.server.consumers.pubsub.client import PubSubClient
    from flyball.server.consumers.pubsub.options import PubSubOptions
    from flyball.server.consumers.workers import Worker, Workers

ATTEMPTS: Final = 3
"""Then a message is given back to the service, which delivers it again."""
MOST_HANDS: Final = 100
"""Messages of one subscription that are done at a time, however many may be here."""
MOST_IDS: Final = 1000
"""Messages that one call speaks of: their ids are long, and a request has an end."""
OLD: Final = 60.0
"""Seconds after which the end of a stream is nothing to speak of: the service ends them all."""
GOODBYE: Final = 2.0
"""Seconds to give back what is here at the end."""
ON_THEIR_WAY: Final = 5.0
"""Seconds in which what was sent before it heard that we give a message back will be here."""


class PubSubConsumer(Consumer):
    """A consumer of some subscriptions, for as long as it runs.

    Args:
        options: which subscriptions, and how.
        client: the way there.
        workers: who keeps the loops.
    """

    def __init__(self, options: PubSubOptions, client: PubSubClient, workers: Workers) -> None:
        self._client = client
        self._workers = workers
        self._hands = min(options.max_messages, MOST_HANDS)
        self._subscriptions = [
            Subscription(name, options, client, workers) for name in options.subscriptions
        ]

    async def start(self) -> None:
        """See :meth:`Consumer.start`."""
        for subscription in self._subscriptions:
            what = f"subscription {subscription.name}"
            self._workers.start(what, subscription.read)
            self._workers.start(f"{what}, answers", subscription.answer)
            self._workers.start(f"{what}, leases", subscription.keep)
            self._workers.start_alike(f"{what}, messages", [subscription.work] * self._hands)

    async def stop(self) -> None:
        """See :meth:`Consumer.stop`."""
        await self._workers.stop()
        # Whatever cannot be said now: the messages come again when their lease ends.
        with contextlib.suppress(SourceError, TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await asyncio.gather(*(s.give_all_back() for s in self._subscriptions))
        await self._client.close()


class Subscription:
    """One subscription, with the messages of it that are here.

    Args:
        name: without its project.
        options: how it is read.
        client: the way there.
        workers: who does messages.
    """

    def __init__(
        self, name: str, options: PubSubOptions, client: PubSubClient, workers: Workers
    ) -> None:
        self.name: str = name
        self._path = client.path(name)
        self._options = options
        self._client = client
        self._workers = workers
        self._lanes: Lanes[Any] = Lanes()
        self._here: dict[str, str] = {}
        """Messages that are not done: id to the newest id of their delivery."""
        self._done: dict[str, str] = {}
        """Messages that are done, and the service does not know it yet: likewise."""
        self._refused: dict[str, str] = {}
        """Deliveries to be given back: both times the id of the delivery."""
        self._answers = asyncio.Event()
        self._awaited: dict[str, tuple[str, float]] = {}
        """Ordering keys whose message was given back: its id, and until when it is waited for."""

    # -- loops

    async def read(self, worker: Worker) -> None:
        """Takes what one stream delivers."""
        began = self._workers.clock.monotonic()
        stream = self._client.messages(self._path)
        try:
            with worker.interruptible():
                async for received in stream:
                    worker.well()
                    for delivery in received:
                        self._take(delivery)
            raise SourceError("the service ended the stream")
        except SourceError:
            if self._workers.clock.monotonic() - began < OLD:
                raise
        finally:
            await stream.aclose()

    async def work(self, worker: Worker) -> None:
        """Does one message."""
        with worker.interruptible():
            lane, delivery = await self._lanes.take()
        try:
            await attempt(worker, self._message(delivery), ATTEMPTS)
        except BaseException:  # whatever it was: nobody has the message now
            self._give_back(delivery, *self._lanes.clear(lane))
            raise
        else:
            identity = delivery.message.message_id
            self._done[identity] = self._here.pop(identity)
        finally:
            self._answers.set()
            self._lanes.done(lane)

    async def answer(self, worker: Worker) -> None:
        """Tells the service of what was done, and what was not."""
        with worker.interruptible():
            await self._answers.wait()
        self._answers.clear()
        try:
            await self._answer()
        except SourceError:
            self._answers.set()
            raise

    async def keep(self, worker: Worker) -> None:
        """Asks for more time for what is here."""
        await worker.sleep(LEASE / 3)
        ids = list(self._here.values())
        for start in range(0, len(ids), MOST_IDS):
            with contextlib.suppress(GoneError):
                await self._client.lease(self._path, ids[start : start + MOST_IDS])

    async def give_all_back(self) -> None:
        """Has all answered, when no loop is left.

        Raises:
            SourceError: that could not be said.
        """
        self._lanes.clear_all()
        self._refused |= {delivery: delivery for delivery in self._here.values()}
        self._here.clear()
        await self._answer()

    # -- messages

    def _take(self, delivery: Any) -> None:
        message = delivery.message
        if message.message_id in self._here:  # its lease was over, and it is still worked on
            self._here[message.message_id] = delivery.ack_id
        elif message.message_id in self._done:
            self._done[message.message_id] = delivery.ack_id
            self._answers.set()
        elif self._is_too_early(message):
            self._refused[delivery.ack_id] = delivery.ack_id
            self._answers.set()
        else:
            self._here[message.message_id] = delivery.ack_id
            self._lanes.put(message.ordering_key or f"/{message.message_id}", delivery)

    def _is_too_early(self, message: Any) -> bool:
        """Whether one of the same key, that stands before it, has to come again first."""
        awaited, until = self._awaited.get(message.ordering_key, ("", 0.0))
        if awaited in ("", message.message_id) or self._workers.clock.monotonic() > until:
            self._awaited.pop(message.ordering_key, None)
            return False
        return True

    def _give_back(self, *deliveries: Any) -> None:
        """A message that is not done, and those behind it."""
        first = deliveries[0].message
        if first.ordering_key:
            now = self._workers.clock.monotonic()
            until = now + ON_THEIR_WAY
            self._awaited = {key: a for key, a in self._awaited.items() if a[1] > now}
            self._awaited[first.ordering_key] = (first.message_id, until)
        for delivery in deliveries:
            found = self._here.pop(delivery.message.message_id)
            self._refused[found] = found

    def _message(self, delivery: Any) -> Message:
        message = delivery.message
        metadata = dict(message.attributes)
        return Message(
            data=message.data,
            method=metadata.get(self._options.method_attribute, ""),
            metadata=metadata,
            place=f"subscription {self.name}, message {message.message_id}",
        )

    # -- answers

    async def _answer(self) -> None:
        while self._done or self._refused:
            await self._say(self._done)
            await self._say(self._refused, give_back=True)

    async def _say(self, deliveries: dict[str, str], *, give_back: bool = False) -> None:
        """Says it of some, and forgets them."""
        some = dict(islice(deliveries.items(), MOST_IDS))
        if not some:
            return
        # Of what is no longer ours nothing need be said.
        with contextlib.suppress(GoneError):
            if give_back:
                await self._client.lease(self._path, some.values(), 0)
            else:
                await self._client.acknowledge(self._path, some.values())
        for found, delivery in some.items():
            if deliveries[found] == delivery:  # else it has come again meanwhile
                del deliveries[found]
