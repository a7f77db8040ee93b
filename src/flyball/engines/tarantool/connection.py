"""One connection to a Tarantool server, by asynctnt.

All strings are bytes, whatever the server's version: they travel as text in Latin-1, in which each
byte is a character. Tarantool before 3.0 has no other way to give bytes back.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import asynctnt
from asynctnt.exceptions import TarantoolDatabaseError, TarantoolError

from flyball.core.errors import FlyballError
from flyball.engines.common.links import forget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgspec import Raw

    from flyball.engines.tarantool.options import Endpoint, ShardOptions

logger: Final = logging.getLogger("flyball.engine")

ENCODING: Final = "latin-1"

READ_ONLY: Final = 7
NO_SUCH_FUNCTION: Final = 33
ACCESS_DENIED: Final = 42
TOO_LARGE: Final = 110
"""Codes of errors that the server gives."""

TICKS: Final = 8
"""How often in the time for an answer those that are missing are looked at."""
FAULTS: Final = (TarantoolError, OSError, RuntimeError)
"""What asynctnt raises; a ``TimeoutError`` is an ``OSError``. ``RuntimeError`` is uvloop's for a write
on what is closed."""


class LinkLostError(FlyballError):
    """There is no connection, or it ended before the answer came."""


class ReplyError(FlyballError):
    """The server answered with an error. ``code`` is Tarantool's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code: int = code


def text_of(value: str | bytes | Raw) -> str:
    """What is sent for a string: its bytes as characters."""
    if isinstance(value, str):
        if value.isascii():
            return value
        value = value.encode()
    return str(value, ENCODING)


def string_of(text: str) -> str:
    """The string that :func:`text_of` was given. What is no UTF-8 is replaced."""
    return text if text.isascii() else text.encode(ENCODING).decode(errors="replace")


