"""Commands that arrive at one node for a stream of another."""

import asyncio
import json

import aiohttp
import pytest
from waiting import PATIENCE, until

from flyball.core import types
from flyball.core.errors import EngineError
from flyball.core.node import Node, NodeOptions
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.routes import Routes
from flyball.protocol.client import CLIENT
from flyball.protocol.messages import EmulationRequest
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.streaming import endpoint as streaming
from flyball.transports.streaming.emulation import EmulationEndpoint
from flyball.transports.streaming.endpoint import StreamEndpoint

ORIGINS = OriginPolicy()
CONNECT = b'{"id":1,"connect":{}}'
RPC = '{"id":2,"rpc":{"data":"hello"}}'


class Server:
    """A node with its streams."""

    def __init__(self, bus, clock):
        options = NodeOptions(ping_interval=0.0)
        self.node = Node(options, controller=bus.controller(), clock=clock)
        self.node.on_connecting(lambda event: types.Credentials(user="u"))
        self.node.on_rpc(lambda event: event.data)
        endpoint = StreamEndpoint(self.node, streaming.HTTP_STREAM, ORIGINS)
        emulation = EmulationEndpoint(self.node, ORIGINS)
        routes = Routes([endpoint.route("/http_stream"), emulation.route("/emulation")])
        self.listener = Listener(ListenerOptions("127.0.0.1"), routes)

    async def start(self):
        await self.node.start()
        await self.listener.start()
        self.url = f"http://127.0.0.1:{self.listener.port}"

    async def stop(self):
        await self.node.shutdown()
        await self.listener.close(grace=0.1)


@pytest.fixture
async def servers(bus, clock):
    found = [Server(bus, clock) for _ in range(2)]
    for server in found:
        await server.start()
    hear(clock)
    yield found
    for server in found:
        await server.stop()


@pytest.fixture
async def web():
    async with aiohttp.ClientSession() as session:
        yield session


def hear(clock):
    """Nodes tell of themselves every three seconds."""
    clock.advance(3)


async def stream_of(server, web):
    """A stream, and what its client knows."""
    stream = await web.post(f"{server.url}/http_stream", data=CONNECT.decode())
    connect = json.loads(await stream.content.readline())["connect"]
    return stream, {"session": connect["session"], "node": connect["node"]}


async def test_any_node_takes_commands(servers, web):
    stream, address = await stream_of(servers[0], web)
    assert address["node"] == servers[0].node.id
    for server in servers:
        body = json.dumps({**address, "data": RPC})
        async with web.post(f"{server.url}/emulation", data=body) as answer:
            assert answer.status == 204
        reply = await asyncio.wait_for(stream.content.readline(), PATIENCE)
        assert json.loads(reply) == {"id": 2, "rpc": {"data": "hello"}}
    stream.close()


async def test_protobuf(servers, web):
    stream, address = await stream_of(servers[0], web)
    request = EmulationRequest(data=RPC.encode(), **address)
    async with web.post(
        f"{servers[1].url}/emulation",
        data=CLIENT.protobuf.write(request),
        headers={"Content-Type": "application/octet-stream"},
    ) as answer:
        assert answer.status == 204
    reply = await asyncio.wait_for(stream.content.readline(), PATIENCE)
    assert json.loads(reply)["id"] == 2
    stream.close()


async def test_unknown_session_of_another_node(servers, web):
    body = json.dumps({"session": "gone", "node": servers[0].node.id, "data": RPC})
    async with web.post(f"{servers[1].url}/emulation", data=body) as answer:
        assert answer.status == 204


async def test_a_node_that_left_is_not_found(servers, web):
    _, address = await stream_of(servers[0], web)
    await servers[0].stop()
    body = json.dumps({**address, "data": RPC})
    async with web.post(f"{servers[1].url}/emulation", data=body) as answer:
        assert answer.status == 404


async def test_a_node_that_does_not_answer(servers, web, bus, clock):
    stream, address = await stream_of(servers[0], web)
    bus.cut(servers[0].node.id)
    body = json.dumps({**address, "data": RPC})
    sent = servers[1].node.metrics.messages_sent
    before = sent["control"]
    asking = asyncio.ensure_future(web.post(f"{servers[1].url}/emulation", data=body))
    await until(lambda: sent["control"] > before, "question")
    clock.advance(10.1)
    async with await asyncio.wait_for(asking, PATIENCE) as answer:
        assert answer.status == 500
    stream.close()


async def test_an_engine_that_cannot_carry_it_is_no_traceback(servers, web, monkeypatch, caplog):
    stream, address = await stream_of(servers[0], web)

    async def survey(*_args):
        raise EngineError("redis: no link")

    monkeypatch.setattr(servers[1].node, "survey", survey)
    body = json.dumps({**address, "data": RPC})
    async with web.post(f"{servers[1].url}/emulation", data=body) as answer:
        assert answer.status == 500
    assert not caplog.records
    stream.close()
