"""Rows of PostgreSQL: Flyball beside asyncpg."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import asyncpg
from measuring import DATA, KEPT, MISSED, WORKERS, Counter, Row, Work, compare

from flyball.core.types import HistoryFilter, PublishOptions, StreamPosition, payload
from flyball.engines.postgres import PostgresEngine, StreamOptions

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from postgres import PostgresServer

BARE_TABLES = """
CREATE TABLE bare_top (channel text PRIMARY KEY, top bigint NOT NULL);
CREATE TABLE bare (channel text, place bigint, data jsonb, PRIMARY KEY (channel, place));
"""
BARE_PUBLISH = """
WITH t AS (
    INSERT INTO bare_top AS b VALUES ($1, 1) ON CONFLICT (channel) DO UPDATE SET top = b.top + 1
    RETURNING top
), r AS (INSERT INTO bare SELECT $1, top, $2::text::jsonb FROM t RETURNING place)
SELECT place, pg_notify('bare', '') FROM r
"""
"""What a program would write that keeps offsets, a history, and tells others."""


async def postgres_rows(seconds: float) -> list[Row]:
    """PostgreSQL beside asyncpg. The server syncs each commit to the disk."""
    server = await asyncio.to_thread(PostgresServer, fsync="on")
    pool = await asyncpg.create_pool(server.url, max_size=16)
    try:
        return [
            await _told(server.url, pool, seconds),
            *await _in_tables(server.url, pool, seconds),
        ]
    finally:
        await pool.close()
        server.stop()


async def _told(url: str, pool: Any, seconds: float) -> Row:
    bare, ours = Counter(), Counter()
    broker = PostgresEngine(url, options=StreamOptions(use_notify=True)).broker
    assert broker is not None
    await broker.start(ours)
    names = [f"c{number}" for number in range(WORKERS)]
    listener = await asyncpg.connect(url)
    for name in names:
        await broker.subscribe(name)
        await listener.add_listener(name, lambda _, __, channel, ___: bare.came(channel))

    async def library(number: int) -> None:
        came = bare.expect(names[number])
        await pool.execute("SELECT pg_notify($1, $2)", names[number], DATA.decode())
        await came

    async def flyball(number: int) -> None:
        came = ours.expect(names[number])
        await broker.publish(names[number], payload(DATA), PublishOptions())
        await came

    row = await compare("PostgreSQL: publish, until it is delivered", library, flyball, seconds)
    await listener.close()
    await broker.close()
    return row


async def _in_tables(url: str, pool: Any, seconds: float) -> list[Row]:
    await pool.execute(BARE_TABLES)
    broker = PostgresEngine(url).broker
    assert broker is not None
    await broker.start(Counter())

    def library(one: bool) -> Work:
        return lambda number: pool.fetch(BARE_PUBLISH, f"c{0 if one else number}", DATA.decode())

    def flyball(one: bool) -> Work:
        return lambda number: broker.publish(f"c{0 if one else number}", payload(DATA), KEPT)

    rows = [
        await compare(
            f"PostgreSQL: publish with history, {title}", library(one), flyball(one), seconds
        )
        for title, one in (("100 channels", False), ("one channel", True))
    ]
    for _ in range(100):
        place = await pool.fetchval(BARE_PUBLISH, "r", DATA.decode())
        top = await broker.publish("r", payload(DATA), KEPT)
    since = StreamPosition(top.offset - MISSED, top.epoch)

    async def read(_: int) -> None:
        found = await pool.fetch(
            "SELECT place, data::text FROM bare WHERE channel = $1 AND place > $2 ORDER BY place",
            "r",
            place - MISSED,
        )
        assert len(found) == MISSED

    async def recover(_: int) -> None:
        found = await broker.history("r", HistoryFilter(since=since))
        assert len(found.publications) == MISSED

    title = f"PostgreSQL: recover {MISSED} publications"
    rows.append(await compare(title, read, recover, seconds))
    await broker.close()
    return rows
