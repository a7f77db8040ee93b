"""An HTTP request that is answered by a stream, whatever the version of HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from flyball.http.encoding import encode_head, encode_response

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from flyball.http.messages import RequestHead, Response

LAST_CHUNK = b"0\r\n\r\n"

AS_IT_COMES: Final = (
    ("Content-Encoding", "identity"),
    ("X-Accel-Buffering", "no"),
)
"""Headers of streams: whoever stands in front compresses nothing, as it would wait for more to
compress, and holds nothing back. ``Cache-Control: no-transform`` (RFC 9111) says the first by the
rules, but few ask it; all leave alone what has an encoding already, if only in name."""


class ResponseStream(ABC):
    """The answering side of one request.

    Either :meth:`answer` and then :meth:`release`, or :meth:`start`, bytes of the body to
    :attr:`wire`, :meth:`finish` and :meth:`release`. Whoever answers sets itself as the protocol
    of the wire and is told there when it is full, or gone.
    """

    __slots__ = ("_status_listeners", "chunked", "wire")

    min_write_timeout: ClassVar[float] = 0.0
    """Seconds within which the wire cannot tell a slow client from a stuck one."""
    wire: asyncio.Transport
    """Takes the bytes of the body."""
    chunked: bool
    """The body has to be framed as chunks (HTTP/1.1)."""
    _status_listeners: tuple[Callable[[int], None], ...]

    def __init__(self, wire: asyncio.Transport, *, chunked: bool = False) -> None:
        self.wire = wire
        self.chunked = chunked
        self._status_listeners = ()

    def tell_status(self, listener: Callable[[int], None]) -> None:
        """``listener`` is told the status of the answer."""
        self._status_listeners += (listener,)

    def start(self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """Sends the head of a streaming answer and the first bytes of its body."""
        for listener in self._status_listeners:
            listener(status)
        self._start(status, headers, body)

    def answer(self, response: Response) -> None:
        """Sends a whole answer."""
        for listener in self._status_listeners:
            listener(response.status)
        self._answer(response)

    @abstractmethod
    def _start(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """See :meth:`start`."""

    @abstractmethod
    def _answer(self, response: Response) -> None:
        """See :meth:`answer`."""

    @abstractmethod
    def finish(self) -> None:
        """The body is complete."""

    def disable_keep_alive(self) -> None:
        """The client sent more before its answer was complete, and that is lost.

        No later request could be told from the rest of it: the connection must end.
        """

    @abstractmethod
    def release(self) -> bool:
        """Gives the connection back after a complete answer.

        True if it goes on with the client's next request; the wire is somebody else's then.
        False: the wire is to be closed.
        """


class StreamingResponse(msgspec.Struct, frozen=True):
    """An answer that does not end: whoever gives it takes the connection."""

    take: Callable[[ResponseStream, RequestHead], None]
    """Called with the answering side and the request's head; answers by itself from then on."""


class Http1Stream(ResponseStream):
    """A stream that has the connection for itself."""

    __slots__ = ("_common", "_take_back")

    def __init__(
        self,
        wire: asyncio.Transport,
        head: RequestHead,
        take_back: Callable[[asyncio.Transport, bytes], None] | None,
        common: str = "",
    ) -> None:
        """Answers on a connection.

        Args:
            wire: the connection.
            head: the request's.
            take_back: takes the connection, and no unread bytes, for its next request.
            common: lines of headers that all answers have.
        """
        super().__init__(wire, chunked=head.http11)
        self._common = common
        # HTTP/1.0 knows no chunks: the end of the connection ends the body.
        self._take_back = take_back if head.keep_alive and head.http11 else None

    def _start(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        ending = f"Connection: {'close' if self._take_back is None else 'keep-alive'}\r\n"
        if self.chunked:
            ending += "Transfer-Encoding: chunked\r\n"
        self.wire.write(encode_head(status, headers, self._common + ending) + body)

    def _answer(self, response: Response) -> None:
        keep_alive = self._take_back is not None
        self.wire.write(encode_response(response, self._common, keep_alive=keep_alive))

    def finish(self) -> None:
        """See :meth:`ResponseStream.finish`."""
        if self.chunked:
            self.wire.write(LAST_CHUNK)

    def disable_keep_alive(self) -> None:
        """See :meth:`ResponseStream.disable_keep_alive`."""
        self._take_back = None

    def release(self) -> bool:
        """See :meth:`ResponseStream.release`."""
        take_back, self._take_back = self._take_back, None
        if take_back is None or self.wire.get_write_buffer_size():
            return False
        take_back(self.wire, b"")
        return True
