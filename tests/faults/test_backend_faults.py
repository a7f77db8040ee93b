"""Backends of proxies that are killed, stopped, restarted, or answer nonsense: real processes."""

import asyncio
import contextlib
import itertools
import json
import signal
import sys
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from ports import accepts, free_port
from processes import FLYBALL, Program
from waiting import PATIENCE, until

SCRIPT = Path(__file__).parent / "faulty_backend.py"
FAILED = {"code": 100, "message": "internal server error", "temporary": True}
TIMEOUT = 2.0
"""Seconds that the server gives a backend."""


class Backend:
    """A backend that a test starts and ends; it keeps its port and its ledger."""

    def __init__(self, folder, kind):
        self.kind, self.port, self.ledger = kind, free_port(), folder / "ledger"
        self.program = None

    async def start(self):
        command = (SCRIPT, self.kind, str(self.port), str(self.ledger))
        self.program = Program(sys.executable, *command)
        await until(lambda: accepts(self.port), "the backend")

    def signal(self, number):
        self.program.process.send_signal(number)

    def kill(self):
        self.program.kill()

    def endpoint(self, path):
        return f"{self.kind}://127.0.0.1:{self.port}/{path}"

    def carried_out(self):
        """Every call that was run, in order."""
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]


def config(backend, paths):
    proxies = [
        {"name": f"to_{path}", "endpoint": backend.endpoint(path), "timeout": f"{TIMEOUT}s"}
        for path in paths
    ]
    stream = {"endpoint": backend.endpoint("stream"), "timeout": f"{TIMEOUT}s"}
    return {
        "client": {"allow_anonymous_connect_without_token": True, "allowed_origins": []},
        "proxies": proxies,
        "rpc": {
            "namespaces": [
                {"name": path, "proxy_enabled": True, "proxy_name": f"to_{path}"} for path in paths
            ]
        },
        "channel": {
            "proxy": {"subscribe_stream": stream} if backend.kind == "grpc" else {},
            "namespaces": [
                {"name": "stream", "subscribe_stream_proxy_enabled": backend.kind == "grpc"}
            ],
        },
    }


class Client:
    """A WebSocket client that waits for one reply at a time."""

    def __init__(self, socket):
        self.socket, self.ids, self.pushes = socket, itertools.count(1), asyncio.Queue()

    async def call(self, **command):
        number = next(self.ids)
        await self.socket.send_json({"id": number, **command})
        while True:
            async with asyncio.timeout(PATIENCE):
                message = await self.socket.receive()
            assert message.type is aiohttp.WSMsgType.TEXT, self.socket.close_code
            replies = [json.loads(line) for line in message.data.splitlines()]
            for reply in replies:
                if "push" in reply:
                    self.pushes.put_nowait(reply["push"])
            found = [reply for reply in replies if "id" in reply]
            if found:
                assert [reply["id"] for reply in found] == [number], "one reply, to this command"
                return found[0]

    async def rpc(self, method, data):
        reply = await self.call(rpc={"method": method, "data": data})
        return reply["error"] if "error" in reply else reply["rpc"]["data"]

    async def push(self):
        while self.pushes.empty():
            message = await asyncio.wait_for(self.socket.receive(), PATIENCE)
            for line in message.data.splitlines():
                if line != "{}":
                    self.pushes.put_nowait(json.loads(line)["push"])
        return self.pushes.get_nowait()


@contextlib.asynccontextmanager
async def running(folder, kind, *paths, clients=1):
    """A backend, a server and clients, in processes of their own."""
    backend = Backend(folder, kind)
    await backend.start()
    file, port = folder / "config.json", free_port()
    file.write_text(json.dumps(config(backend, paths)))
    try:
        with Program(FLYBALL, "-c", file, "--http_server.port", str(port)) as server:
            await until(lambda: accepts(port), "the server")
            async with contextlib.AsyncExitStack() as stack:
                http = await stack.enter_async_context(aiohttp.ClientSession())
                url, made = f"ws://127.0.0.1:{port}/connection/websocket", []
                for _ in range(clients):
                    socket = await stack.enter_async_context(http.ws_connect(url))
                    made.append(Client(socket))
                    assert "connect" in await made[-1].call(connect={})
                yield backend, server, made
            assert server.stop() == 0
            assert "Traceback" not in server.output
    finally:
        backend.kill()


async def said(server, event, count):
    """Waits until the log has so many of these lines."""
    await until(lambda: len(server.records(event)) >= count, f"{event!r} in the log")


