"""The examples for web frameworks, each under each server, as their readers run them."""

import asyncio
import contextlib
import json
import os

import aiohttp
import pytest
from ports import accepts, free_port
from processes import BIN, ROOT, Program
from waiting import PATIENCE, wait_for

SERVERS = {
    "uvicorn": ("uvicorn", "--host", "127.0.0.1", "--port", "{port}"),
    "granian": ("granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"),
    "hypercorn": ("hypercorn", "--bind", "127.0.0.1:{port}"),
}


class Running(Program):
    """A server process with an example in it."""

    def __init__(self, server, example):
        self.port = free_port()
        program, *arguments = [part.format(port=self.port) for part in SERVERS[server]]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
        super().__init__(
            BIN / program, *arguments, f"examples.{example}:app", cwd=ROOT, env=environ
        )

    def is_up(self):
        assert self.process.poll() is None, self.output
        return accepts(self.port)


@pytest.fixture(params=SERVERS)
def run(request):
    """Starts an example under a server."""
    with contextlib.ExitStack() as stack:

        def start(example):
            server = Running(request.param, example)
            stack.callback(stop, server)
            wait_for(server.is_up, lambda: f"server: {server.output}")
            return server

        yield start


def stop(server):
    server.stop()
    assert "Traceback" not in server.output, server.output


class Client:
    """A client of the bidirectional protocol over WebSocket."""

    def __init__(self, socket):
        self._socket = socket
        self._id = 0
        self.pushes = asyncio.Queue()
        self._waiting = {}
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self):
        async for message in self._socket:
            assert message.type is aiohttp.WSMsgType.TEXT
            for line in message.data.split("\n"):
                reply = json.loads(line)
                if reply.get("id"):
                    self._waiting.pop(reply["id"]).set_result(reply)
                elif "push" in reply:
                    self.pushes.put_nowait(reply["push"])

    async def ask(self, **command):
        self._id += 1
        reply = self._waiting[self._id] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": self._id, **command}))
        answer = await asyncio.wait_for(reply, PATIENCE)
        assert "error" not in answer, answer
        return answer

    async def push(self):
        return await asyncio.wait_for(self.pushes.get(), PATIENCE)

    async def close(self):
        await self._socket.close()
        await asyncio.gather(self._reading, return_exceptions=True)


@contextlib.asynccontextmanager
async def client_of(web, server, **how):
    url = f"http://127.0.0.1:{server.port}/connection/websocket"
    async with web.ws_connect(url, **how) as connection:
        client = Client(connection)
        yield client
        await client.close()


@pytest.fixture
async def web():
    async with aiohttp.ClientSession() as session:
        yield session


async def test_fastapi(run, web):
    server = run("asgi_fastapi")
    url = f"http://127.0.0.1:{server.port}"
    cookie = {"Cookie": "user=ann"}
    async with client_of(web, server, headers=cookie) as client:
        connect = (await client.ask(connect={}))["connect"]
        assert connect["client"]
        assert (await client.ask(subscribe={"channel": "comments:1"}))["subscribe"]["recoverable"]
        new = {"author": "ann", "text": "first"}
        async with web.post(f"{url}/articles/1/comments", json=new) as answer:
            assert (answer.status, await answer.json()) == (201, {"offset": 1})
        push = await client.push()
        assert push["pub"]["data"] == new
        big = {"author": "x" * 60000, "text": ""}
        async with web.post(f"{url}/articles/1/comments", json=big):
            pass
        assert (await client.push())["pub"]["data"] == big
    async with web.post(
        f"{url}/connection/http_stream", data='{"id":1,"connect":{}}', headers=cookie
    ) as stream:
        connect = json.loads(await stream.content.readline())["connect"]
        address = {"session": connect["session"], "node": connect["node"]}
        command = {"id": 2, "subscribe": {"channel": "comments:1", "recover": True, "epoch": ""}}
        body = {**address, "data": json.dumps(command)}
        async with web.post(f"{url}/connection/emulation", json=body) as answer:
            assert answer.status == 204
        reply = json.loads(await asyncio.wait_for(stream.content.readline(), PATIENCE))
        assert reply["id"] == 2
        async with web.post(f"{url}/articles/1/comments", json=new):
            pass
        push = json.loads(await asyncio.wait_for(stream.content.readline(), PATIENCE))
        assert push["push"]["pub"]["offset"] == 3
    async with web.get(f"{url}/connection/nothing") as answer:
        assert answer.status == 404


async def test_starlette(run, web):
    server = run("asgi_starlette")
    url = f"http://127.0.0.1:{server.port}"
    async with client_of(web, server) as client:
        await client.ask(connect={})
        await client.ask(subscribe={"channel": "counter"})
        reply = await client.ask(rpc={"method": "add", "data": {"by": 2}})
        assert reply["rpc"]["data"] == {"value": 2}
        assert (await client.push())["pub"]["data"] == {"value": 2}
        async with web.post(f"{url}/bump") as answer:
            assert await answer.json() == {"value": 3}
        assert (await client.push())["pub"]["data"] == {"value": 3}
    query = {"cf_connect": '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"counter"}}'}
    async with web.get(f"{url}/connection/sse", params=query) as stream:
        assert stream.content_type == "text/event-stream"
        seen = b""
        while b'"id":2' not in seen:
            seen += await asyncio.wait_for(stream.content.readany(), PATIENCE)
        async with web.post(f"{url}/bump"):
            pass
        while b'"value":4' not in seen:
            seen += await asyncio.wait_for(stream.content.readany(), PATIENCE)
    assert seen.startswith(b'\r\ndata: {"id":1,"connect":')


async def test_django(run, web):
    server = run("asgi_django")
    url = f"http://127.0.0.1:{server.port}"
    async with client_of(web, server, origin="http://localhost:3000") as client:
        connect = (await client.ask(connect={}))["connect"]
        assert "news" in connect["subs"]
        async with web.post(f"{url}/announce", data={"headline": "hello"}) as answer:
            assert await answer.json() == {"readers": 1}
        assert (await client.push())["pub"]["data"] == {"headline": "hello"}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with client_of(web, server, origin="http://evil.example"):
            pass
    assert refused.value.status == 403
    async with asyncio.timeout(PATIENCE):
        while True:
            async with web.post(f"{url}/announce", data={"headline": "gone"}) as answer:
                if await answer.json() == {"readers": 0}:
                    break
