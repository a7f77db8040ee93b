"""Publishing straight into the store that nodes share, with neither a node nor a server in between."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flyball.core.engine import Engine
from flyball.core.errors import ConfigError, EngineError, Error, WrongLoopError
from flyball.core.types import Payload, PublishOptions, PublishResult, to_payload
from flyball.protocol import codes
from flyball.publisher.common import PublishFailed, without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from flyball.core.broker import Broker
    from flyball.core.keywords import PublishKeywords

__all__ = ["AsyncEngineWay", "EngineWay", "Store", "find_store"]

T = TypeVar("T")
REDIS: Final = (
    *("redis", "rediss", "tcp", "unix"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)
NATS: Final = ("nats", "tls")
"""What URLs of stores begin with."""
AT_ONCE: Final = 1000
"""Publications of a broadcast that are under way together."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where to publish."""

    name: str
    """For messages."""
    engine: Callable[[], Engine]
    """Makes what reaches it."""


def find_store(where: str | Engine, key: str) -> Store | None:
    """The store that is meant; None if it is an API.

    Raises:
        ConfigError: there is a key, which stores have no use for.
    """
    scheme = where.partition("://")[0] if isinstance(where, str) else ""
    if isinstance(where, str) and scheme not in (*REDIS, *NATS):
        return None
    if key:
        raise ConfigError("key is for HTTP: what a store asks for is in its URL, or its engine")
    if isinstance(where, Engine):
        return Store(type(where).__name__, lambda: where)
    make = _redis if scheme in REDIS else _nats
    return Store(without_password(where), lambda: make(where))


def _redis(url: str) -> Engine:
    try:
        from flyball.engines.redis import RedisEngine
    except ImportError as error:
        message = f'publishing into Redis needs an extra: pip install "flyball[redis]" ({error})'
        raise ConfigError(message) from None
    return RedisEngine(url)


def _nats(url: str) -> Engine:
    from flyball.engines.nats import NatsEngine

    return NatsEngine(url)


def _broker_of(engine: Engine) -> Broker:
    if engine.broker is None:
        raise ConfigError("the engine has no broker: what it publishes would reach nobody")
    return engine.broker


class AsyncEngineWay:
    """Publishes by an engine. It connects at the first publish; a lost link comes back by itself.

    Raises:
        ConfigError: there can be no such engine.
    """

    def __init__(self, store: Store, timeout: float) -> None:
        self._name = store.name
        self._broker = _broker_of(store.engine())
        self._timeout = timeout
        self._opening: asyncio.Task[None] | None = None

    async def publish(self, channel: str, data: Payload, fields: PublishKeywords) -> PublishResult:
        """See :meth:`AsyncWay.publish`."""
        (result,) = await self.broadcast([channel], data, fields)
        return result

    async def broadcast(
        self, channels: list[str], data: Payload, fields: PublishKeywords
    ) -> list[PublishResult]:
        """See :meth:`AsyncWay.broadcast`."""
        if not channels or not all(channels):
            raise Error(codes.BAD_REQUEST, detail="publish needs a channel")
        payload, options = to_payload(data), PublishOptions(**fields)
        results: list[PublishResult] = []
        try:
            async with asyncio.timeout(self._timeout):
                await self._opened()
                for start in range(0, len(channels), AT_ONCE):
                    some = channels[start : start + AT_ONCE]
                    results += await _all(self._broker.publish(c, payload, options) for c in some)
        except TimeoutError:
            message = f"{self._name} did not answer within {self._timeout:g} s"
            raise PublishFailed(message) from None
        except EngineError as error:
            raise PublishFailed(f"{self._name}: {error.detail}") from error
        return results

    async def _opened(self) -> None:
        """Connects, if that is still to be done; who asks meanwhile waits for the same."""
        loop = asyncio.get_running_loop()
        if self._opening is not None and self._opening.get_loop() is not loop:
            await self._leave(self._opening.get_loop())
        if self._opening is None:
            self._opening = loop.create_task(
                self._broker.open_to_publish(), name="flyball publisher"
            )
        opening = self._opening
        try:
            await asyncio.shield(opening)
        except ConfigError as error:
            if self._opening is opening:
                self._opening = None
            raise PublishFailed(str(error)) from error

    async def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            message = "a publisher belongs to the event loop that used it first: make another one"
            raise WrongLoopError(message)
        self._opening = None
        await self._broker.close()

    async def close(self) -> None:
        """See :meth:`AsyncWay.close`."""
        opening, self._opening = self._opening, None
        if opening is None:
            return  # and the broker may be another's
        if not opening.get_loop().is_closed():
            opening.cancel()
            (failure,) = await asyncio.gather(opening, return_exceptions=True)
            if isinstance(failure, ConfigError):
                return
        await self._broker.close()


async def _all(work: Iterable[Coroutine[Any, Any, PublishResult]]) -> list[PublishResult]:
    """All results; the first failure is raised once nothing is under way any more."""
    found = await asyncio.gather(*work, return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return [result for result in found if not isinstance(result, BaseException)]


class _LoopThread(threading.Thread):
    """An event loop for one way, and the thread that runs it until :meth:`end`."""

    def __init__(self, way: AsyncEngineWay) -> None:
        super().__init__(name="flyball publisher", daemon=True)
        self._way = way
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self._begun = threading.Event()
        self.start()
        self._begun.wait()

    def run(self) -> None:
        """See :class:`threading.Thread`."""
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        await self._over.wait()
        await self._way.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Does it there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def end(self) -> None:
        """Ends the loop, and what is under way there."""
        self._loop.call_soon_threadsafe(self._over.set)
        self.join()


class EngineWay:
    """The same in plain functions: an event loop on a thread of its own does the work.

    A process that is forked makes another one: threads and connections are not inherited.

    Raises:
        ConfigError: there can be no such engine.
    """

    def __init__(self, store: Store, timeout: float) -> None:
        self._store = store
        self._timeout = timeout
        self._inherited: list[object] = []
        self._begin_anew()
        _ALIVE.add(self)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._way = AsyncEngineWay(self._store, self._timeout)
        self._thread: _LoopThread | None = None
        self._at_exit: weakref.finalize[..., EngineWay] | None = None

    def publish(self, channel: str, data: Payload, fields: PublishKeywords) -> PublishResult:
        """See :meth:`Way.publish`."""
        return self._call(self._way.publish(channel, data, fields))

    def broadcast(
        self, channels: list[str], data: Payload, fields: PublishKeywords
    ) -> list[PublishResult]:
        """See :meth:`Way.broadcast`."""
        return self._call(self._way.broadcast(channels, data, fields))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._thread is None:
                self._thread = _LoopThread(self._way)
                self._at_exit = weakref.finalize(self, self._thread.end)
            future = self._thread.begin(work)
        try:
            return future.result()
        except CancelledError:
            raise PublishFailed("the publisher was closed meanwhile") from None
        finally:
            future.cancel()  # where Ctrl-C ends the wait

    def close(self) -> None:
        """See :meth:`Way.close`."""
        with self._lock:
            self._thread = None
            at_exit, self._at_exit = self._at_exit, None
            if at_exit is not None:
                at_exit()

    def forked(self) -> None:
        """This process is another one now. The old one's sockets and its selector are shared: to
        close them here would make it deaf, so they are kept as they are.
        """
        if self._thread is not None:
            self._inherited += [self._thread, self._way]
            if self._at_exit is not None:
                self._at_exit.detach()
            self._begin_anew()


_ALIVE: Final[weakref.WeakSet[EngineWay]] = weakref.WeakSet()


def _forked() -> None:
    for way in list(_ALIVE):
        way.forked()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)
