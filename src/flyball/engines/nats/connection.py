"""One connection: what is sent in a loop turn leaves in one write, with one PING behind it.

NATS does not acknowledge a command. It handles them in order, so that the PONG to a PING behind
them tells that all were taken; what it refused it has told before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from flyball._version import __version__
from flyball.core.errors import FlyballError
from flyball.engines.nats import wire
from flyball.engines.nats.credentials import read_credentials

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from flyball.engines.nats.credentials import Credentials
    from flyball.engines.nats.options import Server, ServerOptions

MOST_UNSENT: Final = 32 << 20
"""Bytes that may wait for the socket; more is refused."""
MOST_ERRORS: Final = 100
"""Refusals that are remembered until the next PONG."""


class LinkLostError(FlyballError):
    """The connection ended before the server had taken what was sent."""


class RefusedError(FlyballError):
    """The server does not allow it."""


class TooMuchError(FlyballError):
    """More waits for the server than is kept."""


class Connection(asyncio.Protocol):
    """A connection, from its INFO on.

    Args:
        take: gets the messages.
        on_lost: told once, with the reason.
        on_info: told when the server tells news of itself.
    """

    __slots__ = (
        "_errors",
        "_loop",
        "_on_info",
        "_on_lost",
        "_out",
        "_parser",
        "_pings",
        "_take",
        "_transport",
        "_waiting",
        "heard_at",
        "info",
        "info_came",
        "lost",
        "waits_since",
    )

    def __init__(
        self,
        take: Callable[[int, bytes, bytes, bytes, bytes], None],
        on_lost: Callable[[str], None],
        on_info: Callable[[dict[str, Any]], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._take = take
        self._on_lost = on_lost
        self._on_info = on_info
        self._parser = wire.Parser(self)
        self._out: list[bytes] = []
        self._waiting: list[asyncio.Future[tuple[str, ...]]] = []
        """Who waits for what was sent in this turn."""
        self._pings: deque[list[asyncio.Future[tuple[str, ...]]]] = deque()
        """The same of each PING that has no PONG yet."""
        self._errors: list[str] = []
        """Refusals since the last PONG."""
        self._transport: asyncio.Transport | None = None
        self.info: dict[str, Any] = {}
        """What the server told of itself."""
        self.info_came: asyncio.Future[None] = self._loop.create_future()
        self.lost: str = ""
        """Why it ended, if it has."""
        self.heard_at: float = self._loop.time()
        """Loop time when something last came."""
        self.waits_since: float = self.heard_at
        """Loop time since when a PONG is missing, if one is."""

    @property
    def waiting(self) -> bool:
        """A PONG is missing."""
        return bool(self._pings)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of another class

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self.heard_at = self._loop.time()
        try:
            self._parser.feed(data)
        except wire.ProtocolError as error:
            self.abort(f"it does not speak the NATS protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        told = self._errors[-1] if self._errors else "the server closed the connection"
        self.abort(str(exc) if exc is not None else told)

    # -- what the server says

    def on_message(
        self, sid: int, subject: bytes, reply: bytes, headers: bytes, data: bytes
    ) -> None:
        """See :class:`~flyball.engines.nats.wire.Operations`."""
        self._take(sid, subject, reply, headers, data)

    def on_info(self, info: dict[str, Any]) -> None:
        """See :class:`~flyball.engines.nats.wire.Operations`."""
        self.info.update(info)
        if not self.info_came.done():
            self.info_came.set_result(None)
        else:
            self._on_info(info)

    def on_ping(self) -> None:
        """See :class:`~flyball.engines.nats.wire.Operations`."""
        self.post(wire.PONG)

    def on_pong(self) -> None:
        """See :class:`~flyball.engines.nats.wire.Operations`."""
        self.waits_since = self.heard_at
        errors, self._errors = tuple(self._errors), []
        for future in self._pings.popleft() if self._pings else ():
            if not future.done():
                future.set_result(errors)

    def on_error(self, text: str) -> None:
        """See :class:`~flyball.engines.nats.wire.Operations`."""
        if len(self._errors) < MOST_ERRORS:
            self._errors.append(text)

    # -- what we say

    def post(self, command: bytes) -> None:
        """Sends a command at the end of this turn.

        Raises:
            TooMuchError: too much waits already.
        """
        out = self._out
        if not out:
            transport = self._transport
            if transport is None or transport.get_write_buffer_size() > MOST_UNSENT:
                raise TooMuchError(f"more than {MOST_UNSENT} bytes wait to be sent")
            self._loop.call_soon(self._flush)
        out.append(command)

    def taken(self) -> asyncio.Future[tuple[str, ...]]:
        """Done when the server has handled all that was posted, with what it refused meanwhile.

        It raises :class:`LinkLostError`.
        """
        future: asyncio.Future[tuple[str, ...]] = self._loop.create_future()
        if self.lost:
            future.set_exception(LinkLostError(self.lost))
            return future
        if not self._out:
            self._loop.call_soon(self._flush)
        self._waiting.append(future)
        return future

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._waiting:
            if not self._pings:
                self.waits_since = self._loop.time()
            self._pings.append(self._waiting)
            self._waiting = []
            out.append(wire.PING)
        if self._transport is not None and not self.lost and out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    async def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Goes on with TLS.

        Raises:
            OSError: the certificate is not trusted, or the handshake fails.
        """
        assert self._transport is not None
        transport = await self._loop.start_tls(
            self._transport, self, context, server_hostname=name or None
        )
        if transport is None:
            raise LinkLostError("the server closed the connection")
        self._transport = transport

    def abort(self, reason: str) -> None:
        """Ends it at once; whoever waits is told."""
        if self.lost:
            return
        self.lost = reason
        if self._transport is not None and not self._loop.is_closed():
            self._transport.abort()
        waiting = [future for futures in (*self._pings, self._waiting) for future in futures]
        self._pings.clear()
        self._waiting = []
        for future in waiting:
            if not future.done():
                future.set_exception(LinkLostError(reason))
        if not self.info_came.done():
            self.info_came.set_exception(LinkLostError(reason))
            self.info_came.exception()
        self._on_lost(reason)


