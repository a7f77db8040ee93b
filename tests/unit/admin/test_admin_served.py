"""The page over real sockets: live tails, files of another server, ports."""

import asyncio
import json

import aiohttp
import pytest
from admin_page import BASE
from aiohttp import web
from msgspec import Raw
from waiting import PATIENCE

from flyball.core.received import Publication
from flyball.server.admin import files, tail
from flyball.server.app import Server
from flyball.server.config import load_config

LISTEN = {
    "FLYBALL_HTTP_SERVER_ADDRESS": "127.0.0.1",
    "FLYBALL_HTTP_SERVER_PORT": "0",
    "FLYBALL_ADMIN_INSECURE": "true",
}


def make(**environ):
    loaded = load_config(environ={**BASE, **LISTEN, **environ})
    return Server(loaded.config, sources=loaded.sources)


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def serve(**environ):
    server = await asyncio.to_thread(make, **environ)
    await server.start()
    return server, f"http://127.0.0.1:{server.port}"


async def next_line(answer):
    """The next line that is no sign of life."""
    async with asyncio.timeout(PATIENCE):
        while not (line := (await answer.content.readline()).strip()):
            assert not answer.content.at_eof()
    return json.loads(line)


@pytest.fixture
async def served():
    server, url = await serve()
    yield server, url
    await server.stop()


async def opened(http, url, channel):
    answer = await http.post(f"{url}/admin/tail", json={"channel": channel})
    assert answer.status == 200
    return answer


async def subscribed(server, channel):
    async with asyncio.timeout(PATIENCE):
        while channel not in server.node.hub.channels:
            await asyncio.sleep(0)


async def test_tail_shows_publications_as_they_come(served, http):
    server, url = served
    answer = await opened(http, url, "news")
    await subscribed(server, "news")
    await server.node.publish("news", {"text": "<b>"}, tags={"a": "1"})
    assert await next_line(answer) == {"data": {"text": "<b>"}, "offset": 0, "tags": {"a": "1"}}
    await server.node.publish("news", b"\xff no JSON")
    assert (await next_line(answer))["data"] == "\\xff no JSON"
    answer.close()
    async with asyncio.timeout(PATIENCE):
        while "news" in server.node.hub.channels:
            await asyncio.sleep(0)


async def test_tails_are_bounded(served, http, monkeypatch):
    monkeypatch.setattr(tail, "MAX_TAILS", 1)
    server, url = served
    answer = await opened(http, url, "news")
    async with http.post(f"{url}/admin/tail", json={"channel": "more"}) as refused:
        assert refused.status == 429
    answer.close()
    await subscribed_not(server, "news")


async def subscribed_not(server, channel):
    async with asyncio.timeout(PATIENCE):
        while channel in server.node.hub.channels:
            await asyncio.sleep(0)


@pytest.mark.parametrize("body", ["", "{}", '{"channel":""}', json.dumps({"channel": "x" * 1025})])
async def test_tail_of_no_channel(served, http, body):
    async with http.post(f"{served[1]}/admin/tail", data=body) as answer:
        assert answer.status == 400


async def test_shutdown_ends_tails(http):
    server, url = await serve()
    answer = await opened(http, url, "news")
    await subscribed(server, "news")
    await server.stop()
    async with asyncio.timeout(PATIENCE):
        assert await answer.content.read() in (b"\n", b"")


async def test_stream_says_that_the_reader_was_slow():
    class Wire:
        written = b""

        def is_closing(self):
            return False

        def write(self, data):
            self.written += data

    class Stream:
        chunked = False
        wire = Wire()

    one = tail._Tail(None, "news", set())
    one._stream = Stream()
    one.pause_writing()
    one._tell(Publication(Raw(b"1")))
    one.resume_writing()
    one._tell(Publication(Raw(b"2")))
    assert one._stream.wire.written == b'{"lost":1}\n{"data":2,"offset":0}\n'


async def test_files_of_another_server(http, monkeypatch):
    monkeypatch.setattr(files, "MAX_PROXIED", 1000)

    async def page(request):
        if request.path == "/moved":
            raise web.HTTPFound("/")
        if request.path == "/long":
            return web.Response(body=bytes(1001))
        return web.Response(text=f"{request.path_qs} there", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    there = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server, url = await serve(
        FLYBALL_ADMIN_WEB_PROXY_ADDRESS=there, FLYBALL_ADMIN_HANDLER_PREFIX="/ops"
    )
    try:
        async with http.get(f"{url}/ops/a/b.js?v=1") as answer:
            assert await answer.text() == "/a/b.js?v=1 there"
        async with http.get(f"{url}/ops") as answer:
            assert await answer.text() == "/ there"
        async with http.get(f"{url}/ops/moved", allow_redirects=False) as answer:
            assert answer.status == 302
        async with http.get(f"{url}/ops/long") as answer:
            assert (answer.status, await answer.text()) == (
                503,
                "the answer of admin.web_proxy_address is too long\n",
            )
        async with http.get(f"{url}/ops/admin/init") as answer:
            assert (await answer.json())["insecure"] is True
        await runner.cleanup()
        async with http.get(f"{url}/ops") as answer:
            assert answer.status == 503
    finally:
        await server.stop()


async def test_internal_port_alone_has_the_page(http):
    server, url = await serve(
        FLYBALL_HTTP_SERVER_INTERNAL_PORT="0", FLYBALL_HTTP_SERVER_INTERNAL_ADDRESS="127.0.0.2"
    )
    try:
        inside = f"http://127.0.0.2:{server.listeners[1].port}"
        for path in ("/", "/admin/init"):
            async with http.get(url + path) as answer:
                assert answer.status == 404
            async with http.get(inside + path) as answer:
                assert answer.status == 200
    finally:
        await server.stop()
