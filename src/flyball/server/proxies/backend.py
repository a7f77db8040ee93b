"""One backend: what is said of the client, how much is asked at a time, and what went wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from flyball.aio.eager import OWN_TASK
from flyball.core.errors import Error
from flyball.protocol import codes
from flyball.protocol.codec import EncodeError
from flyball.server.channels import ProxyKind
from flyball.server.common.outages import Outages
from flyball.server.proxies import kinds
from flyball.server.proxies import messages as m
from flyball.server.proxies.admission import Admission
from flyball.server.proxies.errors import BackendError
from flyball.server.proxies.streams import BackendStream

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from flyball.aio.clock import Clock
    from flyball.core.connection import Connection
    from flyball.server.proxies.kinds import A, Q, Question
    from flyball.server.proxies.metrics import Key, ProxyMetrics
    from flyball.server.proxies.options import BackendOptions
    from flyball.server.proxies.streams import StreamCall

__all__ = ["Backend", "Caller"]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.proxies")

GRPC_TRANSPORT: Final = "uni_grpc"


class Caller(Protocol):
    """How questions get to a backend."""

    @property
    def protocol(self) -> str:
        """In metrics: ``http`` or ``grpc``."""

    @property
    def unsendable(self) -> re.Pattern[str]:
        """What no value of a client that is sent along may hold."""

    def prepare(self) -> None:
        """Loads what calls need, before the event loop is busy."""

    def passes_on(self, name: str) -> bool:
        """Whether a header or key (lower case) may be sent along."""

    async def call(self, question: Question[Q, A], request: Q, headers: Mapping[str, str]) -> A:
        """The answer, or BackendError; EncodeError where a payload cannot be written.

        There may be no task before its first wait: one that needs one gets it by ``OWN_TASK``.
        """

    async def stream(
        self,
        question: Question[Any, m.StreamSubscribeResponse],
        request: m.Message,
        headers: Mapping[str, str],
        /,
    ) -> StreamCall:
        """A stream, begun with ``request``; or BackendError."""

    async def close(self) -> None:
        """Ends what is under way."""


class Backend:
    """Asks one backend about clients.

    Args:
        options: how it is reached and what it is told.
        caller: carries the questions.
        metrics: where they are counted.
        clock: for durations.
    """

    def __init__(
        self, options: BackendOptions, caller: Caller, metrics: ProxyMetrics, clock: Clock
    ) -> None:
        self.options = options
        self.caller = caller
        self._metrics = metrics
        self._clock = clock
        self._admission = Admission(options.max_in_flight, options.max_waiting, options.max_wait)
        self._outages = Outages(
            logger,
            "backend gives no answer",
            "backend answers again",
            proxy=options.key,
            endpoint=options.endpoint,
        )
        self.streams: int = 0
        """Open at the moment."""
        self._static = {name.lower(): value for name, value in options.static.items()}
        self._emulated = tuple(filter(caller.passes_on, options.emulated_headers))
        self._own = tuple(filter(caller.passes_on, options.headers))
        self._own_by_grpc = tuple(filter(caller.passes_on, options.metadata))
        self._nothing_passed_on = not (self._emulated or self._own or self._own_by_grpc)

    def __repr__(self) -> str:
        return f"<Backend {self.options.key}>"

    async def ask(self, question: Question[Q, A], request: Q, connection: Connection) -> A:
        """What the backend says about a client.

        Raises:
            BackendError: it says nothing; counted and logged.
            Error: 100, a payload of the client cannot be sent; 107, a header of it cannot.
        """
        headers = self._headers(connection)
        with _Counted(self, question.kind.value):
            await self._enter(connection)
            try:
                return await self.caller.call(question, request, headers)
            except EncodeError as error:
                raise self._unsendable(error) from None
            finally:
                self._admission.leave()

    async def open(
        self, request: m.SubscribeRequest, connection: Connection, *, bidirectional: bool
    ) -> tuple[m.SubscribeResponse, BackendStream]:
        """What the backend says about a client that subscribes, and what it streams then.

        Raises what :meth:`ask` raises.
        """
        headers = self._headers(connection)
        await OWN_TASK
        with _Counted(self, ProxyKind.SUBSCRIBE_STREAM.value):
            await self._enter(connection)
            try:
                return await self._open(request, headers, bidirectional=bidirectional)
            finally:
                self._admission.leave()

    async def _enter(self, connection: Connection) -> None:
        """Waits for room; what follows must leave it."""
        if self._admission.enter_at_once():
            return
        await OWN_TASK  # timeouts need one, and eager handlers have none
        await self._admission.enter()
        if connection.closed:  # it went away while it waited: nobody needs the answer
            self._admission.leave()
            raise Error(codes.INTERNAL, detail="the connection is closed")

    def _unsendable(self, error: EncodeError) -> Error:
        detail = f"{self.options.key}: {error}; set binary_encoding to send such data"
        return Error(codes.INTERNAL, detail=detail)

    async def _open(
        self, request: m.SubscribeRequest, headers: Mapping[str, str], *, bidirectional: bool
    ) -> tuple[m.SubscribeResponse, BackendStream]:
        options = self.options
        if self.streams >= options.max_streams:
            raise BackendError(f"{self.streams} streams are open, which is the most allowed")
        timeout = options.transport.timeout
        self.streams += 1
        call: StreamCall | None = None
        try:
            async with asyncio.timeout(timeout):
                call = await self._begin(request, headers, bidirectional=bidirectional)
                message = await call.read()
            if message is None or message.subscribe_response is None:
                raise BackendError("its first message is no subscribe_response")
        except BaseException as error:
            self._closed_stream()
            if call is not None:
                call.cancel()
            if isinstance(error, TimeoutError):
                raise BackendError(f"no answer within {timeout:g} s") from None
            raise
        stream = BackendStream(
            call,
            bidirectional=bidirectional,
            timeout=timeout,
            on_failure=self._broken_stream,
            on_closed=self._closed_stream,
        )
        return message.subscribe_response, stream

    async def _begin(
        self, request: m.SubscribeRequest, headers: Mapping[str, str], *, bidirectional: bool
    ) -> StreamCall:
        if not bidirectional:
            return await self.caller.stream(kinds.SUBSCRIBE_UNIDIRECTIONAL, request, headers)
        first = m.StreamSubscribeRequest(subscribe_request=request)
        return await self.caller.stream(kinds.SUBSCRIBE_BIDIRECTIONAL, first, headers)

    def _broken_stream(self, reason: str) -> None:
        self._failed(self.key(ProxyKind.SUBSCRIBE_STREAM.value), reason)

    def _closed_stream(self) -> None:
        self.streams -= 1

    # -- what is counted

    def key(self, kind: str) -> Key:
        """What questions of a kind are counted by."""
        return self.caller.protocol, kind, self.options.name

    def begun(self, key: Key) -> float:
        """A question is under way; returns when it began."""
        self._metrics.inflight[key] += 1
        return self._clock.monotonic()

    def ended(self, key: Key, began: float, error: BaseException | None) -> None:
        """It is not any more: answered, or failed with ``error``."""
        metrics, now = self._metrics, self._clock.monotonic()
        metrics.inflight[key] -= 1
        metrics.durations[key].observe(now - began)
        if error is None:
            self._outages.answered(now)
        elif isinstance(error, BackendError):
            self._failed(key, str(error))

    def _failed(self, key: Key, reason: str) -> None:
        self._metrics.errors[key] += 1
        _, kind, _ = key
        self._outages.failed(reason, self._clock.monotonic(), type=kind)

    # -- what is passed on of the client's own headers

    def _headers(self, connection: Connection) -> Mapping[str, str]:
        """Names in lower case; of several sources the last one wins."""
        if self._nothing_passed_on:
            return self._static
        found = dict(self._static)
        if self._emulated:
            given = {name.lower(): value for name, value in connection.emulated_headers.items()}
            found |= self._sendable(self._emulated, given)
        by_grpc = connection.transport == GRPC_TRANSPORT
        own = self._own_by_grpc if by_grpc else self._own
        return found | self._sendable(own, connection.headers)

    def _sendable(self, names: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
        """Those of ``names`` that are given.

        Raises:
            Error: 107, a value holds what cannot be sent.
        """
        found = {name: given[name] for name in names if name in given}
        for name, value in found.items():
            if self.caller.unsendable.search(value):
                detail = f"the header {name!r} of the client holds characters that none may hold"
                raise Error(codes.BAD_REQUEST, detail=detail)
        return found


class _Counted:
    """Counts one question; ``with`` is cheaper than another coroutine around it."""

    __slots__ = ("_backend", "_began", "_key")

    def __init__(self, backend: Backend, kind: str) -> None:
        self._backend = backend
        self._key = backend.key(kind)

    def __enter__(self) -> None:
        self._began = self._backend.begun(self._key)

    def __exit__(
        self, _kind: object, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._backend.ended(self._key, self._began, error)
