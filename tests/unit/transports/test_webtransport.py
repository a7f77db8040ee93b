"""WebTransport over HTTP/3, with a client on aioquic."""

import asyncio
import json
import socket

import pytest
from quicclient import dial
from waiting import until

from flyball.core import types
from flyball.core.errors import Disconnect, Error
from flyball.core.node import Node, NodeOptions
from flyball.http.http3.listener import Http3Listener, Http3Options
from flyball.testing.clock import TestClock
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.webtransport import WebTransportEndpoint, WebTransportOptions

PATH = "/connection/webtransport"
CONNECT = b'{"id":1,"connect":{}}\n'
SUBSCRIBE = b'{"id":2,"subscribe":{"channel":"news"}}\n'


class Server:
    def __init__(self, node, listener):
        self.node, self.listener, self.port = node, listener, listener.port


@pytest.fixture
async def serve(certificate):
    running = []

    async def start(node_options=None, limits=None, clock=None, **options):
        node = Node(NodeOptions(**{"ping_interval": 0.0, **(node_options or {})}), clock=clock)
        options.setdefault("end_pause", 0.05)

        @node.on_connecting
        def connecting(event):
            if event.token == "expired":
                raise Error(109)
            if event.token == "bad":
                raise Disconnect(3500)
            return types.Credentials(user="u")

        node.on_subscribe(lambda event: types.SubscribeOptions())
        node.on_rpc(lambda event: event.data)
        await node.start()
        limits = ConnectionLimits(lambda: node.hub.num_clients, **limits) if limits else None
        endpoint = WebTransportEndpoint(
            node, OriginPolicy(["https://ok.example"]), WebTransportOptions(**options), limits
        )
        pem, key = certificate
        listener = Http3Listener(
            Http3Options("127.0.0.1", 0, pem, key), webtransports={PATH: endpoint}
        )
        await listener.start()
        running.append((node, listener))
        return Server(node, listener)

    yield start
    for node, listener in running:
        listener.stop_accepting()
        await node.shutdown()
        await listener.close()
        assert not node.hub.sessions
        assert not node.pending_sessions
        assert not node.tasks
        assert not listener.service.connections


async def joined(client, path=PATH):
    await client.open(path)
    client.send(CONNECT + SUBSCRIBE)
    await client.until(lambda: '"id":2' in client.text, "replies")
    return client


async def gone(server, count=0):
    await until(lambda: server.node.hub.num_clients <= count, "end of the clients")


def lines(client):
    return [json.loads(line) for line in client.text.split("\n")[:-1]]


async def test_a_session(serve):
    clock = TestClock()
    server = await serve(clock=clock, end_pause=1.0)
    async with dial(server.port) as client:
        await joined(client)
        (session,) = server.node.hub.sessions.values()
        assert session.transport.name == "webtransport"
        assert session.headers["host"] == "localhost"
        connect = lines(client)[0]["connect"]
        assert set(connect) == {"client"}
        for n in range(100):
            await server.node.publish("news", n)
        await client.until(lambda: len(lines(client)) == 102, "pushes")
        assert [p["push"]["pub"]["data"] for p in lines(client)[2:]] == list(range(100))
        await server.node.disconnect_user("u")
        await client.until(lambda: client.stream in client.ended, "end of stream")
        assert lines(client)[-1] == {
            "push": {"disconnect": {"code": 3503, "reason": "force disconnect"}}
        }
        assert client.close_capsule is None
        clock.advance(0.9)
        assert server.node.timers.num_armed == 1
        clock.advance(0.2)
        await client.until(lambda: client.session in client.ended, "end of session")
        assert client.close_capsule == (3503, "force disconnect")


async def test_fan_out(serve):
    server = await serve()
    async with dial(server.port) as a, dial(server.port) as b, dial(server.port) as c:
        clients = [await joined(client) for client in (a, b, c)]
        framings = {id(s.transport.framing) for s in server.node.hub.sessions.values()}
        assert len(framings) == 1
        await server.node.publish("news", "x" * 5000)
        for client in clients:
            await client.until(lambda client=client: len(lines(client)) == 3, "push")


async def test_protobuf(serve):
    server = await serve()
    async with dial(server.port) as client:
        await client.open(PATH + "?cf_protocol=protobuf")
        client.send(b"\x04\x08\x01")
        client.send(b"\x22\x00")
        await client.until(lambda: client.data.get(client.stream), "reply")
        reply = client.data[client.stream]
        assert reply[0] == len(reply) - 1
        assert reply[1:3] == b"\x08\x01"


async def test_pings(serve):
    server = await serve(node_options={"ping_interval": 0.4, "pong_timeout": 0.2})
    async with dial(server.port) as client:
        await joined(client)
        await client.until(lambda: {} in lines(client), "ping")
        client.send(b"{}\n")
        await client.until(lambda: lines(client).count({}) == 2, "second ping")
        await client.until(lambda: client.stream in client.ended, "end")
        assert lines(client)[-1]["push"]["disconnect"]["code"] == 3012


async def test_commands_in_pieces(serve):
    server = await serve()
    async with dial(server.port) as client:
        await client.open()
        client.send(CONNECT[:-1])
        await client.ping()
        assert client.text == ""
        client.send(b"\n" + SUBSCRIBE[:5])
        await client.until(lambda: '"id":1' in client.text, "connect reply")
        client.send(SUBSCRIBE[5:])
        await client.until(lambda: '"id":2' in client.text, "subscribe reply")


