"""The captured GRPC streams, replayed byte for byte but for ids."""

import asyncio
from pathlib import Path

import pytest
from golden_replay import Stage, load_rows
from golden_tables import ELSEWHERE
from grpc import aio
from waiting import PATIENCE

ROWS, CONFIGS = load_rows(Path(__file__).parent / "wire-examples.jsonl")
METHOD = "/centrifugal.centrifugo.unistream.CentrifugoUniStream/Consume"
MINE = [number for number, file in ELSEWHERE.items() if file == Path(__file__).name]


def line(push):
    """A Push in which ids can be masked."""
    return push.decode("latin-1")


@pytest.mark.parametrize("number", MINE)
async def test_replay(number, tmp_path):
    row = ROWS[number]
    *pushes, status = row["received"]
    async with Stage(CONFIGS[row["config"]], tmp_path) as stage:
        port = stage.server.listeners[-1].port
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            (request,) = row["sent"]
            call = channel.unary_stream(METHOD)(bytes.fromhex(request["hex"]))
            for push in pushes:
                if "pub" in push["decoded"]:
                    raw = push["decoded"]["pub"]["data"]
                    await stage.api("publish", channel=push["decoded"]["channel"], raw=raw)
                if "disconnect" in push["decoded"] and len(pushes) > 1:
                    await stage.api("disconnect", user="u")
                ours = await asyncio.wait_for(call.read(), PATIENCE)
                assert not stage.compare(line(bytes.fromhex(push["hex"])), line(ours))
            assert await call.read() is aio.EOF
            assert str(await call.code()) == status["status"]
            assert await call.details() == status["details"]
