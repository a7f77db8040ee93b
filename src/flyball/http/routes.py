"""The route table: what is served on a port, whatever the version of HTTP that asks for it.

A request is its head and its body. Whoever answers gets both, and gives one :class:`Response`,
now or later, or a :class:`StreamingResponse`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from msgspec.structs import replace

from flyball.aio.eager import start_eagerly
from flyball.http.address import remote_host
from flyball.http.messages import CANCELLED, FAILED, RequestHead, Response, empty, plain_error
from flyball.http.streams import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.http.address import Wire
    from flyball.http.messages import HttpLimits
    from flyball.http.streams import ResponseStream

    Pending = Response | StreamingResponse | asyncio.Future[Response]
    """What a request is answered: at once, by a stream, or later (see :func:`outcome`)."""

logger: Final = logging.getLogger("flyball.transports")

T = TypeVar("T")

RequestCounts = MutableMapping[tuple[str, str, int], int]
"""(path of the route, method, status) to number of requests."""
_METHODS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
)
"""Methods that are counted by name: strangers could send any number of others."""


Answer = Response | StreamingResponse
Handler = Callable[[RequestHead, bytes], "Answer | Awaitable[Response]"]
"""Called with a request's head and body. Answers at once or later."""
PeerHandler = Callable[[RequestHead, bytes, str], "Answer | Awaitable[Response]"]
"""A handler that is told the peer's address too, without a port; empty where it is not known."""
Admit = Callable[[RequestHead], Response | None]
"""Called with a request's head, before its body is read: why it is refused, or None."""


class Agreed(Protocol):
    """What an endpoint agreed on with a client, to be opened with it."""

    @property
    def headers(self) -> Iterable[tuple[str, str]]:
        """Of the answer to an extended CONNECT."""


A = TypeVar("A", bound=Agreed)


class UpgradeEndpoint(Protocol[A]):
    """Answers a handshake, and then has the wire for a protocol of its own."""

    def answer(self, head: RequestHead, protocol: str | None = None) -> Response | A:
        """Decides on one request; nothing is sent.

        Args:
            head: the request.
            protocol: its ``:protocol`` if it came over HTTP/2 or HTTP/3, empty if it has none;
                None for the upgrade of HTTP/1.1.

        Returns:
            A :class:`Response` that refuses, or what :meth:`open` has to know.
        """

    def open(self, head: RequestHead, acceptance: A, wire: asyncio.Transport) -> object:
        """Takes ``wire``. The 101 answer of HTTP/1.1 is sent here, that of an extended CONNECT
        has been.
        """


@dataclass(frozen=True, slots=True)
class Route:
    """Who serves a path: a row of the route table. Has a handler of one kind or an ``upgrade``."""

    path: str
    """Matches exactly, as sent. ``*`` stands for one segment, or the rest of one, without dots."""
    handler: Handler | None = None
    peer_handler: PeerHandler | None = None
    upgrade: UpgradeEndpoint[Any] | None = None
    """Serves connections of another protocol, WebSocket."""
    methods: tuple[str, ...] = ()
    """Those that are served, others get 405. Empty: the handler looks at the method."""
    admit: Admit | None = None
    """Asked before the body is read."""
    max_body_size: int = 0
    """Bytes; 0: what :class:`HttpLimits` says."""
    too_large: Callable[[RequestHead], Response] | None = None
    """The answer to a longer body; a plain 413 if not given."""
    subtree: bool = False
    """All paths below belong to it too, where no other row has them."""
    internal: bool = False
    """For operators and backends: may move to a port of its own."""
    option: str = ""
    """What sets the path, for messages."""


class RouteClash(ValueError):
    """Two rows of a table have the same path."""

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option: str = option
        """What sets the path of the second."""


