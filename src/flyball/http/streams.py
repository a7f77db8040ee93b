"""An HTTP request that is answered by a stream, whatever the version of HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from flyball.http.head import status_line

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from flyball.http.head import RequestHead
    from flyball.http.http1 import HttpResponse

LAST_CHUNK = b"0\r\n\r\n"


class Exchange(ABC):
    """The answering side of one request.

    Either :meth:`answer` and then :meth:`leave`, or :meth:`start`, bytes of the body to
    :attr:`wire`, :meth:`finish` and :meth:`leave`. Whoever answers sets itself as the protocol
    of the wire and is told there when it is full, or gone.
    """

    __slots__ = ("chunked", "wire")

    patience: ClassVar[float] = 0.0
    """Seconds within which the wire cannot tell a slow client from a stuck one."""
    wire: asyncio.Transport
    """Takes the bytes of the body."""
    chunked: bool
    """The body has to be framed as chunks (HTTP/1.1)."""

    @abstractmethod
    def start(self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """Sends the head of a streaming answer and the first bytes of its body."""

    @abstractmethod
    def answer(self, response: HttpResponse) -> None:
        """Sends a whole answer."""

    @abstractmethod
    def finish(self) -> None:
        """The body is complete."""

    def spoil(self) -> None:
        """The client sent more before its answer was complete, and that is lost.

        No later request could be told from the rest of it: the connection must end.
        """

    @abstractmethod
    def leave(self) -> bool:
        """Gives the connection back after a complete answer.

        True if it goes on with the client's next request; the wire is somebody else's then.
        False: the wire is to be closed.
        """


class Http1Exchange(Exchange):
    """An exchange that has the connection for itself."""

    __slots__ = ("_common", "_give_back")

    def __init__(
        self,
        wire: asyncio.Transport,
        head: RequestHead,
        give_back: Callable[[asyncio.Transport, bytes], None] | None,
        common: str = "",
    ) -> None:
        """Answers on a connection.

        Args:
            wire: the connection.
            head: the request's.
            give_back: takes the connection, and no unread bytes, for its next request.
            common: lines of headers that all answers have.
        """
        self.wire = wire
        self._common = common
        self.chunked = head.http11
        # HTTP/1.0 knows no chunks: the end of the connection ends the body.
        self._give_back = give_back if head.keep_alive and head.http11 else None

    def start(self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """See :meth:`Exchange.start`."""
        if self.chunked:
            ending = "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"
        else:
            ending = "Connection: close\r\n"
        self.wire.write(_head(status, headers, self._common + ending) + body)

    def answer(self, response: HttpResponse) -> None:
        """See :meth:`Exchange.answer`."""
        closing = "Connection: close\r\n" if self._give_back is None else ""
        head = _head(response.status, response.fields(), self._common + closing)
        self.wire.write(head + response.body)

    def finish(self) -> None:
        """See :meth:`Exchange.finish`."""
        if self.chunked:
            self.wire.write(LAST_CHUNK)

    def spoil(self) -> None:
        """See :meth:`Exchange.spoil`."""
        self._give_back = None

    def leave(self) -> bool:
        """See :meth:`Exchange.leave`."""
        give_back, self._give_back = self._give_back, None
        if give_back is None or self.wire.get_write_buffer_size():
            return False
        give_back(self.wire, b"")
        return True


def _head(status: int, headers: Iterable[tuple[str, str]], ending: str) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"{status_line(status)}{lines}{ending}\r\n".encode("latin-1")
