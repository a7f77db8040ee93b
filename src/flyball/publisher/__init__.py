"""Publishing from another process: Celery tasks, cron jobs, management commands, scripts.

Over the HTTP API, whose server decides what is kept::

    publisher = flyball.Publisher("http://localhost:8000/api", key="secret")
    publisher.publish("news", {"text": "hello"})

or straight into the store that the nodes share, with no node in between::

    async with flyball.AsyncPublisher("redis://localhost:6379") as publisher:
        await publisher.publish("news", {"text": "hello"}, history_size=10, history_ttl=60)

The API is that of a Flyball (or Centrifugo) server, or of a node in a program of one's own with
``api_key=...`` (``flyball.run``, ``flyball.serve``, ``flyball.asgi.app``).
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self, Unpack

from flyball.core.engine import Engine
from flyball.core.keywords import PublishKeywords, spell_out
from flyball.core.types import Payload, PublishOptions, PublishResult
from flyball.publisher.common import TIMEOUT, AsyncWay, PublishFailed, Way
from flyball.publisher.engine import AsyncEngineWay, EngineWay, find_store
from flyball.publisher.http import AsyncHttpWay, HttpWay

__all__ = ["AsyncPublisher", "PublishFailed", "Publisher"]


class Publisher:
    """Publishes from where no node is, in plain functions; several threads may share one.

    It connects when it is first used, also anew after a fork; ``with`` or :meth:`close` ends the
    connections.

    Args:
        where: the API's URL, such as ``http://localhost:8000/api``. Or the store that the nodes
            share: ``redis://localhost:6379`` (and the other addresses of
            :func:`~flyball.engines.redis.options.parse_address`), ``nats://localhost:4222``, or an
            engine for this publisher alone, with the options that the nodes have:
            ``RedisEngine("redis://localhost", options=RedisOptions(prefix="shop"))``.
        key: the API key, for HTTP.
        timeout: seconds for a publish; over HTTP, for connecting and for each wait of a request.

    Raises:
        ConfigError: ``where`` or ``key`` cannot be one, or what it needs is not installed.
    """

    def __init__(self, where: str | Engine, *, key: str = "", timeout: float = TIMEOUT) -> None:
        store = find_store(where, key)
        self._way: Way = (
            HttpWay(str(where), key, timeout) if store is None else EngineWay(store, timeout)
        )

    @spell_out(PublishOptions)
    def publish(
        self, channel: str, data: Payload, **fields: Unpack[PublishKeywords]
    ) -> PublishResult:
        """Publishes to all subscribers of ``channel``, as :meth:`Node.publish` does.

        ``fields`` are those of :class:`~flyball.PublishOptions`. Over HTTP a server keeps history
        as the channel's namespace says, and ``history_meta_ttl``, ``info`` and ``idempotency_ttl``
        are not known. A store knows of no namespaces and asks no handlers: there, history is kept
        if ``history_size`` and ``history_ttl`` say so, and they must be those of the channel.

        Raises:
            Error: it is refused; code and message are the API's or the engine's.
            PublishFailed: the API or the store cannot be reached, or it is none.
            TypeError: one of ``fields`` is not known.
        """
        return self._way.publish(channel, data, fields)

    @spell_out(PublishOptions)
    def broadcast(
        self, channels: Iterable[str], data: Payload, **fields: Unpack[PublishKeywords]
    ) -> list[PublishResult]:
        """Publishes the same into several channels; results are in their order.

        Raises what :meth:`publish` does; the others of the channels may have been published into.
        """
        return self._way.broadcast(list(channels), data, fields)

    def close(self) -> None:
        """Closes the connections; the next publish opens another."""
        self._way.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncPublisher:
    """The same for async programs: ``async with flyball.AsyncPublisher(where) as publisher``.

    Args:
        where: the API's URL, the store's, or an engine: see :class:`Publisher`.
        key: the API key, for HTTP.
        timeout: seconds for a whole publish.

    Raises:
        ConfigError: ``where`` or ``key`` cannot be one, or what it needs is not installed.
    """

    def __init__(self, where: str | Engine, *, key: str = "", timeout: float = TIMEOUT) -> None:
        store = find_store(where, key)
        self._way: AsyncWay = (
            AsyncHttpWay(str(where), key, timeout)
            if store is None
            else AsyncEngineWay(store, timeout)
        )

    @spell_out(PublishOptions)
    async def publish(
        self, channel: str, data: Payload, **fields: Unpack[PublishKeywords]
    ) -> PublishResult:
        """Publishes to all subscribers of ``channel``: see :meth:`Publisher.publish`.

        Raises:
            Error: it is refused; code and message are the API's or the engine's.
            PublishFailed: the API or the store cannot be reached, or it is none.
            TypeError: one of ``fields`` is not known.
        """
        return await self._way.publish(channel, data, fields)

    @spell_out(PublishOptions)
    async def broadcast(
        self, channels: Iterable[str], data: Payload, **fields: Unpack[PublishKeywords]
    ) -> list[PublishResult]:
        """Publishes the same into several channels; results are in their order.

        Raises what :meth:`publish` does; the others of the channels may have been published into.
        """
        return await self._way.broadcast(list(channels), data, fields)

    async def close(self) -> None:
        """Closes the connections; the next publish opens another."""
        await self._way.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