class PathTable(Generic[T]):
    """Finds what belongs to a path: at the exact path, by a pattern, or in a subtree.

    ``*`` in a path stands for one segment, or the rest of one, without dots:
    ``/sockjs/*/*/xhr``.
    """

    __slots__ = ("_exact", "_patterns", "_subtrees")

    def __init__(self, entries: Iterable[tuple[str, T, bool]]) -> None:
        """``entries`` are paths with what is there, and whether that has the paths below too."""
        self._exact: dict[str, T] = {}
        self._patterns: list[tuple[re.Pattern[str], T]] = []
        subtrees: list[tuple[str, T]] = []
        for path, value, subtree in entries:
            if "*" in path:
                self._patterns.append((_pattern(path), value))
            else:
                self._exact[path] = value
            if subtree:
                subtrees.append((f"{path.rstrip('/')}/", value))
        self._subtrees = sorted(subtrees, key=lambda entry: -len(entry[0]))

    def find(self, path: str) -> T | None:
        """What is at a path, as sent; a pattern wins over a subtree, a longer one over others."""
        found = self._exact.get(path)
        return found if found is not None else self._search(path)

    def _search(self, path: str) -> T | None:
        for pattern, value in self._patterns:
            if pattern.fullmatch(path):
                return value
        for start, value in self._subtrees:
            if path.startswith(start):
                return value
        return None


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("[^/.]+".join(map(re.escape, path.split("*"))))


class Endpoint:
    """A row of the table, ready to be asked: :meth:`refuse` at the head, then :meth:`answer`.

    A row with an ``upgrade`` is asked for :meth:`handshake` alone.
    """

    __slots__ = ("_handler", "_peer_handler", "admit", "route", "upgrade")

    def __init__(self, route: Route) -> None:
        self.route: Route = route
        self.upgrade: UpgradeEndpoint[Any] | None = route.upgrade
        self.admit: Callable[[RequestHead], Response | None] = route.admit or _admit_all
        """The part of :meth:`refuse` that may change: whom the row lets in now."""
        self._handler: Any = route.handler
        self._peer_handler = route.peer_handler

    def body_limit(self, limits: HttpLimits) -> int:
        """Bytes that a body may have."""
        return self.route.max_body_size or limits.max_body_size

    @property
    def is_admitted(self) -> bool:
        """Whose body is read is no stranger: the row has asked for a key, or is for operators."""
        return self.route.admit is not None or self.route.internal

    def refuse(self, head: RequestHead, limits: HttpLimits) -> Response | None:
        """Why a request is refused, as far as can be told without its body.

        The size comes before what the row itself asks (a key): strangers need not be let in to
        learn that they send too much.
        """
        return self.misfit(head, limits) or self.admit(head)

    def misfit(self, head: RequestHead, limits: HttpLimits) -> Response | None:
        """The part of :meth:`refuse` that is the same for equal heads: method and size."""
        route = self.route
        if route.methods and head.method not in route.methods:
            return empty(405, (("Allow", ", ".join(route.methods)),))
        if head.content_length > self.body_limit(limits):
            return self.too_large(head)
        return None

    def too_large(self, head: RequestHead) -> Response:
        """The answer to a body over the limit, which is not read: nothing can follow it."""
        own = self.route.too_large
        if own is None:
            return plain_error(413, close=True)
        return replace(own(head), close=True)

    def answer(self, head: RequestHead, body: bytes, wire: Wire) -> Pending:
        """What the handler says to a whole request; a failure is logged and answered with 500.

        Args:
            head: the request.
            body: all of it.
            wire: on which it came, for handlers that want to know from whom.
        """
        try:
            if self._peer_handler is None:
                answer = self._handler(head, body)
            else:
                answer = self._peer_handler(head, body, remote_host(wire))
            if type(answer) is Response or type(answer) is StreamingResponse:
                return answer
            if asyncio.iscoroutine(answer):
                answer = start_eagerly(answer)
                if isinstance(answer, Response):
                    return answer
            later: asyncio.Future[Response] = asyncio.ensure_future(answer)
        except Exception:
            logger.exception("the handler of %s %s failed", head.method, head.path)
            return FAILED
        return later

    def handshake(self, head: RequestHead, protocol: str | None = None) -> Response | Agreed:
        """See :meth:`UpgradeEndpoint.answer`."""
        assert self.upgrade is not None
        return self.upgrade.answer(head, protocol)


