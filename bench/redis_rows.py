"""Redis beside redis-py with explicit pipelines: the same commands, by a unix socket."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import redis.asyncio
from measuring import DATA, KEPT, MISSED, WORKERS, Pipelined, Row, compare

from flyball.core.broker import NoEvents
from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    PublishOptions,
    PublishResult,
    StreamPosition,
    payload,
)
from flyball.engines.redis import RedisEngine, layout, scripts
from flyball.engines.redis.embedded import EmbeddedServer
from flyball.engines.redis.layout import Names

MOST: Final = 1.6
"""Highest ratio of CPU that is fine."""
META_TTL: Final = 2_592_000_000
"""Milliseconds."""


@asynccontextmanager
async def redis_server() -> AsyncIterator[str]:
    """A Valkey, or what is installed, on a unix socket; the socket's path."""
    server = EmbeddedServer()
    await server.start()
    try:
        yield str(server.socket)
    finally:
        server.stop()


async def redis_rows(seconds: float) -> list[Row]:
    """Publish without and with history, recovery, presence."""
    async with redis_server() as path:
        client = redis.asyncio.Redis(unix_socket_path=path, protocol=3)
        engine = RedisEngine(f"unix://{path}")
        assert engine.broker is not None
        assert engine.presence_manager is not None
        await engine.broker.start(NoEvents())
        await engine.presence_manager.start()
        try:
            rows = await _Rows(client, engine, seconds).all()
        finally:
            await engine.presence_manager.close()
            await engine.broker.close()
            await client.aclose()
        return rows


class _Rows:
    """One comparison after the other."""

    def __init__(self, client: Any, engine: RedisEngine, seconds: float) -> None:
        assert engine.broker is not None
        assert engine.presence_manager is not None
        self.client = client
        self.broker = engine.broker
        self.presence = engine.presence_manager
        self.seconds = seconds
        self.names = Names("bare")
        self.message = layout.write_publication(payload(DATA), KEPT, time.time())
        self.channels = [f"c{number}" for number in range(WORKERS)]

    async def all(self) -> list[Row]:
        """Those of the table."""
        for script in (scripts.PUBLISH_STREAM, scripts.HISTORY_STREAM, scripts.PRESENCE_ADD):
            assert await self.client.script_load(script.text.decode()) == script.sha
        return [
            await self.publish(),
            await self.publish_kept(),
            await self.recover(),
            await self.add_presence(),
        ]

    def _pipelined(self, add: Callable[[Any, bytes], object]) -> Pipelined:
        """``add`` puts the command for a channel into a pipeline."""
        names = [channel.encode() for channel in self.channels]

        async def batch() -> None:
            pipeline = self.client.pipeline(transaction=False)
            for name in names:
                add(pipeline, name)
            await pipeline.execute()

        return Pipelined(batch)

    async def _compare(self, title: str, library: Pipelined, flyball: Any) -> Row:
        title = f"Redis: {title}"
        return await compare(title, library, flyball, self.seconds, limit=MOST, by_cpu=True)

    async def publish(self) -> Row:
        """Without history."""
        options = PublishOptions()

        def library(pipeline: Any, name: bytes) -> None:
            pipeline.publish(self.names.messages(name), self.message)

        async def flyball(number: int) -> None:
            await self.broker.publish(self.channels[number], payload(DATA), options)

        return await self._compare("publish", self._pipelined(library), flyball)

    def _add_publish(self, pipeline: Any, name: bytes) -> None:
        size, ttl = KEPT.history_size, int(KEPT.history_ttl * 1000)
        pipeline.evalsha(
            scripts.PUBLISH_STREAM.sha,
            2,
            *self.names.history(name),
            *(self.message, self.names.messages(name), size, ttl, META_TTL, "epochbar"),
            *("PUBLISH", "0", 0, "", 300_000, name),
        )

    async def publish_kept(self) -> Row:
        """With history."""

        async def flyball(number: int) -> None:
            await self.broker.publish(self.channels[number], payload(DATA), KEPT)

        return await self._compare(
            "publish with history", self._pipelined(self._add_publish), flyball
        )

    async def recover(self) -> Row:
        """Reads what somebody missed."""
        library_add, tops = self._pipelined(self._add_publish), []
        for _ in range(KEPT.history_size):
            await library_add.batch()
            tops = [await self._publish(channel) for channel in self.channels]
        filters = [HistoryFilter(since=StreamPosition(t.offset - MISSED, t.epoch)) for t in tops]
        top = int(await self.client.hget(self.names.history(b"c0")[1], "s"))
        start = str(top - MISSED + 1)

        def library(pipeline: Any, name: bytes) -> None:
            pipeline.evalsha(
                *(scripts.HISTORY_STREAM.sha, 2, *self.names.history(name)),
                *("XRANGE", start, "+", 0, META_TTL, "epochbar"),
            )

        async def flyball(number: int) -> None:
            found = await self.broker.history(self.channels[number], filters[number])
            assert len(found.publications) == MISSED

        title = f"recover {MISSED} publications"
        return await self._compare(title, self._pipelined(library), flyball)

    async def _publish(self, channel: str) -> PublishResult:
        return await self.broker.publish(channel, payload(DATA), KEPT)

    async def add_presence(self) -> Row:
        """Adds, or prolongs, an entry."""
        infos = [ClientInfo(f"user{n}", f"client{n}") for n in range(WORKERS)]
        turn = iter(range(1 << 62))

        def library(pipeline: Any, name: bytes) -> None:
            info = infos[next(turn) % WORKERS]
            pipeline.evalsha(
                *(scripts.PRESENCE_ADD.sha, 2, *self.names.presence(name, users=False)),
                *(info.client, layout.write_info(info), 60_000, info.user, "0"),
            )

        async def flyball(number: int) -> None:
            info = infos[number]
            await self.presence.add_presence(self.channels[number], info.client, info)

        return await self._compare("presence add", self._pipelined(library), flyball)