async def test_the_last_line_may_lack_its_end(serve):
    server = await serve()
    async with dial(server.port) as client:
        await client.open()
        client.send(CONNECT[:-1], end=True)
        await client.until(lambda: '"id":1' in client.text, "connect reply")
        await gone(server)
        await client.until(lambda: client.session in client.ended, "end of session")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"zzz\n", 3501),
        (b'{"id":1,"connect":{"token":"bad"}}\n', 3500),
        (SUBSCRIBE, 3501),
    ],
)
async def test_failures_are_told(serve, data, code):
    server = await serve()
    async with dial(server.port) as client:
        await client.open()
        client.send(data)
        await client.until(lambda: client.stream in client.ended, "end of stream")
        assert lines(client)[-1]["push"]["disconnect"]["code"] == code
        await client.until(lambda: client.close_capsule, "end of session")
        assert client.close_capsule[0] == code


@pytest.mark.parametrize("data", [b"x" * 501, CONNECT + b"x" * 501, b"x" * 501 + b"\n"])
async def test_too_long_a_line(serve, data):
    server = await serve(message_size_limit=500)
    async with dial(server.port) as client:
        await client.open()
        client.send(data)
        await client.until(lambda: client.stream in client.ended, "end of stream")
        await client.until(lambda: client.close_capsule, "end of session")
        assert client.close_capsule == (0, "")
        await gone(server)


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff\xff\xff", b"\xff\x7f"])
async def test_too_long_a_message(serve, data):
    server = await serve(message_size_limit=500)
    async with dial(server.port) as client:
        await client.open(PATH + "?cf_protocol=protobuf")
        client.send(data)
        await client.until(lambda: client.stream in client.ended, "end of stream")
        await gone(server)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"path": "/elsewhere"}, 404),
        ({"origin": "https://evil.example"}, 400),
        ({":protocol": "websocket"}, 400),
        ({":method": "GET", ":protocol": None}, 405),
        ({"origin": "https://ok.example"}, 200),
    ],
)
async def test_requests(serve, how, status):
    server = await serve()
    async with dial(server.port) as client:
        assert await client.request(**how) == status


async def test_connection_limit(serve):
    server = await serve(limits={"limit": 1})
    async with dial(server.port) as client, dial(server.port) as other:
        await joined(client)
        assert await other.request() == 503


async def test_a_session_without_a_stream_is_closed(serve):
    clock = TestClock()
    server = await serve(clock=clock)
    async with dial(server.port) as client:
        assert await client.request() == 200
        clock.advance(10.1)
        await client.until(lambda: client.session in client.ended, "end of session")
        assert client.close_capsule == (3502, "stale")


async def test_a_second_stream_is_refused(serve):
    server = await serve()
    async with dial(server.port) as client:
        await joined(client)
        first = client.stream
        client.new_stream()
        client.send(CONNECT)
        await client.until(lambda: client.stream in client.resets, "reset")
        client.stream = first
        client.send(b'{"id":3,"rpc":{"data":1}}\n')
        await client.until(lambda: '"id":3' in client.text, "reply")


async def test_clients_that_leave(serve):
    server = await serve()
    async with dial(server.port) as client:
        await joined(client)
        client._quic.reset_stream(client.stream, 0)
        client.transmit()
        await gone(server)
    async with dial(server.port) as client:
        await joined(client)
    await gone(server)


async def test_clients_that_vanish(serve):
    server = await serve()
    server.listener._server._configuration.idle_timeout = 0.3
    async with dial(server.port) as client:
        await joined(client)
        transmit, client.transmit = client.transmit, lambda: None  # nothing leaves it any more
        await gone(server)
        await until(lambda: not server.listener.service.connections, "end of the connection")
        client.transmit = transmit


async def test_slow_readers_are_cut_with_bounded_memory(serve):
    server = await serve(node_options={"queue_max_size": 200_000})
    async with dial(server.port, max_stream_data=65536, max_data=100_000) as client:
        await joined(client)
        client._quic._write_stream_limits = lambda *_, **__: None
        client._quic._write_connection_limits = lambda *_, **__: None
        for _ in range(200):
            await server.node.publish("news", "x" * 10_000)
            await asyncio.sleep(0)
            if not server.node.hub.num_clients:
                break
        disconnects = server.node.metrics.server_disconnects
        assert disconnects[3008] + disconnects[3009] == 1


async def test_shutdown_says_so(serve):
    server = await serve()
    async with dial(server.port) as client:
        await joined(client)
        server.listener.stop_accepting()
        await server.node.shutdown()
        await client.until(lambda: client.stream in client.ended, "end of stream")
        assert lines(client)[-1]["push"]["disconnect"]["code"] == 3001
        await server.listener.close()
        await client.until(lambda: client.terminated, "end of connection")
        assert client.close_capsule == (3001, "shutdown")


async def test_broken_packets(serve, caplog):
    server = await serve()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rude:
        for packet in (b"", b"\x00", b"\xff" * 1200, b"\xc0\x00\x00\x00\x01" + b"\x08" * 1195):
            rude.sendto(packet, ("127.0.0.1", server.port))
            rude.sendto(b"\xc3\x00\x00\x00\x01\x08" + packet, ("127.0.0.1", server.port))
    async with dial(server.port) as client:
        await joined(client)
    assert not [r for r in caplog.records if r.exc_info]


async def test_other_protocols_are_not_spoken(serve):
    server = await serve()
    with pytest.raises((ConnectionError, AssertionError)):
        async with dial(server.port, alpn=["hq-interop"]):
            pass
