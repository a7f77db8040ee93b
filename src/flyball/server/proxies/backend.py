"""One backend: what is said of the client, how much is asked at a time, and what went wrong."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, Protocol

from flyball.core.errors import Error
from flyball.protocol import codes
from flyball.protocol.codec import EncodeError
from flyball.server.proxies.admission import Admission
from flyball.server.proxies.errors import BackendError
from flyball.server.proxies.outages import Outages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flyball.aio.clock import Clock
    from flyball.core.connection import Connection
    from flyball.server.proxies.kinds import A, Q, Question
    from flyball.server.proxies.metrics import ProxyMetrics
    from flyball.server.proxies.options import BackendOptions

__all__ = ["Backend", "Caller"]

_UNSENDABLE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
"""What no header value may hold (RFC 9110, section 5.5)."""
GRPC_TRANSPORT: Final = "uni_grpc"


class Caller(Protocol):
    """How questions get to a backend."""

    @property
    def protocol(self) -> str:
        """In metrics: ``http`` or ``grpc``."""

    def prepare(self) -> None:
        """Loads what calls need, before the event loop is busy."""

    def passes_on(self, name: str) -> bool:
        """Whether a header or key (lower case) may be sent along."""

    async def call(self, question: Question[Q, A], request: Q, headers: Mapping[str, str]) -> A:
        """The answer, or BackendError; EncodeError where a payload cannot be written."""

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
        self._outages = Outages(options.key, options.endpoint)
        self._static = {name.lower(): value for name, value in options.static.items()}
        self._emulated = tuple(filter(caller.passes_on, options.emulated_headers))
        self._own = tuple(filter(caller.passes_on, options.headers))
        self._own_by_grpc = tuple(filter(caller.passes_on, options.metadata))

    def __repr__(self) -> str:
        return f"<Backend {self.options.key}>"

    async def ask(self, question: Question[Q, A], request: Q, connection: Connection) -> A:
        """What the backend says about a client.

        Raises:
            BackendError: it says nothing; counted and logged.
            Error: 100, a payload of the client cannot be sent; 107, a header of it cannot.
        """
        headers = self._headers(connection)
        # Into a task of its own: timeouts need one, and eager handlers have none.
        await asyncio.sleep(0)
        kind = question.kind.value
        key = (self.caller.protocol, kind, self.options.name)
        metrics, clock = self._metrics, self._clock
        started = clock.monotonic()
        metrics.inflight[key] += 1
        try:
            answer = await self._call(question, request, connection, headers)
        except BackendError as error:
            metrics.errors[key] += 1
            self._outages.failed(kind, str(error), clock.monotonic())
            raise
        finally:
            metrics.inflight[key] -= 1
            metrics.durations[key].observe(clock.monotonic() - started)
        self._outages.answered(clock.monotonic())
        return answer

    async def _call(
        self,
        question: Question[Q, A],
        request: Q,
        connection: Connection,
        headers: Mapping[str, str],
    ) -> A:
        await self._admission.enter()
        try:
            if connection.closed:  # it went away while it waited: nobody needs the answer
                raise Error(codes.INTERNAL, detail="the connection is closed")
            return await self.caller.call(question, request, headers)
        except EncodeError as error:
            detail = f"{self.options.key}: {error}; set binary_encoding to send such data"
            raise Error(codes.INTERNAL, detail=detail) from None
        finally:
            self._admission.leave()

    # -- what is passed on of the client's own headers

    def _headers(self, connection: Connection) -> dict[str, str]:
        """Names in lower case; of several sources the last one wins."""
        found = dict(self._static)
        if self._emulated:
            given = {name.lower(): value for name, value in connection.emulated_headers.items()}
            found |= _sendable(self._emulated, given)
        by_grpc = connection.transport == GRPC_TRANSPORT
        return found | _sendable(self._own_by_grpc if by_grpc else self._own, connection.headers)


def _sendable(names: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """Those of ``names`` that are given.

    Raises:
        Error: 107, a value holds what no header may hold.
    """
    found = {name: given[name] for name in names if name in given}
    for name, value in found.items():
        if _UNSENDABLE.search(value):
            detail = f"the header {name!r} of the client holds characters that none may hold"
            raise Error(codes.BAD_REQUEST, detail=detail)
    return found
