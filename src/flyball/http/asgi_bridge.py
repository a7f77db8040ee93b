"""The route table through somebody else's ASGI server: whole answers, and streams."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flyball.http.asgi_tools import headers_of, local_path
from flyball.http.messages import NOT_FOUND, HttpLimits, RequestHead, Response, plain_error
from flyball.http.routes import outcome
from flyball.http.streams import ResponseStream, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.aio.held import HeldBytes
    from flyball.http.asgi_tools import Message, Receive, Scope, Send
    from flyball.http.routes import Routes

LIMITS: Final = HttpLimits()
WRITE_TIMEOUT: Final = 10.0
"""Seconds for which a server may take nothing: it has buffers of its own that we cannot see."""


class AsgiPeer:
    """Whom a request of an ASGI server is from."""

    __slots__ = ("_client",)

    def __init__(self, scope: Scope) -> None:
        self._client = scope.get("client")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The peer's address, by the name ``peername``."""
        return tuple(self._client) if name == "peername" and self._client else default


class AsgiWire(asyncio.Transport):
    """What answers write to, over ASGI's ``send``.

    Counts as full from a write until the server has taken it.
    """

    __slots__ = (
        "_is_ended",
        "_is_full",
        "_outbox",
        "_peer",
        "_protocol",
        "_runner",
        "_size",
        "_wake",
    )

    def __init__(self, peer: AsgiPeer) -> None:
        self._peer = peer
        self._protocol: asyncio.Protocol | None = None
        self._outbox: list[Message] = []
        self._size = 0
        self._is_full = False
        self._is_ended = False
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[object] | None = None

    # -- as asyncio's transports

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who is told what becomes of the wire."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Any byte is over the limit."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See :meth:`AsgiPeer.get_extra_info`."""
        return self._peer.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Bytes that the server has not taken."""
        return self._size

    def is_closing(self) -> bool:
        """Whether the answer is complete, or nobody is there for it."""
        return self._is_ended

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Part of the body."""
        self.push({"type": "http.response.body", "body": data, "more_body": True}, len(data))

    def close(self) -> None:
        """Ends the request after everything written so far."""
        self._is_ended = True
        self._wake.set()

    def abort(self) -> None:
        """Ends the request now."""
        self._is_ended = True
        self._outbox.clear()
        if self._runner is not None:
            self._runner.cancel()

    # -- for the stream

    def push(self, event: Message, size: int) -> None:
        """An event for the server."""
        if self._is_ended:
            return
        self._outbox.append(event)
        self._size += size
        self._wake.set()
        if size and not self._is_full:
            self._is_full = True
            if self._protocol is not None:
                self._protocol.pause_writing()

    async def run(self, send: Send) -> None:
        """Gives events to the server until the end."""
        self._runner = asyncio.current_task()
        try:
            while True:
                outbox, self._outbox = self._outbox, []
                for event in outbox:
                    await send(event)
                if self._outbox:
                    continue
                self._size = 0
                self._wake.clear()
                if self._is_full:
                    self._is_full = False
                    if self._protocol is not None:
                        self._protocol.resume_writing()
                if not self._outbox and not self._is_ended:
                    await self._wake.wait()
                elif not self._outbox:
                    return
        except OSError:
            pass  # the server found out first that the client is gone
        finally:
            self._runner = None
            self._is_ended = True
            if self._protocol is not None:
                self._protocol.connection_lost(None)


class AsgiStream(ResponseStream):
    """One request of an ASGI server."""

    __slots__ = ("_asgi",)

    min_write_timeout: ClassVar[float] = WRITE_TIMEOUT

    def __init__(self, wire: AsgiWire) -> None:
        super().__init__(wire)
        self._asgi = wire

    def _start(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        fields = [(n.lower().encode(), v.encode("latin-1")) for n, v in headers]
        self._asgi.push({"type": "http.response.start", "status": status, "headers": fields}, 0)
        if body:
            self._asgi.write(body)

    def _answer(self, response: Response) -> None:
        self._start(response.status, response.fields(), b"")
        event: Message = {"type": "http.response.body", "body": response.body}
        self._asgi.push(event, len(response.body))

    def finish(self) -> None:
        """See :meth:`ResponseStream.finish`."""
        self._asgi.push({"type": "http.response.body", "body": b""}, 0)

    def release(self) -> bool:
        """See :meth:`ResponseStream.release`; the server goes on."""
        self._asgi.set_protocol(asyncio.Protocol())
        self._asgi.close()
        return True


async def serve(
    routes: Routes,
    scope: Scope,
    receive: Receive,
    send: Send,
    limits: HttpLimits = LIMITS,
    held: HeldBytes | None = None,
) -> None:
    """Serves one HTTP request by the route table; whatever matches no row of it gets 404.

    Paths are those below the place where the ASGI app is mounted. Handshakes of rows with an
    ``upgrade`` come to an ASGI app in another way: here such rows are not found. ``held``: what
    strangers may fill together.
    """
    head = _head_of(scope)
    endpoint = routes.find(head.path)
    if endpoint is None or endpoint.upgrade is not None:
        await answer(send, head, NOT_FOUND)
        return
    refusal = endpoint.refuse(head, limits)
    if refusal is not None:
        await answer(send, head, refusal)
        return
    reader = BodyReader(receive, None if endpoint.is_admitted else held)
    body = await reader.read(endpoint.body_limit(limits))
    if body is None:
        return
    if body is Unread.TOO_LONG:
        await answer(send, head, endpoint.too_large(head))
        return
    if body is Unread.NO_ROOM:
        await answer(send, head, plain_error(503, close=True))
        return
    found = endpoint.answer(head, body, AsgiPeer(scope))
    if isinstance(found, Response):
        await answer(send, head, found)
    elif isinstance(found, StreamingResponse):
        await _stream(found, head, scope, receive, send)
    else:
        try:
            await asyncio.wait((found,))
        finally:
            found.cancel()  # nothing, unless the server has given this request up
        await answer(send, head, outcome(head, found))


def _head_of(scope: Scope) -> RequestHead:
    headers = headers_of(scope)
    length = headers.get("content-length", "")
    return RequestHead(
        scope["method"],
        local_path(scope),
        scope.get("query_string", b"").decode("latin-1"),
        headers,
        content_length=int(length) if length.isascii() and length.isdecimal() else 0,
    )


class Unread(Enum):
    """Why a body was not read to its end."""

    TOO_LONG = "longer than it may be"
    NO_ROOM = "strangers hold too much already"


class BodyReader:
    """Collects the body of one request."""

    __slots__ = ("_given_up", "_held", "_parts", "_receive", "_task")

    def __init__(self, receive: Receive, held: HeldBytes | None) -> None:
        """``held``: the room that the body fills; None: its sender is no stranger."""
        self._receive = receive
        self._held = held
        self._parts: list[bytes] = []
        self._given_up = False
        self._task = asyncio.current_task()

    def give_up(self) -> None:
        """See :meth:`Holder.give_up <flyball.aio.held.Holder.give_up>`."""
        self._given_up = True
        self._parts.clear()
        if self._task is not None:
            self._task.cancel()

    async def read(self, limit: int) -> bytes | Unread | None:
        """The body, of ``limit`` bytes at most; None if its sender went away."""
        try:
            return await self._read(limit)
        except asyncio.CancelledError:
            if not self._given_up or self._task is None or self._task.uncancel():
                raise
            return Unread.NO_ROOM
        finally:
            if self._held is not None:
                self._held.free(self)

    async def _read(self, limit: int) -> bytes | Unread | None:
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > limit:
                return Unread.TOO_LONG
            self._parts.append(part)
            if not message.get("more_body", False):
                return b"".join(self._parts)
            if self._held is not None:
                self._held.hold(self, size)


async def _stream(
    streaming: StreamingResponse, head: RequestHead, scope: Scope, receive: Receive, send: Send
) -> None:
    wire = AsgiWire(AsgiPeer(scope))
    streaming.take(AsgiStream(wire), head)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        wire.abort()

    watcher = asyncio.ensure_future(watch())
    # A task of its own: to abort it must not look as if the server had cancelled us.
    runner = asyncio.ensure_future(wire.run(send))
    try:
        await asyncio.wait((runner,))
    finally:
        for task in (watcher, runner):
            task.cancel()
        await asyncio.gather(watcher, runner, return_exceptions=True)


async def answer(send: Send, head: RequestHead, response: Response) -> None:
    """Sends a whole response."""
    fields = [(n.lower().encode(), v.encode("latin-1")) for n, v in response.fields()]
    await send({"type": "http.response.start", "status": response.status, "headers": fields})
    body = b"" if head.method == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body})
