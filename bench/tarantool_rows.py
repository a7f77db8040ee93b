"""Rows of Tarantool: Flyball beside asynctnt."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asynctnt
from measuring import DATA, KEPT, MISSED, WORKERS, Counter, Row, Work, compare

from flyball.core.types import HistoryFilter, PublishOptions, StreamPosition, payload
from flyball.engines.tarantool import TarantoolEngine

_TARANTOOL = """
local fiber = require('fiber')
local folder, path = ...
box.cfg{work_dir = folder, memtx_memory = 512 * 1024 * 1024, log_level = 3}
box.schema.user.grant('guest', 'super')
local space = box.schema.space.create('bare', {format = {
    {name = 'name', type = 'string'}, {name = 'offset', type = 'unsigned'}, {name = 'data', type = 'string'},
}})
space:create_index('primary', {parts = {'name', 'offset'}})
-- What a program would write for itself: the next offset, a row, and one row less.
function bare_publish(name, data, size)
    local newest = space.index.primary:max({name})
    local offset = newest and newest[2] + 1 or 1
    box.begin()
    space:insert({name, offset, data})
    if offset > size then
        space:delete({name, offset - size})
    end
    box.commit()
    return offset
end
local waiting, messages = fiber.cond(), {}
function bare_spread(name, data)
    messages[#messages + 1] = {name, data}
    waiting:signal()
end
function bare_poll()
    if #messages == 0 then
        waiting:wait(1)
    end
    local found = messages
    messages = {}
    return found
end
box.cfg{listen = path}
"""
_CLIENT: dict[str, Any] = {
    "host": "unix/",
    "fetch_schema": False,
    "auto_refetch_schema": False,
    "reconnect_timeout": 0,
    "ping_timeout": 0,
}


@asynccontextmanager
async def tarantool_server() -> AsyncIterator[Path]:
    """A server that writes all changes to disk; the path of its socket."""
    program = shutil.which("tarantool")
    if program is None:
        sys.exit("bench: no tarantool found (Debian: apt install tarantool)")
    with tempfile.TemporaryDirectory(prefix="flyball-bench-") as folder:
        script, path = Path(folder) / "bare.lua", Path(folder) / "bare.sock"
        script.write_text(_TARANTOOL)
        server = await asyncio.create_subprocess_exec(
            *(program, str(script), folder, str(path)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not path.exists():  # noqa: ASYNC110 - a file gives no sign
                await asyncio.sleep(0.01)
            yield path
        finally:
            server.terminate()
            await server.wait()


async def tarantool_rows(seconds: float) -> list[Row]:
    """Tarantool beside asynctnt with stored procedures that do as little as they can."""
    async with tarantool_server() as path:
        client = asynctnt.Connection(port=str(path), **_CLIENT)
        await client.connect()
        try:
            return [
                await _tarantool_plain(path, client, seconds),
                *await _tarantool_kept(path, client, seconds),
            ]
        finally:
            await client.disconnect()


async def _tarantool_plain(path: Path, client: Any, seconds: float) -> Row:
    bare, ours = Counter(), Counter()
    broker = TarantoolEngine(f"unix://{path}").broker
    assert broker is not None
    await broker.start(ours)
    names = [f"c{number}" for number in range(WORKERS)]
    for name in names:
        await broker.subscribe(name)
    text = DATA.decode()

    async def poll() -> None:
        while True:
            for name, _ in (await client.call("bare_poll")).body[0]:
                bare.came(name)

    async def library(number: int) -> None:
        came = bare.expect(names[number])
        await client.call("bare_spread", (names[number], text))
        await came

    async def flyball(number: int) -> None:
        came = ours.expect(names[number])
        await broker.publish(names[number], payload(DATA), PublishOptions())
        await came

    polls = asyncio.create_task(poll())
    row = await compare("Tarantool: publish, until it is delivered", library, flyball, seconds)
    polls.cancel()
    await broker.close()
    return row


async def _tarantool_kept(path: Path, client: Any, seconds: float) -> list[Row]:
    broker = TarantoolEngine(f"unix://{path}").broker
    assert broker is not None
    await broker.start(Counter())
    text = DATA.decode()

    def library(one: bool) -> Work:
        return lambda number: client.call("bare_publish", (f"c{0 if one else number}", text, 100))

    def flyball(one: bool) -> Work:
        return lambda number: broker.publish(f"c{0 if one else number}", payload(DATA), KEPT)

    rows = [
        await compare(
            f"Tarantool: publish with history, {title}", library(one), flyball(one), seconds
        )
        for title, one in (("100 channels", False), ("one channel", True))
    ]
    for _ in range(100):
        await client.call("bare_publish", ("r", text, 100))
        top = await broker.publish("r", payload(DATA), KEPT)
    space = (await client.eval("return box.space.bare.id")).body[0]
    since = StreamPosition(top.offset - MISSED, top.epoch)

    async def read(_: int) -> None:
        newest, found = await asyncio.gather(
            client.select(space, ("r",), iterator="REQ", limit=1),
            client.select(space, ("r", top.offset - MISSED), iterator="GT", limit=MISSED),
        )
        assert len(newest.body) == 1
        assert len(found.body) == MISSED

    async def recover(_: int) -> None:
        result = await broker.history("r", HistoryFilter(since=since))
        assert len(result.publications) == MISSED

    rows.append(await compare(f"Tarantool: recover {MISSED} publications", read, recover, seconds))
    await broker.close()
    return rows
