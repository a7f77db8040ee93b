"""One stream of a multiplexed connection as an asyncio transport."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from flyball.http.streams import ResponseStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.http.messages import Response

Fields = list[tuple[bytes, bytes]]
"""Header fields with lower-case names, pseudo-headers first."""


class MultiplexedConnection(ABC):
    """A connection of many streams, as one of its streams sees it.

    Calls for streams that are over do nothing. What happens to a stream is told to its wire:
    :meth:`StreamWire.drained` and :meth:`StreamWire.gone`.
    """

    __slots__ = ("held",)

    streams: dict[int, StreamWire]
    """The requests under way, by the number of their streams."""
    held: int
    """Bytes of the bodies of strangers' requests that are not whole."""
    high: ClassVar[int]
    """Unsent bytes of a stream above which its writer should pause."""
    low: ClassVar[int]
    """Unsent bytes at which it may go on."""

    @abstractmethod
    def send_head(self, stream_id: int, fields: Fields, *, end: bool = False) -> None:
        """Sends the head of an answer; ``end``: it has no body."""

    @abstractmethod
    def send(self, stream_id: int, data: bytes) -> None:
        """Sends bytes of a body, as soon as the peer's flow control allows."""

    @abstractmethod
    def end(self, stream_id: int) -> None:
        """Ends our side of a stream after everything sent so far, and then the stream."""

    @abstractmethod
    def reset(self, stream_id: int) -> None:
        """Ends a stream at once; what is unsent is lost."""

    @abstractmethod
    def unsent(self, stream_id: int) -> int:
        """Bytes that wait for the peer."""

    @abstractmethod
    def consumed(self, stream_id: int, size: int) -> None:
        """Bytes that were received have been dealt with: the peer may send as many more."""

    @abstractmethod
    def info(self, name: str) -> Any:
        """See :meth:`asyncio.BaseTransport.get_extra_info`; ``scheme`` is ``http`` or ``https``."""

    @property
    @abstractmethod
    def is_busy(self) -> bool:
        """Requests are still being answered."""

    @abstractmethod
    def shutdown(self) -> None:
        """Takes no more requests and ends with the last one under way."""

    @abstractmethod
    def abort(self) -> None:
        """Ends at once."""


class StreamWire(asyncio.Transport):
    """A stream, to be written to and to be told of in asyncio's terms.

    The peer's end of its side is the protocol's ``eof_received``; its reset, or the end of the
    connection, is ``connection_lost``. :meth:`close` ends our side after what was written.
    """

    __slots__ = ("_connection", "_is_closing", "_is_full", "_is_gone", "_protocol", "_unread", "id")

    def __init__(
        self, connection: MultiplexedConnection, stream_id: int, protocol: asyncio.Protocol
    ) -> None:
        self._connection = connection
        self._protocol = protocol
        self._is_closing = False
        self._is_full = False
        self._is_gone = False
        self._unread: int | None = None  # bytes received and not acknowledged while paused
        self.id: int = stream_id

    # -- asyncio's transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See :meth:`asyncio.WriteTransport.write`."""
        if self._is_closing or not data:
            return
        self._connection.send(self.id, bytes(data))
        if not self._is_full and self._connection.unsent(self.id) > self._connection.high:
            self._is_full = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """Ends our side once everything is out; ``connection_lost`` follows."""
        if not self._is_closing:
            self._is_closing = True
            self._connection.end(self.id)

    def abort(self) -> None:
        """Ends the stream at once."""
        self._is_closing = True
        if not self._is_gone:
            self._connection.reset(self.id)
            asyncio.get_running_loop().call_soon(self.gone)

    def is_closing(self) -> bool:
        """Whether the stream is ended, or about to be."""
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the peer."""
        return 0 if self._is_gone else self._connection.unsent(self.id)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are the connection's."""

    def can_write_eof(self) -> bool:
        """Our side cannot end without the stream."""
        return False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See :meth:`asyncio.BaseTransport.set_protocol`."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See :meth:`asyncio.BaseTransport.get_protocol`."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See :meth:`asyncio.BaseTransport.get_extra_info`."""
        found = self._connection.info(name)
        return default if found is None else found

    def pause_reading(self) -> None:
        """The peer gets no more credit: it can send what it has, and then must wait."""
        if self._unread is None:
            self._unread = 0

    def resume_reading(self) -> None:
        """The peer may send on."""
        unread, self._unread = self._unread, None
        if unread and not self._is_gone:
            self._connection.consumed(self.id, unread)

    # -- for the connection

    def feed(self, data: bytes, credit: int) -> None:
        """Bytes came, for which the peer spent ``credit`` bytes of its window."""
        if not self._is_closing:
            self._protocol.data_received(data)
        if self._unread is None:
            if not self._is_gone:
                self._connection.consumed(self.id, credit)
        else:
            self._unread += credit

    def feed_eof(self) -> None:
        """The peer's side is complete."""
        if not self._is_closing and not self._protocol.eof_received():
            self.close()

    def drained(self) -> None:
        """Not more than ``low`` bytes are unsent."""
        if self._is_full and not self._is_gone:
            self._is_full = False
            self._protocol.resume_writing()

    def gone(self) -> None:
        """The stream is over."""
        if not self._is_gone:
            self._is_gone = self._is_closing = True
            self._protocol.connection_lost(None)

    # -- answers

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Sends the head of an answer, unless the stream is over."""
        if self._is_closing:
            return
        fields: Fields = [(b":status", b"%d" % status)]
        fields += [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers]
        self._connection.send_head(self.id, fields)

    def answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Sends a whole answer and closes."""
        self.start(status, headers)
        self.write(body)
        self.close()


class MultiplexedStream(ResponseStream):
    """The answering side of a request that is a stream."""

    __slots__ = ("_common", "_stream")

    def __init__(self, stream: StreamWire, common: tuple[tuple[str, str], ...] = ()) -> None:
        """``common``: headers that all answers have."""
        super().__init__(stream)
        self._stream = stream
        self._common = common

    def _start(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        self._stream.start(status, [*headers, *self._common])
        self._stream.write(body)

    def _answer(self, response: Response) -> None:
        fields = [*response.fields(), *self._common]
        self._stream.answer(response.status, fields, response.body)

    def finish(self) -> None:
        """See :meth:`ResponseStream.finish`: closing the wire says it."""

    def release(self) -> bool:
        """See :meth:`ResponseStream.release`: nothing goes on with a stream."""
        return False
