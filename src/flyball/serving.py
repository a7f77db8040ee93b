"""Serving a node from a program of one's own, without an ASGI server."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from flyball.aio.tasks import do_all
from flyball.core.keywords import spell_out
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.routes import Routes
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.endpoints import EndpointOptions, refuse_text
from flyball.transports.sockjs.sessions import SockJsOptions
from flyball.transports.websocket.uni import UniWebSocketOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flyball.core.node import Node

__all__ = ["ServeOptions", "run", "serve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions(EndpointOptions):
    """Where and for whom a node is served."""

    host: str = "127.0.0.1"
    """Address to listen on; empty for all interfaces."""
    port: int = 8000
    """0 for any free port."""
    prefix: str = "/connection"
    """Where the endpoints are: ``/connection/websocket`` and so on."""
    ssl_context: ssl.SSLContext | None = None
    """With ``h2`` among its ALPN protocols clients get HTTP/2."""
    app: Any = None
    """An ASGI app for all other paths of the port."""


class ServeKeywords(TypedDict, total=False):
    """The fields of :class:`ServeOptions`."""

    origins: Iterable[str]
    transports: Iterable[str]
    websocket: WebSocketOptions
    uni_websocket: UniWebSocketOptions
    sockjs: SockJsOptions
    max_request_body_size: int
    limits: ConnectionLimits | None
    host: str
    port: int
    prefix: str
    ssl_context: ssl.SSLContext | None
    app: Any


def _options(options: ServeOptions | None, fields: ServeKeywords) -> ServeOptions:
    chosen: dict[str, Any] = dict(fields)
    for name in ("origins", "transports"):
        if name in chosen:
            refuse_text(name, chosen[name])
            chosen[name] = tuple(chosen[name])
    return replace(options or ServeOptions(), **chosen)


@spell_out(ServeOptions)
@asynccontextmanager
async def serve(
    node: Node, options: ServeOptions | None = None, **fields: Unpack[ServeKeywords]
) -> AsyncIterator[Listener]:
    """Starts ``node`` and serves it until the block ends::

        async with flyball.serve(node, port=0) as listener:
            print(listener.port)
            await asyncio.Event().wait()

    Fields of :class:`ServeOptions` may be given one by one, and win over ``options``.

    Raises:
        ConfigError: the node's engine cannot be used as configured.
        OSError: the port cannot be opened.
    """
    options = _options(options, fields)
    where = ListenerOptions(host=options.host, port=options.port, ssl_context=options.ssl_context)
    routes = Routes(options.routes(node, options.prefix), app=options.app)
    listener = Listener(where, routes, node.timers, held=node.held)
    await node.start()
    try:
        await listener.start()
        yield listener
    finally:
        listener.stop_accepting()
        await do_all((node.shutdown, listener.close))


@spell_out(ServeOptions)
def run(node: Node, options: ServeOptions | None = None, **fields: Unpack[ServeKeywords]) -> None:
    """Serves ``node`` until the process is told to stop (SIGINT, SIGTERM).

    Fields of :class:`ServeOptions` may be given one by one, and win over ``options``:
    ``flyball.run(node, port=8000, origins=("*",))``.
    """
    options = _options(options, fields)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with serve(node, options):
            await stop.wait()

    run_on_fast_loop(main())


def run_on_fast_loop(main: Any) -> Any:
    """Runs a coroutine on uvloop where there is one; returns its result."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
