"""Streaming responses and ``/emulation`` through an ASGI server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final

from flyball.transports.asgi.tools import (
    address_of,
    headers_of,
    read_body,
)
from flyball.transports.http_fast import HttpResponse
from flyball.transports.outbox import OutboxTransport
from flyball.transports.streaming import endpoint as streaming
from flyball.transports.streaming.framing import StreamFraming, stream_framing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flyball.core.errors import Disconnect
    from flyball.core.node import Node
    from flyball.transports.asgi.tools import Receive, Scope, Send
    from flyball.transports.streaming.emulation import EmulationEndpoint
    from flyball.transports.streaming.endpoint import Admission, Kind, StreamEndpoint


class AsgiStreamTransport(OutboxTransport):
    """One streaming response."""

    __slots__ = ("_refusal", "refused")

    def __init__(
        self,
        node: Node,
        framing: StreamFraming,
        refusal: Callable[[Disconnect], HttpResponse] | None,
    ) -> None:
        super().__init__(node, framing)
        self._refusal = refusal
        self.refused: HttpResponse | None = None
        """The whole answer, if there is to be no stream."""
        if refusal is None and framing.opening:
            self._write(framing.opening)

    @property
    def disconnect_push(self) -> bool:  # type: ignore[override]
        """See :attr:`Transport.disconnect_push`; a refused connect may have an answer instead."""
        return self._refusal is None

    def _begin(self) -> None:
        if self._refusal is not None:
            self._refusal = None
            framing: StreamFraming = self.framing  # type: ignore[assignment]
            if framing.opening:
                self._outbox.insert(0, framing.opening)
        super()._begin()

    def _close(self, disconnect: Disconnect) -> None:
        if self._refusal is not None:
            self.refused = self._refusal(disconnect)
        super()._close(disconnect)


class _HttpStream(AsgiStreamTransport):
    __slots__ = ()
    name: ClassVar[str] = "http_stream"
    emulation: ClassVar[bool] = True


class _Sse(AsgiStreamTransport):
    __slots__ = ()
    name: ClassVar[str] = "sse"
    emulation: ClassVar[bool] = True


class _UniHttpStream(AsgiStreamTransport):
    __slots__ = ()
    name: ClassVar[str] = "uni_http_stream"


class _UniSse(AsgiStreamTransport):
    __slots__ = ()
    name: ClassVar[str] = "uni_sse"


_TRANSPORTS: Final[dict[Kind, type[AsgiStreamTransport]]] = {
    streaming.HTTP_STREAM: _HttpStream,
    streaming.SSE: _Sse,
    streaming.UNI_HTTP_STREAM: _UniHttpStream,
    streaming.UNI_SSE: _UniSse,
}


class AsgiStreamEndpoint:
    """A streaming endpoint as an ASGI app."""

    def __init__(self, endpoint: StreamEndpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        endpoint = self._endpoint
        headers = headers_of(scope)
        body = await read_body(receive, endpoint.options.max_request_body_size)
        if body is None:
            await answer(send, endpoint.too_large(headers))
            return
        query = scope.get("query_string", b"").decode("latin-1")
        decision = endpoint.check(scope["method"], query, headers, body)
        if isinstance(decision, HttpResponse):
            await answer(send, decision)
            return
        await self._stream(scope, receive, send, headers, decision)

    async def _stream(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: Mapping[str, str],
        admission: Admission,
    ) -> None:
        endpoint = self._endpoint
        framing = stream_framing(endpoint.kind.framing, admission.codec, chunked=False)
        refusal = endpoint.refusal(headers)
        transport = _TRANSPORTS[endpoint.kind](endpoint.node, framing, refusal)
        endpoint.begin(transport, admission, headers, address_of(scope))
        start = [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in endpoint.stream_headers(headers, admission)
        ]
        started = False

        async def write(frame: bytes) -> None:
            nonlocal started
            if not started:
                started = True
                await send({"type": "http.response.start", "status": 200, "headers": start})
            await send({"type": "http.response.body", "body": frame, "more_body": True})

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            transport.lost()

        watcher = asyncio.ensure_future(watch())
        try:
            await transport.run(write)
            if transport.refused is not None and not started:
                await answer(send, transport.refused)
            else:
                if not started:
                    await send({"type": "http.response.start", "status": 200, "headers": start})
                await send({"type": "http.response.body", "body": b""})
        except OSError:
            pass  # the server found out first that the client is gone
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


class AsgiEmulationEndpoint:
    """``/emulation`` as an ASGI app."""

    def __init__(self, endpoint: EmulationEndpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        endpoint = self._endpoint
        headers = headers_of(scope)
        body = await read_body(receive, endpoint.max_request_body_size)
        if body is None:
            await answer(send, endpoint.too_large(headers))
            return
        decision = endpoint.handle(scope["method"], scope["path"], "", headers, body)
        await answer(send, decision if isinstance(decision, HttpResponse) else await decision)


async def answer(send: Send, response: HttpResponse) -> None:
    """Sends a whole response."""
    fields = [(n.lower().encode(), v.encode("latin-1")) for n, v in response.headers]
    if response.status not in (204, 304):
        fields.append((b"content-length", b"%d" % len(response.body)))
    if response.content_type:
        fields.append((b"content-type", response.content_type.encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": fields})
    await send({"type": "http.response.body", "body": response.body})
