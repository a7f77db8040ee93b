"""The example of several workers that act as one, under the servers that start them."""

import asyncio
import os
from contextlib import AsyncExitStack

import aiohttp
import pytest
from ports import free_port
from processes import BIN, ROOT, Program
from redisservers import RedisServer
from test_frameworks import Client
from waiting import PATIENCE, until

WORKERS = 2
GUNICORN = (
    *("gunicorn", "--bind", "127.0.0.1:{port}", "--workers", str(WORKERS)),
    *("--worker-class", "uvicorn_worker.UvicornWorker", "--graceful-timeout", "2"),
)
SERVERS = {
    "uvicorn": (
        *("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", str(WORKERS)),
        *("--timeout-graceful-shutdown", "2"),
    ),
    "gunicorn": GUNICORN,
    "gunicorn, loaded before the fork": (*GUNICORN, "--preload"),
}


@pytest.fixture
def redis():
    """A server of one's own: no node of another test is heard there."""
    found = RedisServer()
    yield found
    found.stop()


@pytest.fixture(params=SERVERS)
async def url(request, redis):
    """The app with its workers, which all know each other."""
    port = free_port()
    program, *arguments = [part.format(port=port) for part in SERVERS[request.param]]
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "REDIS_URL": redis.unix_url,
    }
    command = (BIN / program, *arguments, "examples.many_workers:app")
    with Program(*command, cwd=ROOT, env=environ) as workers:
        found = f"http://127.0.0.1:{port}"
        await wait_for_nodes(found, workers)
        yield found
        workers.stop()
        assert "Traceback" not in workers.output, workers.output


async def wait_for_nodes(url, workers):
    async with aiohttp.ClientSession() as web:
        async with asyncio.timeout(PATIENCE):
            while True:
                assert workers.process.poll() is None, workers.output
                try:
                    async with web.get(f"{url}/online") as answer:
                        assert answer.status == 200, workers.output
                        if (await answer.json())["nodes"] == WORKERS:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.02)


async def test_they_act_as_one(url):
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(aiohttp.ClientSession())
        clients = {}
        # Who gets a connection is for the system to say: some until both have one.
        async with asyncio.timeout(PATIENCE):
            while len(clients) < WORKERS:
                socket = await stack.enter_async_context(
                    web.ws_connect(f"{url}/connection/websocket")
                )
                client = Client(socket)
                stack.push_async_callback(client.close)
                connect = (await client.ask(connect={"token": f"user{len(clients)}"}))["connect"]
                if connect["data"]["worker"] in clients:
                    await client.close()
                else:
                    clients[connect["data"]["worker"]] = client
                    await client.ask(subscribe={"channel": "news"})
        async with web.get(f"{url}/online") as answer:
            assert await answer.json() == {"clients": WORKERS, "nodes": WORKERS}
        offset, publishers = 0, set()
        async with asyncio.timeout(PATIENCE):
            while publishers != set(clients):
                offset += 1
                # A new connection each time, so that each worker is asked at some time.
                headers = {"Connection": "close"}
                async with web.post(f"{url}/news?text=hi", headers=headers) as answer:
                    told = await answer.json()
                assert (answer.status, told["offset"]) == (201, offset)
                publishers.add(told["worker"])
        for client in clients.values():
            pushes = [await client.push() for _ in range(offset)]
            assert [push["pub"]["offset"] for push in pushes] == list(range(1, offset + 1))
        for number, client in enumerate(clients.values()):
            async with web.post(f"{url}/users/user{number}/sign-out") as answer:
                assert answer.status == 204
            await until(lambda client=client: client._socket.closed, "end")
            assert client._socket.close_code == 4501
