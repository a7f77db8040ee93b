"""Reads a JetStream stream: asks for some messages, has them done in order, asks for more."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from flyball.core.errors import ConfigError, FlyballError
from flyball.engines.common.links import forget
from flyball.engines.nats import wire
from flyball.engines.nats.connection import LinkLostError
from flyball.engines.nats.credentials import read_credentials
from flyball.engines.nats.link import NatsLink
from flyball.server.consumers.base import Consumer
from flyball.server.consumers.errors import SourceError, StoppedError
from flyball.server.consumers.in_hand import BatchSize, Holding
from flyball.server.consumers.nats.delivery import ACK, NAK, WORKING, Delivery, Key, delivery
from flyball.server.consumers.nats.durable import MOST, SECOND, Durable, Terms

if TYPE_CHECKING:
    from flyball.engines.nats.link import Subscription
    from flyball.server.consumers.nats.options import DurableOptions
    from flyball.server.consumers.workers import Worker, Workers

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.consumers")

MOST_KNOWN: Final = 1000
"""Messages that are known to be done, should the server give them out once more."""
LOOK_INTERVAL: Final = 5.0
"""Seconds between looks at how far all nodes have come."""
_OVER: Final = ("404", "408")
"""What a request for messages ends with."""
_BATCH_IS_FULL: Final = "Batch Completed"
_HEARTBEAT: Final = "100"


class JetStreamConsumer(Consumer):
    """A consumer of one stream, for as long as it runs.

    Messages in hand survive the loss of the link: they go on when it is back, in their order.

    Args:
        options: which stream, and how.
        workers: who keeps the loop.
        key: of its section in the configuration, for messages.
    """

    def __init__(self, options: DurableOptions, workers: Workers, key: str) -> None:
        self._key = key
        self._options = options
        self._workers = workers
        self._link = NatsLink(options.servers)
        self._durable = Durable(self._link, options)
        self._inbox = b"_INBOX.%s" % secrets.token_hex(12).encode()
        self._subscription: Subscription | None = None
        self._open = False
        self._ready = False
        """Link, subscription and consumer are there, as far as we know."""
        self._terms = Terms()
        self._size = BatchSize(MOST)
        self._wake = asyncio.Event()
        self._hand: deque[Delivery] = deque()
        """What is to be done, in order."""
        self._since = 0.0
        """When the server last heard that we have it, or gave it to us."""
        self._unconfirmed: list[bytes] = []
        """Where acknowledgements were sent to, which the server may not have taken."""
        self._known: dict[Key, None] = {}
        self._look_at = 0.0
        self._request = 0
        self._came = 0
        """Messages of the last request."""
        self._over = ""
        """How it ended, if it has."""

    async def start(self) -> None:
        """See :meth:`Consumer.start`."""
        file = self._options.servers.credentials_file
        if file:
            try:
                await asyncio.to_thread(read_credentials, file)
            except ConfigError as error:
                raise ConfigError(f"{self._key}.credentials_file: {error}") from None
        self._link.on_lost.append(self._lost)
        self._workers.start(f"stream {self._options.stream}", self._turn)

    async def stop(self) -> None:
        """See :meth:`Consumer.stop`."""
        await self._workers.stop()
        if not self._open:
            return
        if self._subscription is not None and not self._link.problem:
            await self._hand_back(self._subscription)
        self._open = False
        await self._link.release()

    async def _hand_back(self, subscription: Subscription) -> None:
        """What is not done goes to others at once, in its order."""
        try:
            async with asyncio.timeout(self._options.servers.request_timeout):
                # Nothing may come after that: it would be ours, and nobody would know.
                await self._link.drain(subscription)
                if not self._hand:
                    return
                *others, last = self._hand
                for held in others:
                    self._link.post(held.reply, NAK)
                # They are handled in order, and later than they are taken: the answer tells when.
                await self._link.request(last.reply, NAK)
        except (FlyballError, TimeoutError) as error:
            logger.warning(
                "messages that are not done were not handed back; they are given out again later",
                stream=self._options.stream,
                reason=str(error) or "no answer",
            )

    def _lost(self, _reason: str) -> None:
        self._wake.set()

    # -- the loop

    async def _turn(self, worker: Worker) -> None:
        """Does the messages that are there, and waits if there are none."""
        try:
            if not self._ready:
                await self._prepare(worker)
            await self._work(worker)
            await self._confirm()
            if not worker.stopping:
                await self._pull(worker)
        except StoppedError:
            raise
        except Exception as error:
            self._ready = False
            if isinstance(error, (FlyballError, TimeoutError)):
                raise SourceError(str(error) or "no answer") from None
            raise

    async def _prepare(self, worker: Worker) -> None:
        with worker.interruptible():
            if not self._open:
                await self._link.acquire()
                self._open = True
            if self._link.problem:
                raise LinkLostError(self._link.problem)
            if self._subscription is None:
                subject = self._inbox + b".*"
                self._subscription = await self._link.subscribe(subject, self._take)
            self._terms = await self._durable.ensure()
        for reply in self._unconfirmed:
            self._link.post(reply, ACK)
        self._ready = True

    async def _pull(self, worker: Worker) -> None:
        """One request for messages, and all that comes of it."""
        wanted = self._ask()
        clock = self._workers.clock
        deadline = clock.monotonic() + self._terms.wait + self._options.servers.request_timeout
        while True:
            await self._work(worker)
            if self._came >= wanted or self._over in _OVER or worker.stopping:
                break
            self._check(deadline)
            await worker.sleep(max(deadline - clock.monotonic(), 0), self._wake)
        await self._confirm()
        if clock.monotonic() >= self._look_at:
            self._look_at = clock.monotonic() + LOOK_INTERVAL
            with worker.interruptible():
                await self._durable.look()

    def _check(self, deadline: float) -> None:
        if self._link.problem:
            raise LinkLostError(self._link.problem)
        if self._over:
            raise SourceError(f"the server gives no messages: {self._over}")
        if self._workers.clock.monotonic() >= deadline:
            raise SourceError("no answer to a request for messages")

    def _ask(self) -> int:
        wanted = min(self._size.now, self._terms.batch)
        self._request += 1
        self._came, self._over = 0, ""
        self._wake.clear()
        path = f"{self._options.stream}.{self._options.durable}"
        request = {"batch": wanted, "expires": int(self._terms.wait * SECOND)}
        reply = b"%s.%d" % (self._inbox, self._request)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{path}".encode()
        self._link.post(subject, json.dumps(request).encode(), reply)
        return wanted

    # -- what comes

    def _take(self, sub: Subscription, subject: bytes, headers: bytes, data: bytes) -> None:
        found = delivery(sub.reply, subject, headers, data)
        if found is not None:
            if not self._hand:
                self._since = self._workers.clock.monotonic()
            self._hand.append(found)
            self._durable.in_hand.add(found.sequence)
            self._came += 1
        elif subject == b"%s.%d" % (self._inbox, self._request):
            told = wire.read_headers(headers)
            self._ended(told.get("status", ""), told.get("description", ""))
        self._wake.set()

    def _ended(self, status: str, description: str) -> None:
        if status in _OVER or description == _BATCH_IS_FULL:
            self._over = _OVER[0]
        elif status != _HEARTBEAT:
            self._over = f"{status} {description}".strip() or "an answer that is not understood"

    # -- messages in hand

    async def _work(self, worker: Worker) -> None:
        """Has what is in hand done, one after the other."""
        if not self._hand:
            return
        self._size.saw(max(held.size for held in self._hand))
        holding = Holding(self._workers.clock, self._terms.ack_wait, self._renew, self._since)
        with holding:
            try:
                while self._hand and not worker.stopping:
                    self._check_hand(holding)
                    await self._do(self._hand[0], worker, holding)
                    self._done(self._hand.popleft())
            finally:
                self._since = holding.renewed

    def _check_hand(self, holding: Holding) -> None:
        if self._link.problem:
            raise LinkLostError(self._link.problem)
        try:
            holding.check()
        except SourceError:
            self._hand.clear()
            raise

    def _renew(self) -> asyncio.Future[tuple[str, ...]]:
        try:
            for held in self._hand:
                self._link.post(held.reply, WORKING)
            taken = self._link.taken()
        except FlyballError as error:
            taken = asyncio.get_running_loop().create_future()
            taken.set_exception(error)
        taken.add_done_callback(forget)
        return taken

    async def _do(self, held: Delivery, worker: Worker, holding: Holding) -> None:
        async def keep() -> None:
            self._check_hand(holding)

        if held.key not in self._known:
            options = self._options
            await worker.finish(held.message(options.stream, options.method_header), keep)

    def _done(self, held: Delivery) -> None:
        self._known[held.key] = None
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._durable.done(held.sequence)
        self._unconfirmed.append(held.reply)
        self._link.post(held.reply, ACK)

    async def _confirm(self) -> None:
        """Returns when the server knows of all that is done."""
        if self._unconfirmed:
            await self._link.taken()
            self._unconfirmed.clear()
