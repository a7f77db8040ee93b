"""A node on a real port, in a thread of its own: for tests with SDKs, browsers and sync code."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from flyball.core.keywords import spell_out
from flyball.serving import ServeKeywords, ServeOptions, serve

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from flyball.core.node import Node

__all__ = ["LiveServer"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for the start, the end and each call."""


class LiveServer:
    """Serves a node on a free port until the block ends; the test goes on meanwhile::

        def test_with_an_sdk():
            with LiveServer(node) as server:
                connect(server.url)
                node.threadsafe.publish("news", {"text": "hello"})

    The node runs in an event loop on a thread, so ``node.threadsafe`` works from the test and
    from everything that it calls, such as Django's test client. :meth:`run` carries out a coroutine
    in that loop.

    Args:
        node: with its handlers.
        fields: those of :class:`~flyball.ServeOptions`; ``port`` is any free one if not given.
    """

    @spell_out(ServeOptions)
    def __init__(self, node: Node, **fields: Unpack[ServeKeywords]) -> None:
        self.node: Node = node
        self.port: int = 0
        """The port in use, once started."""
        self._fields: ServeKeywords = {"port": 0, **fields}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Address of the WebSocket endpoint, for an SDK."""
        return f"ws://127.0.0.1:{self.port}{self._prefix}/websocket"

    @property
    def http_url(self) -> str:
        """Address below which the other endpoints are: ``/http_stream``, ``/sse``, ``/api``."""
        return f"http://127.0.0.1:{self.port}{self._prefix}"

    @property
    def _prefix(self) -> str:
        return self._fields.get("prefix", "/connection")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carries out ``work`` in the node's event loop and returns its result.

        Raises:
            RuntimeError: the server does not run.
        """
        if self._loop is None:
            work.close()
            raise RuntimeError("this LiveServer does not run: use it in a `with` block")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def start(self) -> None:
        """Starts node and port.

        Raises:
            Exception: what kept it from starting.
        """
        self._started.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._serve, name="flyball.testing.LiveServer")
        self._thread.start()
        self._started.wait(PATIENCE)
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Stops them, and waits for the end of the thread."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(PATIENCE)
        self._loop = self._stop = self._thread = None

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - raised by start
            self._failure = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        async with serve(self.node, **self._fields) as listener:
            self.port = listener.port
            self._loop = asyncio.get_running_loop()
            self._started.set()
            await self._stop.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
