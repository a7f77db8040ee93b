"""The link to a NATS cluster: one connection, made anew whenever it is lost, with all subscriptions."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from flyball.aio.lines import LineLimit
from flyball.core.engine import EngineFaults
from flyball.core.errors import ConfigError, EngineError, EngineRefusal, FlyballError
from flyball.engines.common.links import LinkWatch, forget, keep_trying
from flyball.engines.nats import wire
from flyball.engines.nats.connection import (
    Connection,
    LinkLostError,
    RefusedError,
    TooMuchError,
    connect,
)
from flyball.engines.nats.options import Server
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flyball.engines.nats.options import ServerOptions

Answer = TypeVar("Answer")
logger: Final = logging.getLogger("flyball.engine")

MOST_KNOWN: Final = 64
"""Servers that are remembered of those that a cluster tells of."""
LOG_INTERVAL: Final = 1.0
"""Seconds in which what is not understood is one line of the log."""
Message: TypeAlias = tuple[bytes, bytes]
"""Headers and data."""


class NoRespondersError(FlyballError):
    """Nobody answers such requests."""


class _Asked:
    """A request under way, and its answers so far."""

    __slots__ = ("answers", "done", "is_last")

    def __init__(self, is_last: Callable[[bytes, bytes], bool]) -> None:
        self.is_last = is_last
        self.answers: list[Message] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, headers: bytes, data: bytes) -> None:
        """Another answer."""
        if not self.done.done():
            self.answers.append((headers, data))
            if self.is_last(headers, data):
                self.done.set_result(None)

    def give_up(self, limit: float) -> None:
        """The time is over."""
        if not self.done.done():
            self.done.set_exception(LinkLostError(f"no answer within {limit:g} s"))


def _first(_headers: bytes, _data: bytes) -> bool:
    """There is one answer."""
    return True


class Subscription:
    """A subject that somebody listens to."""

    __slots__ = ("context", "reply", "sid", "subject", "take")

    def __init__(
        self,
        subject: bytes,
        sid: int,
        take: Callable[[Subscription, bytes, bytes, bytes], None],
        context: Any,
    ) -> None:
        self.subject = subject
        self.sid = sid
        self.take = take
        """Gets this, the subject, headers and data of each message."""
        self.context = context
        """Whatever its owner wants to find here."""
        self.reply: bytes = b""
        """Where the message that is being taken wants an answer to; empty: nowhere."""


class NatsLink:
    """The connection that all parts of an engine share: open while one of them is.

    Args:
        options: the servers; each in turn is tried, and those that they tell of.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options: ServerOptions = options
        self.faults: EngineFaults = EngineFaults("nats")
        self.on_lost: list[Callable[[str], None]] = []
        """Told the reason when the link is lost."""
        self.on_restored: list[Callable[[], None]] = []
        """Told when it is back with all subscriptions."""
        self.problem: str = ""
        """Why it is down now; empty if it is not."""
        self._connection: Connection | None = None
        self._subscriptions: dict[int, Subscription] = {}
        self._next_sid = 1
        self._known: list[Server] = []
        self._turn = random.randrange(1 << 16)  # noqa: S311 - spreads nodes over servers
        self._task: asyncio.Task[None] | None = None
        self._watch: LinkWatch[Connection] = LinkWatch(
            options.write_timeout, lambda connection: connection.waiting, _ask
        )
        self._users = 0
        self._strange = LineLimit(1, LOG_INTERVAL)
        self._inbox = b""
        self._asked: dict[bytes, _Asked] = {}
        self._next_request = 1

    # -- life

    async def acquire(self) -> None:
        """Another part uses it: connects, if it is the first.

        Raises:
            ConfigError: no server can be used.
        """
        self._users += 1
        if self._users > 1:
            return
        self._known = list(self.options.servers)
        self._inbox = b"_INBOX.%s." % secrets.token_hex(12).encode()
        try:
            await self._connect_somewhere()
        except BaseException as error:
            self._users -= 1
            if isinstance(error, FlyballError) and not isinstance(error, ConfigError):
                message = f"cannot use NATS at {self.options}: {error}"
                raise ConfigError(message) from None
            raise

    async def release(self) -> None:
        """A part does not use it any more: disconnects, if it was the last."""
        self._users -= 1
        if self._users > 0:
            return
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._connection is not None:
            self._connection.abort("the node stops")
        self._subscriptions.clear()
        self.problem = ""

    @property
    def info(self) -> dict[str, Any]:
        """What the server told of itself."""
        return self._connection.info if self._connection is not None else {}

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message that the server takes, headers included."""
        return int(self.info.get("max_payload", 1 << 20))

    # -- what others ask for

    async def subscribe(
        self,
        subject: bytes,
        take: Callable[[Subscription, bytes, bytes, bytes], None],
        context: Any = None,
    ) -> Subscription:
        """Returns once the server knows of it.

        Raises:
            LinkLostError: the link is down, or lost before that.
            RefusedError: the server refuses.
        """
        connection = self._now()
        subscription = Subscription(subject, self._next_sid, take, context)
        self._next_sid += 1
        self._subscriptions[subscription.sid] = subscription
        try:
            connection.post(wire.sub(subject, subscription.sid))
            await self._taken(connection, "Subscription", subject)
        except BaseException:
            self.unsubscribe(subscription)
            raise
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Asks for no more of it."""
        if self._subscriptions.pop(subscription.sid, None) is not None:
            self._unsubscribe(subscription.sid)

    def _unsubscribe(self, sid: int) -> None:
        if self._connection is not None:
            try:
                self._connection.post(wire.unsub(sid))
            except TooMuchError as error:  # the next message of it brings us here again
                logger.debug("nats: no unsubscribe of %d: %s", sid, error)

    async def drain(self, subscription: Subscription) -> None:
        """Asks for no more of it; returns when all that the server had sent has come.

        Raises:
            LinkLostError: the link is down, or lost before that.
        """
        connection = self._now()
        try:
            connection.post(wire.unsub(subscription.sid))
            await connection.taken()
        finally:
            self._subscriptions.pop(subscription.sid, None)

    def post(self, subject: bytes, data: bytes, reply: bytes = b"") -> None:
        """Sends a message, and waits for nothing: see :meth:`taken`.

        Raises:
            LinkLostError: the link is down.
            TooMuchError: too much waits for the server already.
        """
        self._now().post(wire.pub(subject, data, reply))

    def taken(self) -> asyncio.Future[tuple[str, ...]]:
        """Done when the server has taken all that was posted, with what it refused meanwhile.

        Raises:
            LinkLostError: the link is down; the future raises it if it is lost before that.
        """
        return self._now().taken()

    async def publish(self, subject: bytes, data: bytes, headers: bytes = b"") -> None:
        """Returns once the server has taken it.

        Raises:
            LinkLostError: the link is down, or lost before that.
            RefusedError: the server refuses.
            EngineRefusal: the message is too long for it.
            TooMuchError: too much waits for the server already.
        """
        connection = self._now()
        self.check_size(data, headers)
        connection.post(wire.pub(subject, data, b"", headers))
        await self._taken(connection, "Publish", subject)

    async def request(self, subject: bytes, data: bytes, headers: bytes = b"") -> Message:
        """Sends a request; returns headers and data of the answer.

        Raises:
            NoRespondersError: nobody is there to answer.
            LinkLostError: the link is down, or no answer came in time.
            EngineRefusal: the request is too long for the server.
        """
        return (await self.request_many(subject, data, headers, _first))[0]

    async def request_many(
        self,
        subject: bytes,
        data: bytes,
        headers: bytes,
        is_last: Callable[[bytes, bytes], bool],
    ) -> list[Message]:
        """Sends a request that has several answers; ``is_last`` tells of which it is the last.

        Raises: as :meth:`request`.
        """
        connection = self._now()
        self.check_size(data, headers)
        reply = self._inbox + str(self._next_request).encode()
        self._next_request += 1
        asked = self._asked[reply] = _Asked(is_last)
        limit = self.options.request_timeout
        # No asyncio.timeout: what is driven without a task may ask as well.
        timer = asyncio.get_running_loop().call_later(limit, asked.give_up, limit)
        try:
            connection.post(wire.pub(subject, data, reply, headers))
            await asked.done
        finally:
            timer.cancel()
            del self._asked[reply]
        if asked.answers[0][0].startswith(b"NATS/1.0 503"):
            raise NoRespondersError(f"nobody answers to {subject.decode(errors='replace')}")
        return asked.answers

    async def ask(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Awaits what is asked of the server.

        Raises:
            EngineError: it failed; the log was told.
            EngineRefusal: no server of these would ever do it.
        """
        try:
            return await work
        except (EngineError, EngineRefusal):
            raise
        except FlyballError as error:
            raise self.faults.error(str(error)) from None

    def strange(self, what: str, *about: object) -> None:
        """Tells the log of something that is not understood: once a second, with a count."""
        if self._strange.allows(asyncio.get_running_loop().time()):
            more = self._strange.take_left_out()
            also = f" (and {more} more before)" if more else ""
            logger.warning("nats: %s%s", what % about, also)

    def _now(self) -> Connection:
        if self._connection is None:
            raise LinkLostError(self.problem or "the engine is not started, or closed")
        return self._connection

    def check_size(self, data: bytes, headers: bytes = b"") -> None:
        """Refuses what the server does not take.

        Raises:
            EngineRefusal: the message is longer than the server's ``max_payload``.
        """
        size = len(data) + len(headers)
        if size > self.max_payload:
            message = (
                f"a message of {size} bytes; the server takes {self.max_payload} (max_payload)"
            )
            raise EngineRefusal(codes.LIMIT_EXCEEDED, detail=message)

    async def _taken(self, connection: Connection, verb: str, subject: bytes) -> None:
        errors = await connection.taken()
        if errors:
            about = f'{verb} to "{subject.decode(errors="replace")}"'
            for text in errors:
                if about in text or "Permissions Violation" not in text:
                    raise RefusedError(text)

    # -- messages

    def _take(self, sid: int, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        if sid == 0:
            asked = self._asked.get(subject)
            if asked is not None:
                asked.take(headers, data)
            return
        subscription = self._subscriptions.get(sid)
        if subscription is not None:
            subscription.reply = reply
            subscription.take(subscription, subject, headers, data)
        else:  # given up while the link was being made
            self._unsubscribe(sid)

    # -- connecting

    async def _connect_somewhere(self) -> None:
        """Connects to the first of the servers that takes us, from another one on each time."""
        problems = []
        for _ in range(len(self._known)):
            server = self._known[self._turn % len(self._known)]
            try:
                await self._connect(server)
            except FlyballError as error:
                self._turn += 1
                problems.append(f"{server}: {error}" if len(self._known) > 1 else str(error))
            else:
                return
        raise LinkLostError("; ".join(problems[:3]))

    async def _connect(self, server: Server) -> None:
        connection = await connect(server, self.options, self._take, self._lost, self._learn)
        try:
            await self._prepare(connection)
        except BaseException:
            connection.abort("not prepared")
            raise
        if connection.lost:
            raise LinkLostError(connection.lost)
        self._connection = connection
        self._watch.start(connection)
        self._learn(connection.info)  # which may leave the server at once

    async def _prepare(self, connection: Connection) -> None:
        """All subscriptions again, before anybody else uses the connection."""
        commands = [wire.sub(self._inbox + b"*", 0)]
        commands += [wire.sub(s.subject, s.sid) for s in self._subscriptions.values()]
        connection.post(b"".join(commands))
        async with asyncio.timeout(self.options.write_timeout + self.options.dial_timeout):
            errors = await connection.taken()
        if errors and self._subscriptions:
            raise RefusedError(errors[0])

    def _learn(self, info: dict[str, Any]) -> None:
        """Remembers the other servers of the cluster, and leaves one that is about to stop."""
        names = {(server.host, server.port) for server in self._known}
        first = self.options.servers[0]
        for text in info.get("connect_urls") or ():
            host, _, port = str(text).rpartition(":")
            host = host.strip("[]")
            if port.isdecimal() and (host, int(port)) not in names and len(names) < MOST_KNOWN:
                names.add((host, int(port)))
                found = Server(
                    host, int(port), first.user, first.password, first.token, tls=first.tls
                )
                self._known.append(found)
        if info.get("ldm") and self._connection is not None and len(self._known) > 1:
            self._connection.abort("the server is about to stop")

    def _lost(self, reason: str) -> None:
        if self._connection is None:
            return  # it never was ours: whoever connects is told
        self._connection = None
        self._turn += 1
        self._watch.stop()
        for asked in self._asked.values():
            if not asked.done.done():
                asked.done.set_exception(LinkLostError(reason))
        if self._users:
            self._down(reason)
            for tell in self.on_lost:
                tell(self.problem)
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._try_again(), name="flyball nats link")

    def _down(self, reason: str) -> None:
        self.problem = f"nats {self.options}: {reason}"

    async def _try_again(self) -> None:
        await keep_trying(self._connect_somewhere, self._down)
        self._task = None
        self.problem = ""
        for tell in self.on_restored:
            tell()


def _ask(connection: Connection) -> None:
    """Sends what is answered by a PONG."""
    connection.taken().add_done_callback(forget)
