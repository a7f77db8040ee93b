"""Routes of a site through an ASGI server: whole answers, and streams by way of an exchange."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from flyball.http.asgi_tools import headers_of, local_path, read_body
from flyball.http.head import RequestHead
from flyball.http.http1 import HttpLimits, HttpResponse, Takeover
from flyball.http.streams import Exchange
from flyball.transports.common.outbox import WRITE_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.http.asgi_tools import Message, Receive, Scope, Send
    from flyball.http.http1 import HttpRoute


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

    def __init__(self, peer: tuple[str, int] | None) -> None:
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
        """The peer's address, by the name ``peername``."""
        return self._peer if name == "peername" else default

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

    # -- for the exchange

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


class AsgiExchange(Exchange):
    """One request of an ASGI server."""

    __slots__ = ("_asgi",)

    patience: ClassVar[float] = WRITE_TIMEOUT

    def __init__(self, wire: AsgiWire) -> None:
        self.wire = self._asgi = wire
        self.chunked = False

    def start(self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """See :meth:`Exchange.start`."""
        fields = [(n.lower().encode(), v.encode("latin-1")) for n, v in headers]
        self._asgi.push({"type": "http.response.start", "status": status, "headers": fields}, 0)
        if body:
            self._asgi.write(body)

    def answer(self, response: HttpResponse) -> None:
        """See :meth:`Exchange.answer`."""
        self.start(response.status, response.fields())
        event: Message = {"type": "http.response.body", "body": response.body}
        self._asgi.push(event, len(response.body))

    def finish(self) -> None:
        """See :meth:`Exchange.finish`."""
        self._asgi.push({"type": "http.response.body", "body": b""}, 0)

    def leave(self) -> bool:
        """See :meth:`Exchange.leave`; the server goes on."""
        self._asgi.set_protocol(asyncio.Protocol())
        self._asgi.close()
        return True


async def serve(route: HttpRoute, scope: Scope, receive: Receive, send: Send) -> None:
    """Serves one request by a route that does not answer later."""
    headers = headers_of(scope)
    body = await read_body(receive, route.max_body_size or HttpLimits().max_body_size)
    if body is None:
        too_large = route.too_large
        await answer(send, too_large(headers) if too_large else HttpResponse(status=413))
        return
    head = RequestHead()
    head.method, head.path = scope["method"], local_path(scope)
    head.query = scope.get("query_string", b"").decode("latin-1")
    head.headers, head.content_length = headers, len(body)
    head.http11 = head.keep_alive = True
    found = route.handler(head.method, head.path, head.query, headers, body)
    if isinstance(found, HttpResponse):
        await answer(send, found)
    elif isinstance(found, Takeover):
        await _stream(found, head, scope, receive, send)
    else:
        await answer(send, await found)


async def _stream(
    takeover: Takeover, head: RequestHead, scope: Scope, receive: Receive, send: Send
) -> None:
    client = scope.get("client")
    wire = AsgiWire((client[0], client[1]) if client else None)
    takeover.take(AsgiExchange(wire), head)

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


async def answer(send: Send, response: HttpResponse) -> None:
    """Sends a whole response."""
    fields = [(n.lower().encode(), v.encode("latin-1")) for n, v in response.fields()]
    await send({"type": "http.response.start", "status": response.status, "headers": fields})
    await send({"type": "http.response.body", "body": response.body})
