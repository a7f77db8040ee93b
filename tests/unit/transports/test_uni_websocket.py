"""WebSocket connections that only receive, over raw sockets."""

import asyncio
import json
import zlib

import pytest
from wsclient import RawClient, client_frame, request

from flyball.core import types
from flyball.core.errors import Disconnect
from flyball.core.node import Node, NodeOptions
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.routes import Route, Routes
from flyball.protocol.json_codec import JSON
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.websocket.framing import plain_framing
from flyball.transports.websocket.uni import (
    UniWebSocketEndpoint,
    UniWebSocketOptions,
    uni_framing,
)

PATH = "/connection/uni_websocket"


@pytest.fixture
async def serve():
    running = []

    async def start(*, node_options=None, limits=None, origins=(), **options):
        node = Node(NodeOptions(**{"ping_interval": 0.0, **(node_options or {})}))

        @node.on_connecting
        def connecting(event):
            if event.token == "bad":
                raise Disconnect(3500)
            subs = {"news": types.SubscribeOptions(join_leave=True, push_join_leave=True)}
            return types.Credentials(user="u", subs=subs)

        await node.start()
        limits = ConnectionLimits(lambda: node.hub.num_clients, **limits) if limits else None
        endpoint = UniWebSocketEndpoint(
            node, OriginPolicy(origins), UniWebSocketOptions(**options), limits
        )
        listener = Listener(ListenerOptions("127.0.0.1"), Routes([Route(PATH, upgrade=endpoint)]))
        await listener.start()
        running.append((node, listener))
        return node, listener.port

    yield start
    while RawClient.opened:
        client = RawClient.opened.pop()
        client.writer.transport.abort()
        await client.close()
    for node, listener in running:
        listener.stop_accepting()
        await node.shutdown()
        await listener.close(grace=0.1)
        await asyncio.sleep(0)
        assert not node.hub.sessions
        assert not node.pending_sessions
        assert not listener.timers.num_armed


async def message(client):
    first, payload = await client.frame()
    assert first == 0x81
    return json.loads(payload)


async def connected(port, text="{}", **how):
    client = await RawClient.websocket(port, PATH, **how)
    client.text(text)
    return client, (await message(client))["connect"]


async def test_pushes(serve):
    node, port = await serve()
    client, connect = await connected(port)
    assert set(connect) == {"client", "subs", "session"}
    assert "join" in await message(client)
    await node.publish("news", {"n": 1})
    assert await message(client) == {"channel": "news", "pub": {"data": {"n": 1}}}
    client.text('{"id":1,"rpc":{}}')  # read and ignored, whatever it is
    client.text("zz")
    client.send(client_frame(b"hello", opcode=9))
    assert await client.frame() == (0x8A, b"hello")
    await node.publish("news", 2)
    assert (await message(client))["pub"]["data"] == 2
    await node.disconnect_user("u")
    assert await message(client) == {"disconnect": {"code": 3503, "reason": "force disconnect"}}
    assert await client.frame() == (0x88, (3503).to_bytes(2, "big") + b"force disconnect")


async def test_pushes_have_frames_of_their_own(serve):
    _, port = await serve()
    client, connect = await connected(port)
    join = await message(client)  # left together with the connect push
    assert join["join"]["info"]["client"] == connect["client"]


def test_pushes_of_one_moment_may_share_a_frame():
    inner = plain_framing(JSON)
    assert uni_framing(inner, join=True) is uni_framing(inner, join=True)
    assert uni_framing(inner, join=True).frame((b"[1]", b"[2]")) == b"\x81\x07[1]\n[2]"
    assert uni_framing(inner, join=False).frame((b"[1]", b"[2]")) == b"\x81\x03[1]\x81\x03[2]"
    assert uni_framing(inner, join=True).frame((b"[1]", b"{}")) == b"\x81\x06[1]\n{}\x89\x00"


async def test_request_in_the_url(serve):
    node, port = await serve()
    client = await RawClient.websocket(port, PATH + "?cf_connect=%7B%22name%22%3A%22url%22%7D")
    assert "connect" in await message(client)
    (session,) = node.hub.sessions.values()
    assert session.name == "url"
    client.text('{"token":"bad"}')  # no second connect
    assert "join" in await message(client)
    await node.publish("news", 1)
    assert "pub" in await message(client)


@pytest.mark.parametrize("query", ["zz", "%7B", "%5B%5D", "%ff"])
async def test_bad_request_in_the_url(serve, query, caplog):
    caplog.set_level("DEBUG", "flyball.transports")
    _, port = await serve()
    client = await RawClient.open(port)
    client.send(request(f"{PATH}?cf_connect={query}"))
    status, _, body = await client.response()
    assert (status, body) == ("HTTP/1.1 400 Bad Request", b"invalid connect request\n")
    assert f"{PATH} refuses a handshake: 400 invalid connect request" in caplog.messages


async def test_refused_connect(serve):
    _, port = await serve()
    client = await RawClient.websocket(port, PATH)
    client.text('{"token":"bad"}')
    assert (await message(client))["disconnect"]["code"] == 3500
    assert await client.frame() == (0x88, (3500).to_bytes(2, "big") + b"invalid token")


async def test_without_push_and_close_frame(serve):
    node, port = await serve(disable_disconnect_push=True, disable_closing_handshake=True)
    client, _ = await connected(port)
    await message(client)
    await node.disconnect_user("u")
    assert await client.rest() == b""


async def test_compression(serve):
    _, port = await serve(compression=True)
    client = await RawClient.websocket(
        port, PATH, {"Sec-WebSocket-Extensions": "permessage-deflate"}
    )
    client.text("{}")
    for kind in ("connect", "join"):
        first, payload = await client.frame()
        assert first == 0xC1
        text = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
        assert kind in json.loads(text)


async def test_a_subprotocol_is_not_negotiated(serve):
    _, port = await serve()
    client = await RawClient.open(port)
    client.send(
        request(
            PATH,
            {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Protocol": "centrifuge-protobuf",
            },
        )
    )
    assert b"Sec-WebSocket-Protocol" not in await client.head()


async def test_origin_and_limits(serve):
    _, port = await serve(limits={"limit": 1}, origins=["https://ok.example"])
    client = await RawClient.open(port)
    client.send(request(PATH).replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n"))
    assert (await client.response())[0] == "HTTP/1.1 403 Forbidden"
    await connected(port)
    client = await RawClient.open(port)
    client.send(request(PATH))
    assert (await client.response())[0] == "HTTP/1.1 503 Service Unavailable"


async def test_slow_readers_are_cut(serve):
    node, port = await serve(node_options={"queue_max_size": 100_000}, write_timeout=30.0)
    client, _ = await connected(port)
    client.reader._transport.pause_reading()
    for _ in range(3000):
        await node.publish("news", "x" * 5000)
        if not node.hub.num_clients:
            break
        await asyncio.sleep(0)
    assert node.metrics.server_disconnects[3008] == 1


async def test_pings_are_both_kinds(serve):
    _, port = await serve(node_options={"ping_interval": 2.0, "pong_timeout": 1.0})
    client, connect = await connected(port)
    assert connect["ping"] == 2
    assert "pong" not in connect
    await message(client)
    assert await client.frame() == (0x81, b"{}")
    assert await client.frame() == (0x89, b"")