def _admit_all(_head: RequestHead) -> None:
    return None


def outcome(head: RequestHead, done: asyncio.Future[Response]) -> Response:
    """The answer that a handler came to; a failure is logged and answered with 500."""
    if done.cancelled():
        return CANCELLED
    error = done.exception()
    if error is None:
        return done.result()
    logger.error("the handler of %s %s failed", head.method, head.path, exc_info=error)
    return FAILED


class CountedEndpoint(Endpoint):
    """Counts how requests are answered, refused ones included."""

    __slots__ = ("_counts",)

    def __init__(self, route: Route, counts: RequestCounts) -> None:
        super().__init__(route)
        self._counts = counts
        if route.admit is not None:
            self.admit = self._admit

    def _count(self, method: str, status: int) -> None:
        key = (self.route.path, method if method in _METHODS else "unknown", status)
        self._counts[key] = self._counts.get(key, 0) + 1

    def misfit(self, head: RequestHead, limits: HttpLimits) -> Response | None:
        """See :meth:`Endpoint.misfit`."""
        return self._counted(head, super().misfit(head, limits))

    def _admit(self, head: RequestHead) -> Response | None:
        assert self.route.admit is not None
        return self._counted(head, self.route.admit(head))

    def _counted(self, head: RequestHead, refusal: Response | None) -> Response | None:
        if refusal is not None:
            self._count(head.method, refusal.status)
        return refusal

    def answer(self, head: RequestHead, body: bytes, wire: Wire) -> Pending:
        """See :meth:`Endpoint.answer`."""
        answer = super().answer(head, body, wire)
        if isinstance(answer, Response):
            self._count(head.method, answer.status)
        elif isinstance(answer, StreamingResponse):
            return StreamingResponse(partial(self._take, answer.take))
        else:
            answer.add_done_callback(partial(self._count_outcome, head.method))
        return answer

    def _take(
        self,
        take: Callable[[ResponseStream, RequestHead], None],
        stream: ResponseStream,
        head: RequestHead,
    ) -> None:
        stream.tell_status(partial(self._count, head.method))
        take(stream, head)

    def _count_outcome(self, method: str, done: asyncio.Future[Response]) -> None:
        if done.cancelled():
            self._count(method, CANCELLED.status)
        else:
            failed = done.exception() is not None
            self._count(method, FAILED.status if failed else done.result().status)

    def handshake(self, head: RequestHead, protocol: str | None = None) -> Response | Agreed:
        """See :meth:`Endpoint.handshake`."""
        answer = super().handshake(head, protocol)
        if isinstance(answer, Response):
            self._count(head.method, answer.status)
        else:
            self._count(head.method, 101 if protocol is None else 200)
        return answer


class Routes:
    """The rows of a table, and an ASGI app for what none of them has."""

    __slots__ = ("_paths", "app", "find")

    def __init__(
        self,
        rows: Iterable[Route] = (),
        *,
        app: Any = None,
        counts: RequestCounts | None = None,
    ) -> None:
        """Makes the table.

        Args:
            rows: the endpoints.
            app: the ASGI application for all other paths; None: 404.
            counts: filled with the requests of each row, if given.

        Raises:
            RouteClash: two rows have the same path; names what sets them.
        """
        self._paths: dict[str, Route] = {}
        for row in rows:
            other = self._paths.setdefault(row.path, row)
            if other is not row:
                raise RouteClash(
                    f"two endpoints share the path {row.path!r}: "
                    f"{other.option or 'one'} and {row.option or 'another'}; change one of them",
                    row.option,
                )
        table = PathTable(
            (path, Endpoint(row) if counts is None else CountedEndpoint(row, counts), row.subtree)
            for path, row in self._paths.items()
        )
        self.app: Any = app
        self.find: Callable[[str], Endpoint | CountedEndpoint | None] = table.find
        """Who serves a path; None: the ASGI app, if there is one."""

    @property
    def paths(self) -> frozenset[str]:
        """All paths with an endpoint of their own."""
        return frozenset(self._paths)
