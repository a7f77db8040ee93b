"""One connection: commands of a loop turn leave in one write, answers come back in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis

from flyball.core.errors import FlyballError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.engines.redis.options import Endpoint, Login, ShardOptions

pack: Final[Callable[[tuple[Any, ...]], bytes]] = hiredis.pack_command
"""A command as bytes."""


class ReplyError(FlyballError):
    """A server answered a command with an error."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.kind: str = text.partition(" ")[0]
        """Its first word: ``NOSCRIPT``, ``MOVED``, ``READONLY`` ..."""


class LinkLostError(FlyballError):
    """The connection ended before the answer came; whether the command was done is not known."""


class Connection(asyncio.Protocol):
    """A connection that pipelines everything.

    Args:
        on_message: gets what answers no command: messages of PUB/SUB. A connection that
            subscribes gets everything there once :attr:`subscriber` is set.
        on_lost: told once, with the reason.
    """

    __slots__ = (
        "_loop",
        "_on_lost",
        "_on_message",
        "_out",
        "_pending",
        "_reader",
        "_transport",
        "heard_at",
        "lost",
        "subscriber",
        "waits_since",
    )

    def __init__(self, on_message: Callable[[Any], None], on_lost: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_lost = on_lost
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.heard_at: float = self._loop.time()
        """Loop time when something last came."""
        self.waits_since: float = self.heard_at
        """Loop time since when an answer is missing, if one is."""
        self.subscriber: bool = False
        self.lost: bool = False

    @property
    def waiting(self) -> bool:
        """Answers are missing."""
        return bool(self._pending)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of another class

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self.heard_at = self.waits_since = self._loop.time()
        reader = self._reader
        pending = self._pending
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if self.subscriber or type(reply) is hiredis.PushNotification:
                    self._on_message(reply)
                    continue
                future = pending.popleft()
                if future.done():
                    continue
                if type(reply) is ReplyError:
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.abort(f"it does not speak the Redis protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self.abort(str(exc) if exc is not None else "the server closed the connection")

    # -- commands

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Sends a packed command at the end of this turn; the future gets its answer.

        It raises :class:`ReplyError` or :class:`LinkLostError`.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        pending = self._pending
        if not pending:
            self.waits_since = self._loop.time()
        if self.lost:
            future.set_exception(LinkLostError("the link is lost"))
            return future
        pending.append(future)
        self.post(command)
        return future

    def post(self, command: bytes) -> None:
        """Sends a packed command that has no answer of its own."""
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        out.append(command)

    def _flush(self) -> None:
        out = self._out
        if self._transport is not None and not self.lost:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def abort(self, reason: str) -> None:
        """Ends it at once; whoever waits for an answer is told."""
        if self.lost:
            return
        self.lost = True
        if self._transport is not None and not self._loop.is_closed():
            self._transport.abort()
        pending, self._pending = self._pending, deque()
        for future in pending:
            if not future.done():
                future.set_exception(LinkLostError(reason))
        self._on_lost(reason)


async def connect(
    endpoint: Endpoint,
    login: Login,
    timeouts: ShardOptions,
    on_message: Callable[[Any], None],
    on_lost: Callable[[str], None],
) -> Connection:
    """Connects and logs in.

    Raises:
        LinkLostError: the server is out of reach, or did not answer in time.
        ReplyError: it does not let us in.
    """
    try:
        async with asyncio.timeout(timeouts.connect_timeout):
            connection = await _open(endpoint, login, on_message, on_lost)
    except TimeoutError:
        message = f"no connection within {timeouts.connect_timeout:g} s"
        raise LinkLostError(message) from None
    except OSError as error:
        raise LinkLostError(str(error) or type(error).__name__) from None
    try:
        async with asyncio.timeout(timeouts.io_timeout):
            await _log_in(connection, login)
    except TimeoutError:
        connection.abort("no answer")
        raise LinkLostError(f"no answer within {timeouts.io_timeout:g} s") from None
    except BaseException:
        connection.abort("login failed")
        raise
    return connection


async def _open(
    endpoint: Endpoint,
    login: Login,
    on_message: Callable[[Any], None],
    on_lost: Callable[[str], None],
) -> Connection:
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(on_message, on_lost)

    if endpoint.path:
        _, connection = await loop.create_unix_connection(make, endpoint.path)
        return connection
    name = (login.tls_server_name or endpoint.host) if login.tls is not None else None
    _, connection = await loop.create_connection(
        make, endpoint.host, endpoint.port, ssl=login.tls, server_hostname=name
    )
    return connection


async def _log_in(connection: Connection, login: Login) -> None:
    user, password = login.user, login.password
    if login.force_resp2 or not await _hello(connection, login):
        if password:
            auth = ("AUTH", user, password) if user else ("AUTH", password)
            await connection.send(pack(auth))
        if login.client_name:
            await connection.send(pack(("CLIENT", "SETNAME", login.client_name)))
    if login.db:
        await connection.send(pack(("SELECT", login.db)))


async def _hello(connection: Connection, login: Login) -> bool:
    """Asks for RESP3; False if the server does not know of it."""
    command: tuple[Any, ...] = ("HELLO", 3)
    if login.password:
        command += ("AUTH", login.user or "default", login.password)
    if login.client_name:
        command += ("SETNAME", login.client_name)
    try:
        await connection.send(pack(command))
    except ReplyError as error:
        if error.kind in ("NOPROTO", "ERR"):
            return False
        raise
    return True
