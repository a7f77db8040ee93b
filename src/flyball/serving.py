"""Serving a node from a program of one's own, without an ASGI server."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import ssl
import sys
import threading
from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from flyball._version import __version__
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

logger: Final = logging.getLogger("flyball.serving")


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
    api_key: str
    asyncapi: bool
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


class _PortError(OSError):
    """The port cannot be opened; the message says which, why, and what to do."""


_ADVICE: Final = {
    errno.EADDRINUSE: "another program has it: stop that one, or choose another port (port=0: any)",
    errno.EACCES: "ports below 1024 need a privilege: choose a higher one",
    errno.EADDRNOTAVAIL: "this machine has no such address: host is one of its own, or '' for all",
}


def _port_error(options: ServeOptions, error: OSError) -> _PortError:
    # An address of another machine has lost its number by Python 3.12.
    number = error.errno or (errno.EADDRNOTAVAIL if "could not bind" in str(error) else 0)
    reason = os.strerror(number).lower() if number in _ADVICE else error.strerror or str(error)
    advice = f"; {_ADVICE[number]}" if number in _ADVICE else ""
    return _PortError(
        number, f"cannot listen on {_address(options, options.port)}: {reason}{advice}"
    )


def _address(options: ServeOptions, port: int) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host or "*"
    return f"{host}:{port}"


def _announcement(options: ServeOptions, port: int) -> str:
    """What is served where, for who reads the terminal."""
    tls = "s" if options.ssl_context else ""
    address = _address(options, port).replace("*", "localhost")
    lines = [f"Flyball {__version__} serves on http{tls}://{address}"]
    for name in options.transports:
        scheme = "ws" if name.endswith("websocket") else "http"
        lines.append(f"  {name:15} {scheme}{tls}://{address}{options.prefix}/{name}")
    pages = ", ".join(options.origins) or 'none may connect; origins=["https://..."] lets some in'
    lines.append(f"  {'web pages':15} {pages}")
    return "\n".join(lines)


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
        ConfigError: the node has no ``on_connecting`` handler, or its engine cannot be used as
            configured.
        OSError: the port cannot be opened.
    """
    options = _options(options, fields)
    where = ListenerOptions(host=options.host, port=options.port, ssl_context=options.ssl_context)
    routes = Routes(options.routes(node, options.prefix), app=options.app)
    listener = Listener(where, routes, node.timers, held=node.held)
    await node.start()
    try:
        try:
            await listener.start()
        except OSError as error:
            raise _port_error(options, error) from error
        logger.info("serving on %s", _address(options, listener.port))
        yield listener
    finally:
        listener.stop_accepting()
        await do_all((node.shutdown, listener.close))


@spell_out(ServeOptions)
def run(node: Node, options: ServeOptions | None = None, **fields: Unpack[ServeKeywords]) -> None:
    """Serves ``node`` until the process is told to stop (SIGINT, SIGTERM).

    Fields of :class:`ServeOptions` may be given one by one, and win over ``options``:
    ``flyball.run(node, port=8000, origins=["https://example.com"])``. What is served where is
    told to the log (``flyball.serving``, level info), or to the terminal if nothing is set up
    that would show it.

    Raises:
        RuntimeError: it is called in a thread or in a running event loop; :func:`serve` is for
            these.
        ConfigError: as :func:`serve` says.
        SystemExit: the port cannot be opened.
    """
    options = _options(options, fields)
    _refuse_other_places()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with serve(node, options) as listener:
            _tell(_announcement(options, listener.port))
            await stop.wait()

    try:
        run_on_fast_loop(main())
    except _PortError as error:
        raise SystemExit(f"flyball: {error.strerror}") from None


def _refuse_other_places() -> None:
    advice = "use `async with flyball.serve(node, ...)` there"
    if threading.current_thread() is not threading.main_thread():
        message = f"flyball.run waits for signals, which come to the main thread only: {advice}"
        raise RuntimeError(message)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    message = f"flyball.run makes an event loop of its own, and one is running here: {advice}"
    raise RuntimeError(message)


def _tell(text: str) -> None:
    if logger.isEnabledFor(logging.INFO) and logger.hasHandlers():
        logger.info("%s", text)
    else:
        sys.stderr.write(f"{text}\n")


def run_on_fast_loop(main: Any) -> Any:
    """Runs a coroutine on uvloop where there is one; returns its result."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
