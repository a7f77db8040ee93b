"""Streams through a middleware that compresses answers: it would hold them for ever."""

import asyncio
import os

import aiohttp
import pytest
from ports import accepts, free_port
from processes import BIN, ROOT, Program
from waiting import PATIENCE, wait_for

COMMANDS = '{"id":1,"connect":{}}'


@pytest.fixture(scope="module")
def port():
    port = free_port()
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "asgi")}
    command = (BIN / "uvicorn", "--port", str(port), "gzip_app:app")
    with Program(*command, env=environ) as server:
        wait_for(lambda: accepts(port), lambda: f"server: {server.output}")
        yield port
        server.stop()
    assert "Traceback" not in server.output, server.output


@pytest.mark.parametrize(
    ("path", "body", "first"),
    [
        ("http_stream", COMMANDS, b'"connect"'),
        ("sse", COMMANDS, b'"connect"'),
        ("sockjs/000/abc/xhr_streaming", "", b"o\n"),
    ],
)
async def test_the_first_message_arrives(port, path, body, first):
    url = f"http://127.0.0.1:{port}/connection/{path}"
    headers = {"Accept-Encoding": "gzip"}
    async with (
        asyncio.timeout(PATIENCE),
        aiohttp.ClientSession(auto_decompress=False) as http,
        http.post(url, data=body, headers=headers) as answer,
    ):
        assert answer.status == 200
        assert "no-transform" in answer.headers["Cache-Control"]
        found = b""
        while first not in found:
            found += await answer.content.readany()