class Callers:
    """Clients that call one after the other; each call has a number of its own."""

    def __init__(self, clients):
        self.numbers, self.heard, self.on = itertools.count(), {}, True
        self.counts = Counter()
        self.tasks = [asyncio.create_task(self._call(client)) for client in clients]

    async def _call(self, client):
        while self.on:
            number = next(self.numbers)
            self.heard[number] = heard = await client.rpc("ok:run", number)
            assert heard in (number, FAILED), heard
            self.counts[heard == number] += 1
            if heard == FAILED:
                await asyncio.sleep(0.01)  # as SDKs do, but not as long

    async def more(self, count, *, answered):
        """Waits for so many more calls that are answered, or are not."""
        wanted = self.counts[answered] + count
        failed = lambda: any(task.done() for task in self.tasks)  # noqa: E731
        await until(lambda: self.counts[answered] >= wanted, "call", over=failed)

    async def end(self):
        self.on = False
        await asyncio.gather(*self.tasks)


@pytest.mark.parametrize("kind", ["http", "grpc"])
async def test_a_backend_that_is_killed_and_comes_back(tmp_path, kind):
    async with running(tmp_path, kind, "ok", clients=10) as (backend, server, clients):
        callers = Callers(clients)
        await callers.more(100, answered=True)
        for round_ in range(2):
            backend.kill()
            await callers.more(100, answered=False)
            await said(server, "backend gives no answer", round_ + 1)
            await backend.start()
            await callers.more(100, answered=True)
            await said(server, "backend answers again", round_ + 1)
        await callers.end()
        counts = Counter(backend.carried_out())
        assert set(counts.values()) == {1}, "no call is run twice"
        assert {n for n, heard in callers.heard.items() if heard == n} <= set(counts)
        events = ("backend gives no answer", "backend answers again")
        lines = [line for event in events for line in server.records(event)]
        assert len(lines) == 4, "two for each outage"
        assert sum(line["failures"] for line in lines) == callers.counts[False]


@pytest.mark.parametrize("kind", ["http", "grpc"])
async def test_a_backend_that_stands_still(tmp_path, kind):
    async with running(tmp_path, kind, "ok", clients=5) as (backend, _, clients):
        callers = Callers(clients)
        await callers.more(50, answered=True)
        backend.signal(signal.SIGSTOP)
        await callers.more(10, answered=False)
        backend.signal(signal.SIGCONT)
        await callers.more(50, answered=True)
        await callers.end()
        assert set(Counter(backend.carried_out()).values()) == {1}


async def test_streams_of_a_backend_that_is_killed(tmp_path):
    async with running(tmp_path, "grpc", "ok", clients=5) as (backend, server, clients):
        for _ in range(2):
            pid = backend.program.process.pid
            for client in clients:
                while "error" in await client.call(subscribe={"channel": "stream:1"}):
                    await asyncio.sleep(0.01)
                assert (await client.push())["pub"]["data"] == pid
            backend.kill()
            for client in clients:
                assert (await client.push())["unsubscribe"]["code"] == 2500
            await backend.start()
        await said(server, "backend gives no answer", 1)
        (told,) = server.records("backend gives no answer")
        assert told["type"] == "subscribe_stream"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("half", "ClientPayloadError"),
        ("reset", "ServerDisconnectedError"),
        ("redirect", "status 307, not 200"),
        ("huge", "the answer is longer than"),
        ("html", "the answer is malformed"),
        ("types", "the answer is malformed"),
        ("http", "Bad"),
        ("hang", "no answer within 2 s"),
    ],
)
async def test_answers_that_are_none(tmp_path, path, reason):
    async with running(tmp_path, "http", path, "ok") as (backend, server, (client,)):
        assert await client.rpc(f"{path}:x", 1) == FAILED
        await said(server, "backend gives no answer", 1)
        (line,) = server.records("backend gives no answer", proxy="proxies[0]", type="rpc")
        assert reason in line["reason"], line
        assert await client.rpc("ok:x", 2) == 2, "others go on"
        assert backend.carried_out() == [2]


@pytest.mark.parametrize("kind", ["http", "grpc"])
async def test_a_stop_does_not_wait_for_a_backend(tmp_path, kind):
    async with running(tmp_path, kind, "ok", clients=2) as (backend, server, clients):
        if kind == "grpc":
            await clients[0].call(subscribe={"channel": "stream:1"})
        backend.signal(signal.SIGSTOP)
        await clients[1].socket.send_json({"id": 9, "rpc": {"method": "ok:x", "data": 1}})
        assert server.stop() == 0
