"""Requests that are streams, served by an ASGI app."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from flyball.http.messages import plain_error
from flyball.http.timeouts import Deadline

if TYPE_CHECKING:
    from flyball.http.asgi_tools import Message, Scope
    from flyball.http.messages import RequestHead
    from flyball.http.multiplex.service import StreamService
    from flyball.http.multiplex.wire import StreamWire

logger: Final = logging.getLogger("flyball.transports")

MAX_UNREAD: Final = 65536
"""Bytes of a body that wait for the app before its sender has to."""


class ClientGone(OSError):
    """What ends an app that goes on answering a client that has left: nobody's fault."""


class AsgiRequest(asyncio.Protocol):
    """One request and the task of the app that answers it."""

    __slots__ = (
        "_chunks",
        "_deadline",
        "_ended",
        "_head",
        "_is_lost",
        "_is_read",
        "_may_write",
        "_news",
        "_service",
        "_size",
        "_start",
        "_started",
        "_wire",
    )

    def __init__(self, service: StreamService, wire: StreamWire, head: RequestHead) -> None:
        """Becomes the protocol of ``wire`` and calls the app."""
        self._service = service
        self._deadline = Deadline(service.timers, self._on_deadline)
        self._wire = wire
        self._head = head
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._is_lost = False
        self._is_read = False
        self._started = False
        self._start: Message = {}
        self._news = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        wire.set_protocol(self)
        self._limit_time()
        task = asyncio.ensure_future(self._run())
        task.set_name(f"asgi {head.method} {head.path}")
        service.tasks.add(task)
        task.add_done_callback(service.tasks.discard)

    # -- asyncio's protocol

    def data_received(self, data: bytes) -> None:
        """Bytes of the body."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size > MAX_UNREAD:
            self._wire.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        """The body is whole."""
        self._ended = True
        self._news.set()
        self._limit_time()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client took its request back, or the answer is out."""
        self._is_lost = True
        self._news.set()
        self._may_write.set()
        self._deadline.close()

    def pause_writing(self) -> None:
        """The client does not take everything."""
        self._may_write.clear()
        self._limit_time()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._may_write.set()
        self._limit_time()

    # -- time limits

    def _limit_time(self) -> None:
        """Sets how long the body, or the client, may let us wait."""
        limits = self._service.limits
        if self._is_lost:
            return
        if not self._may_write.is_set():
            self._deadline.set(limits.write_timeout)
        elif not self._ended:
            self._deadline.set(limits.request_timeout)
        else:
            self._deadline.clear()

    def _on_deadline(self) -> None:
        if not self._may_write.is_set():
            self._wire.abort()
        else:
            self._fail(408)

    # -- ASGI

    async def _run(self) -> None:
        try:
            await self._service.routes.app(self._scope(), self._receive, self._send)
        except asyncio.CancelledError:
            self._wire.abort()
            raise
        except ClientGone:
            return
        except Exception:
            logger.exception("the app failed on %s %s", self._head.method, self._head.path)
            self._fail()
            return
        if not self._is_lost and not self._wire.is_closing():
            logger.error("the app did not answer %s %s", self._head.method, self._head.path)
            self._fail()

    def _fail(self, status: int = 500) -> None:
        if self._started or self._wire.is_closing():
            self._wire.abort()
            return
        self._started = True
        answer = plain_error(status)
        fields = [*answer.fields(), *self._service.common.fields]
        body = b"" if self._head.method == "HEAD" else answer.body
        self._wire.answer(answer.status, fields, body)

    def _scope(self) -> Scope:
        head, wire = self._head, self._wire
        peer, own = wire.get_extra_info("peername"), wire.get_extra_info("sockname")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self._service.version,
            "method": head.method,
            "scheme": wire.get_extra_info("scheme", "https"),
            "path": unquote(head.path),
            "raw_path": head.path.encode("latin-1"),
            "query_string": head.query.encode("latin-1"),
            "root_path": "",
            "headers": [
                (n.encode("latin-1"), v.encode("latin-1")) for n, v in head.headers.items()
            ],
            "client": tuple(peer[:2]) if isinstance(peer, tuple) else None,
            "server": tuple(own[:2]) if isinstance(own, tuple) else None,
            "extensions": {},
        }

    async def _receive(self) -> Message:
        # Once the body was told to its end, all there is to hear of is the end of the client.
        while not self._is_lost and (self._is_read or not (self._chunks or self._ended)):
            self._news.clear()
            await self._news.wait()
        if self._is_lost:
            return {"type": "http.disconnect"}
        body = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._is_read = self._ended
        self._wire.resume_reading()
        return {"type": "http.request", "body": body, "more_body": not self._ended}

    async def _send(self, message: Message) -> None:
        kind: str = message["type"]
        if kind == "http.response.start":
            self._start = message
        elif kind == "http.response.body":
            await self._send_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._is_lost:
            raise ClientGone("the client is gone")
        if not self._started:
            self._started = True
            headers: Any = self._start.get("headers", ())
            fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in headers]
            self._wire.start(self._start["status"], [*fields, *self._service.common.fields])
        if self._head.method != "HEAD":
            self._wire.write(body)
        if not more:
            self._wire.close()
        else:
            await self._may_write.wait()