class _Protocol(asynctnt.iproto.protocol.Protocol):  # type: ignore[misc]
    """Remembers its transport, which asynctnt forgets if it is cancelled while it connects."""

    transports: list[asyncio.Transport]

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by asyncio."""
        self.transports.append(transport)
        super().connection_made(transport)


class Connection(asynctnt.Connection):  # type: ignore[misc]
    """A connection; it is not made anew when it is lost.

    Args:
        endpoint: the server.
        options: login and time limits.
        on_lost: told once, with this and the reason, when it is lost after it was connected.
    """

    __slots__ = (
        "_io_timeout",
        "_limit",
        "_on_lost",
        "_pending",
        "_reason",
        "_tick",
        "_timer",
        "_transports",
        "_up",
        "endpoint",
    )

    def __init__(
        self, endpoint: Endpoint, options: ShardOptions, on_lost: Callable[[Connection, str], None]
    ) -> None:
        super().__init__(
            host="unix/" if endpoint.path else endpoint.host,
            port=endpoint.path or endpoint.port,
            username=text_of(options.user) or None,
            password=text_of(options.password) or None,
            fetch_schema=False,
            auto_refetch_schema=False,
            # Half of it is for one attempt, of which we want no more: see open().
            connect_timeout=options.connect_timeout * 2,
            # Not by a timer for each request: see send().
            request_timeout=0,
            reconnect_timeout=0,
            ping_timeout=0,
            encoding=ENCODING,
        )
        self.endpoint: Endpoint = endpoint
        self._limit = options.connect_timeout
        self._io_timeout = options.io_timeout
        self._pending: dict[asyncio.Future[Any], int] = {}
        """Requests that wait for an answer, oldest first, and the tick when they were sent."""
        self._tick = 0
        self._timer: asyncio.TimerHandle | None = None
        self._on_lost = on_lost
        self._reason = ""
        self._up = False
        self._transports: list[asyncio.Transport] = []

    async def open(self) -> None:
        """Connects and logs in.

        Raises:
            LinkLostError: nobody is there, or does not answer in time.
            ReplyError: the server does not let us in.
        """
        try:
            async with asyncio.timeout(self._limit):
                await self.connect()
            if self._reason:  # asynctnt does not look whether it was lost while it got ready
                raise LinkLostError(self._reason)
        except TimeoutError:
            raise LinkLostError(f"no answer within {self._limit:g} s") from None
        except (AssertionError, *FAULTS) as error:
            raise fault(error, self) from None
        else:
            self._up = True
            self._wait_for_tick()
        finally:
            if not self._up:
                self.abort("not connected")

    @property
    def limit(self) -> float:
        """Seconds for an answer."""
        return self._io_timeout

    @property
    def lost(self) -> str:
        """Why it is not connected any more; empty while it is."""
        return self._reason

    def send(self, what: str, args: Sequence[Any]) -> asyncio.Future[Any]:
        """Asks for a function of our module; the ``body`` of what comes is the list of its results.

        It fails when the time for an answer is over. Whoever awaits it calls :meth:`settled` then.

        Raises:
            LinkLostError: there is no connection. The future raises :data:`FAULTS`, which
                :func:`fault` makes errors of ours.
        """
        try:
            answer: asyncio.Future[Any] = self.call("flyball", (what, *args))
        except FAULTS as error:
            raise fault(error, self) from None
        self._pending[answer] = self._tick
        return answer

    def settled(self, answer: asyncio.Future[Any]) -> None:
        """An answer is there, or nobody waits for it any more."""
        self._pending.pop(answer, None)
        # asynctnt ties it and what came to each other: it would be garbage for the collector.
        answer._response = None  # type: ignore[attr-defined]  # noqa: SLF001

    def _look(self) -> None:
        """Gives up what was sent too long ago; cheaper than a timer for each request."""
        self._tick += 1
        for answer, tick in self._pending.items():
            if self._tick - tick < TICKS:
                break
            if not answer.done():
                answer.set_exception(TimeoutError())
        self._wait_for_tick()

    def _wait_for_tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._io_timeout / (TICKS + 1), self._look)

    async def ask(self, what: str, *args: Any) -> Any:
        """As :meth:`send`; returns the list of results.

        Raises:
            LinkLostError: there is no answer.
            ReplyError: the answer is an error.
        """
        try:
            answer = self.send(what, args)
            try:
                return (await answer).body
            finally:
                self.settled(answer)
        except FAULTS as error:
            raise fault(error, self) from None

    def post(self, what: str, *args: Any) -> None:
        """As :meth:`send`, but nobody wants to know what becomes of it."""
        try:
            self.call("flyball", (what, *args)).add_done_callback(forget)
        except FAULTS as error:
            logger.debug("tarantool: %s was not sent: %s", what, error)

    async def run(self, source: bytes, *args: Any) -> Any:
        """Runs Lua code; needs the right to execute anything. Otherwise as :meth:`ask`."""
        try:
            return (await self.eval(text_of(source), args, timeout=self._io_timeout)).body
        except FAULTS as error:
            raise fault(error, self) from None

    def abort(self, reason: str) -> None:
        """Gives it up; whoever waits for an answer is told."""
        self._reason = self._reason or reason
        for transport in self._transports:
            transport.abort()

    def protocol_factory(self, connected_fut: Any, loop: Any, cls: Any = _Protocol) -> Any:
        """Called by asynctnt."""
        protocol = super().protocol_factory(connected_fut, loop, cls)
        protocol.transports = self._transports
        return protocol

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asynctnt."""
        self._reason = self._reason or str(exc or "the server closed the connection")
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        if self._up:
            self._up = False
            self._on_lost(self, self._reason)


def fault(error: Exception, connection: Connection) -> LinkLostError | ReplyError:
    """What a failed request says, as an error of ours."""
    if isinstance(error, TarantoolDatabaseError):
        # Its text was taken for Latin-1.
        return ReplyError(error.code, string_of(str(error.message)))
    if isinstance(error, TimeoutError):
        return LinkLostError(f"no answer within {connection.limit:g} s")
    return LinkLostError(connection.lost or str(error) or type(error).__name__)
