"""One GRPC stream as a transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final

from flyball.core.transport import Framing, Transport
from flyball.protocol.protobuf_codec import PROTOBUF, split_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from flyball.core.errors import Disconnect
    from flyball.core.node import Node

CLOSE_TIMEOUT: Final = 5.0
"""Seconds for which what was written may still be on its way when the stream is ended."""


class GrpcFraming(Framing):
    """One Push for each GRPC message: its bytes without a length."""

    unidirectional: ClassVar[bool] = True
    codec = PROTOBUF

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`; there are no frames of several messages here."""
        (message,) = split_frame(messages[0])
        return message


FRAMING: Final = GrpcFraming()


class UniGrpcTransport(Transport):
    """A stream of Push messages; :meth:`run` is what the call does until it ends.

    The first message that finds the stream idle goes to the caller's coroutine; what comes
    while that writes waits in the transport's own bounded queue.
    """

    __slots__ = ("_call", "_close_timer", "_node", "_outbox", "_wake")

    name: ClassVar[str] = "uni_grpc"
    ping_interval: ClassVar[float | None] = 25.0
    """Fixed, as the original has it (transports reference, section 7)."""
    disconnect_push: ClassVar[bool] = True

    def __init__(self, node: Node) -> None:
        super().__init__(FRAMING, max_queue_size=node.options.queue_max_size)
        self._node = node
        self._outbox: list[bytes] = []
        self._wake: asyncio.Future[None] | None = None
        self._call: asyncio.Task[None] | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Writes until the session is closed and everything is out.

        Raises:
            asyncio.CancelledError: the client went away, or did not take what it was sent.
        """
        self._call = asyncio.current_task()
        try:
            while True:
                outbox, self._outbox = self._outbox, []
                for message in outbox:
                    await write(message)
                if self._outbox:
                    continue
                if self._closed:
                    return
                self.resume()  # takes what waited meanwhile
                if not self._outbox and not self._closed:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
        finally:
            self._call = None
            if self._close_timer is not None:
                self._close_timer.cancel()
            session, self.session = self.session, None
            if session is not None:
                session.connection_lost()
            self.mark_closed()

    # -- output

    def send_message(self, message: bytes) -> None:
        """See :meth:`Transport.send_message`; each message is a frame of its own."""
        self.send(FRAMING.frame((message,)))

    def _write(self, data: bytes) -> None:
        self._outbox.append(data)
        self.pause()
        self._rouse()

    def _write_all(self, frames: list[bytes]) -> None:
        self._outbox += frames
        self.pause()
        self._rouse()

    def _rouse(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    def _close(self, disconnect: Disconnect) -> None:  # noqa: ARG002 - a push has told it
        self._rouse()
        call = self._call
        if call is not None:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(CLOSE_TIMEOUT, call.cancel)
