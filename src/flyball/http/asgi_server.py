"""The standard ASGI server's HTTP protocol (uvicorn's), as one guest on our port.

All that uses names of uvicorn which are not its public ones is here; the library is bounded in
pyproject.toml to the versions that have them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from flyball.http.encoding import encode_response
from flyball.http.head import BadRequestHead, check_head
from flyball.http.http1 import close_gently
from flyball.http.messages import plain_error
from flyball.http.timeouts import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.timers import TimerWheel
    from flyball.http.common_headers import CommonHeaders
    from flyball.http.messages import HttpLimits


class AsgiServer:
    """Makes protocols that run one ASGI app. The app's lifespan is not called."""

    def __init__(
        self,
        app: Any,
        limits: HttpLimits,
        timers: TimerWheel,
        common: CommonHeaders,
        *,
        has_row: Callable[[bytes], bool],
        take_back: Callable[[asyncio.Transport, bytes], None],
    ) -> None:
        """Serves ``app``.

        Args:
            app: the ASGI application.
            limits: head size and timeouts.
            timers: for the time limits of requests.
            common: headers that all answers have.
            has_row: told the target of a later request on a kept connection; says whether
                the route table has it.
            take_back: takes such a connection and its unread bytes.
        """
        self.limits = limits
        self.timers = timers
        self.common = common
        self.has_row = has_row
        self.take_back = take_back
        self.config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(limits.keep_alive_timeout),
        )
        self.config.load()
        self.state = ServerState()

    def protocol(self) -> AsgiProtocol:
        """A protocol for one connection."""
        return AsgiProtocol(self)

    def shutdown(self) -> None:
        """Ends idle connections at once, others after their current response."""
        for connection in list(self.state.connections):
            connection.shutdown()

    @property
    def is_busy(self) -> bool:
        """Requests are still being served."""
        return bool(self.state.tasks)

    def abort(self) -> None:
        """Cancels what is still being served and drops its connections."""
        for task in list(self.state.tasks):
            task.cancel()
        for connection in list(self.state.connections):
            if connection.transport is not None:
                connection.transport.abort()


class AsgiProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits for request heads, which uvicorn itself has not."""

    def __init__(self, server: AsgiServer) -> None:
        super().__init__(server.config, server.state, {}, asyncio.get_running_loop())
        self._server = server
        self._head_size = 0
        self._head_count = 0
        self._deadline = Deadline(server.timers, self._on_deadline)
        self._in_body = False
        self._is_awaited = False
        self._is_blocked = False
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection; the head of its first request is on the way."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._deadline.close()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take everything."""
        super().pause_writing()
        self._is_blocked = True
        self._limit_time()

    def resume_writing(self) -> None:
        """The client took enough."""
        super().resume_writing()
        self._is_blocked = False
        self._limit_time()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._is_refused:
            return
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and not cycle.more_body:
            # Between two requests (a proxy in front of us keeps its connections).
            parts = data[:8192].split(b" ", 2)
            if len(parts) == 3 and self._head_size == 0 and self._server.has_row(parts[1]):
                self._leave(data)
                return
        if self._head_size == 0:
            self._server.state.default_headers = [
                (name.lower().encode(), value.encode())
                for name, value in self._server.common.fields
            ]
        super().data_received(data)

    def _leave(self, data: bytes) -> None:
        if self._is_blocked:
            # More requests, and no answer taken: the next owner would not know of a full wire.
            self.transport.abort()
            return
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self._deadline.close()
        self.parser = None  # type: ignore[assignment]  # as uvicorn does at the end
        self._server.take_back(self.transport, data)

    def _await_head(self) -> None:
        self._head_size = 0
        self._head_count = 0
        self._is_awaited = True
        self._limit_time()

    # -- httptools' callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._await_head()

    def on_url(self, url: bytes) -> None:
        """Part of the request's target."""
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._head_count += 1
        self._grow(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole; the body has its own time limit."""
        self._head_size = 0
        self._in_body = True
        self._limit_time()
        self._check_head()
        if not self._is_refused:
            super().on_headers_complete()

    def _check_head(self) -> None:
        """The same strictness as for requests that the table serves."""
        headers: dict[str, str] = {}
        for raw, value in self.headers:
            name, text = raw.decode("latin-1"), value.decode("latin-1")
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
        try:
            check_head(headers, self.parser.get_http_version())
        except BadRequestHead as error:
            self._refuse(error.status)

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: only for a client that does not read is there a limit yet."""
        self._in_body = self._is_awaited = False
        self._limit_time()
        if not self._is_refused:
            super().on_message_complete()

    def _grow(self, size: int) -> None:
        self._head_size += size
        limits = self._server.limits
        if self._head_size > limits.max_head_size or self._head_count > limits.max_headers:
            self._refuse(431)

    def _refuse(self, status: int) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self.transport.write(
            encode_response(plain_error(status, close=True), self._server.common.lines)
        )
        close_gently(self.transport)
        self._limit_time()

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade to anything but what the listener serves: an ordinary request."""

    def _limit_time(self) -> None:
        """Sets how long the client may let us wait for what comes next."""
        limits, deadline = self._server.limits, self._deadline
        if self._is_blocked or self._is_refused:
            deadline.set(limits.write_timeout)
        elif self._in_body:
            deadline.set(limits.request_timeout)
        elif self._is_awaited:
            deadline.set(limits.head_timeout)
        else:
            deadline.clear()

    def _on_deadline(self) -> None:
        self.transport.abort()
