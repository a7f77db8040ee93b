"""What holds for every consumer when servers are killed: each message is done at least once."""

import asyncio
import contextlib
import json
import urllib.request

import pytest
from consumer_world import publish
from ports import free_port
from processes import FLYBALL, Program
from redisservers import RedisServer
from waiting import wait_for

COUNT = 300


@pytest.fixture(scope="module")
def store():
    """Keeps what was published while servers come and go."""
    server = RedisServer()
    yield server
    server.stop()


class Server:
    """A server process with one consumer."""

    def __init__(self, tmp_path, entry, store):
        store.ask("FLUSHALL")
        self.port = free_port()
        self.config = tmp_path / "config.json"
        config = {
            "consumers": [{"name": "consumer", "enabled": True, **entry}],
            "engine": {"type": "redis", "redis": {"address": [store.url]}},
            "http_api": {"insecure": True},
            "channel": {"without_namespace": {"history_size": 10000, "history_ttl": "300s"}},
            "http_server": {"port": self.port},
        }
        self.config.write_text(json.dumps(config))
        self.start()

    def start(self):
        self.program = Program(str(FLYBALL), "-c", str(self.config))

    def kill(self):
        self.program.kill()

    def numbers(self):
        """What was published, in order."""
        body = json.dumps({"channel": "ch", "limit": -1}).encode()
        with contextlib.suppress(OSError, KeyError):  # it does not answer yet
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/history", body)
            with urllib.request.urlopen(request, timeout=5) as answer:
                return [p["data"]["n"] for p in json.loads(answer.read())["result"]["publications"]]
        return []

    def wait(self, count):
        """Until so many different ones were published."""
        wait_for(lambda: len(set(self.numbers())) >= count, lambda: f"{count}: {self.numbers()}")


@pytest.fixture
def server(source, tmp_path, store):
    found = Server(tmp_path, source.entry(), store)
    yield found
    found.kill()


async def test_servers_are_killed(source, server):
    """The server in the midst of its work, then the source, then both."""

    def work():
        source.put(*(publish(n) for n in range(COUNT)))
        server.wait(1)
        server.kill()
        server.start()
        source.put(*(publish(n) for n in range(COUNT, 2 * COUNT)))
        server.wait(2 * COUNT)
        source.kill()
        source.start()
        source.put(*(publish(n) for n in range(2 * COUNT, 3 * COUNT)))
        server.wait(3 * COUNT)
        server.kill()
        source.put(*(publish(n) for n in range(3 * COUNT, 4 * COUNT)))
        source.kill()
        server.start()
        source.start()
        server.wait(4 * COUNT)

    await asyncio.to_thread(work)
    assert set(server.numbers()) == set(range(4 * COUNT))


async def test_a_server_that_is_told_to_stop_leaves_all_in_order(source, server):
    def work():
        source.put(*(publish(n) for n in range(COUNT)))
        server.wait(1)
        assert server.program.stop() == 0
        source.put(*(publish(n) for n in range(COUNT, 2 * COUNT)))
        server.start()
        server.wait(2 * COUNT)

    await asyncio.to_thread(work)
    assert server.numbers() == list(range(2 * COUNT))
