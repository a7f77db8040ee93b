"""Two server processes on NATS without JetStream: what clients and the server API see."""

import json
import urllib.request

import aiohttp
import pytest
from fault_world import KEY, Nodes, nats_sections
from natsserver import NatsServer
from waiting import wait_for

PERMISSIONS = {
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_client": True,
    "allow_publish_for_anonymous": True,
}


@pytest.fixture
def nats():
    server = NatsServer()
    yield server
    server.stop()


@pytest.fixture
def nodes(nats):
    sections = nats_sections(nats.url, jetstream={"enabled": False})
    sections["channel"] = {
        "without_namespace": PERMISSIONS,
        "namespaces": [
            {
                "name": "kept",
                "history_size": 10,
                "history_ttl": "60s",
                "allow_recovery": True,
                "force_recovery": True,
                **PERMISSIONS,
            }
        ],
    }
    found = Nodes(count=2, sections=sections)
    yield found
    found.stop()


def api(nodes, index, method, **request):
    url = f"http://127.0.0.1:{nodes.ports[index]}/api/{method}"
    headers = {"X-API-Key": KEY}
    sent = urllib.request.Request(url, json.dumps(request).encode(), headers)
    with urllib.request.urlopen(sent) as answer:
        return json.loads(answer.read())


class Client:
    """A client of one node that waits for each reply."""

    def __init__(self, socket):
        self.socket = socket
        self.next = 0
        self.pushes = []

    async def ask(self, **command):
        self.next += 1
        await self.socket.send_json({"id": self.next, **command})
        while True:
            for line in (await self.socket.receive_str()).split("\n"):
                message = json.loads(line)
                if message.get("id") == self.next:
                    return message
                if "push" in message:
                    self.pushes.append(message["push"])

    async def push(self):
        while not self.pushes:
            for line in (await self.socket.receive_str()).split("\n"):
                if "push" in (message := json.loads(line)):
                    self.pushes.append(message["push"])
        return self.pushes.pop(0)


@pytest.fixture
async def client(nodes):
    async with aiohttp.ClientSession() as session:
        url = f"ws://127.0.0.1:{nodes.ports[0]}/connection/websocket"
        async with session.ws_connect(url) as socket:
            found = Client(socket)
            await found.ask(connect={})
            yield found


async def test_what_clients_and_the_api_see(nodes, client):
    wait_for(lambda: len(api(nodes, 0, "info")["result"]["nodes"]) == 2, "two nodes")
    assert "subscribe" in await client.ask(subscribe={"channel": "ch"})
    assert api(nodes, 1, "publish", channel="ch", data={"n": 1}) == {"result": {}}
    assert (await client.push())["pub"]["data"] == {"n": 1}
    # No history: 100 in the API, 108 for who wants to recover.
    assert api(nodes, 0, "history", channel="kept:1", limit=1)["error"]["code"] == 100
    assert (await client.ask(subscribe={"channel": "kept:1"}))["error"]["code"] == 108
    assert (await client.ask(history={"channel": "ch"}))["error"]["code"] in (103, 108)
    # Wildcards: 107 for clients, 100 in the API.
    assert (await client.ask(subscribe={"channel": "c.*"}))["error"]["code"] == 107
    assert (await client.ask(publish={"channel": "c.>", "data": 1}))["error"]["code"] == 107
    assert api(nodes, 0, "publish", channel="c.*", data=1)["error"]["code"] == 100
    # A message that the server does not take.
    big = {"text": "x" * (1 << 20)}
    assert api(nodes, 0, "publish", channel="ch", data=big)["error"]["code"] == 100