async def connect(
    server: Server,
    options: ServerOptions,
    take: Callable[[int, bytes, bytes, bytes, bytes], None],
    on_lost: Callable[[str], None],
    on_info: Callable[[dict[str, Any]], None],
) -> Connection:
    """Connects and logs in.

    Raises:
        LinkLostError: the server is out of reach, or did not answer in time.
        RefusedError: it does not let us in.
        ConfigError: the credentials file is wrong.
    """
    loop = asyncio.get_running_loop()
    connection: Connection | None = None
    try:
        async with asyncio.timeout(options.dial_timeout):
            _, connection = await loop.create_connection(
                lambda: Connection(take, on_lost, on_info), server.host, server.port
            )
            await connection.info_came
            await _log_in(connection, server, options)
    except BaseException as error:
        if connection is not None:
            connection.abort("no login")
        if isinstance(error, TimeoutError):
            raise LinkLostError(f"no connection within {options.dial_timeout:g} s") from None
        if isinstance(error, OSError):
            raise LinkLostError(str(error) or type(error).__name__) from None
        raise
    return connection


async def _log_in(connection: Connection, server: Server, options: ServerOptions) -> None:
    info = connection.info
    secure = options.tls is not None or server.tls
    if secure and not (info.get("tls_required") or info.get("tls_available")):
        raise RefusedError("TLS is wanted, and the server has none")
    if info.get("tls_required") and not secure:
        raise RefusedError("the server demands TLS")
    if secure:
        import ssl

        context = options.tls or ssl.create_default_context()
        await connection.secure(context, options.tls_server_name or server.host)
    credentials = None
    if options.credentials_file:
        credentials = await asyncio.to_thread(read_credentials, options.credentials_file)
    said = _introduction(info, server, options, credentials, secure=secure)
    connection.post(wire.connect(said))
    try:
        errors = await connection.taken()
    except LinkLostError as error:
        raise RefusedError(str(error)) from None
    if errors:
        raise RefusedError(errors[0])


def _introduction(
    info: dict[str, Any],
    server: Server,
    options: ServerOptions,
    credentials: Credentials | None,
    *,
    secure: bool,
) -> dict[str, Any]:
    """The body of CONNECT. Credentials file before user and password, these before a token."""
    said: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "tls_required": secure,
        "name": options.name,
        "lang": "python",
        "version": __version__,
        "protocol": 1,
        "echo": True,
        "headers": True,
        "no_responders": True,
    }
    user, password = server.user or options.user, server.password or options.password
    token = server.token or options.token
    if credentials is not None:
        said["jwt"] = credentials.jwt
        said["sig"] = credentials.sign(str(info.get("nonce", "")))
    elif user:
        said["user"], said["pass"] = user, password
    elif token:
        said["auth_token"] = token
    return said
