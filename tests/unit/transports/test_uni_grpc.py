"""The GRPC stream, with a stub generated from the published schema."""

import asyncio
import importlib
import sys
from pathlib import Path

import grpc
import pytest
from certificates import self_signed
from grpc import aio
from grpc_tools import protoc
from waiting import PATIENCE, until

import flyball
from flyball.core.errors import Disconnect
from flyball.core.node import Node, NodeOptions
from flyball.http.grpc_port import GrpcTls
from flyball.transports import unigrpc
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.unigrpc.listener import UniGrpcListener, UniGrpcOptions
from flyball.transports.unigrpc.transport import UniGrpcTransport

PROTO = Path(unigrpc.__file__).parent / "unistream.proto"


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """Message classes and stub, as any user generates them."""
    folder = tmp_path_factory.mktemp("stubs")
    arguments = ["protoc", f"-I{PROTO.parent}", f"--python_out={folder}"]
    assert protoc.main([*arguments, f"--grpc_python_out={folder}", PROTO.name]) == 0
    sys.path.insert(0, str(folder))
    try:
        yield (
            importlib.import_module("unistream_pb2"),
            importlib.import_module("unistream_pb2_grpc"),
        )
    finally:
        sys.path.remove(str(folder))


class Server:
    """A node with its port."""

    def __init__(self, options, node_options, limits):
        self.node = Node(NodeOptions(**{"ping_interval": 0.0, **node_options}))
        self.node.on_connecting(self.connecting)
        limits = ConnectionLimits(lambda: self.node.hub.num_clients, **limits) if limits else None
        self.listener = UniGrpcListener(
            self.node, UniGrpcOptions("127.0.0.1", 0, **options), limits
        )

    @staticmethod
    def connecting(event):
        if event.token == "bad":
            raise Disconnect(3500)
        subs = {"news": flyball.SubscribeOptions()}
        return flyball.Credentials(user=event.token or "u", subs=subs, data=event.data or None)

    async def stop(self):
        self.listener.stop_accepting()
        await self.node.shutdown()
        await self.listener.close(grace=1)
        assert not self.node.hub.sessions
        assert not self.node.pending_sessions
        assert not self.node.tasks


@pytest.fixture
async def serve():
    running = []

    async def start(limits=None, node_options=None, **options):
        server = Server(options, node_options or {}, limits)
        await server.node.start()
        await server.listener.start()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.stop()


@pytest.fixture
async def dial(stubs):
    channels = []

    def connect(server, credentials=None, options=()):
        address = f"localhost:{server.listener.port}"
        if credentials is None:
            channel = aio.insecure_channel(address.replace("localhost", "127.0.0.1"), options)
        else:
            channel = aio.secure_channel(address, credentials, options)
        channels.append(channel)
        return stubs[1].CentrifugoUniStreamStub(channel)

    yield connect
    for channel in channels:
        await channel.close()


async def read(call):
    return await asyncio.wait_for(call.read(), PATIENCE)


async def gone(server, count=0):
    await until(lambda: server.node.hub.num_clients <= count, "end of the clients")


async def test_pushes(serve, dial, stubs):
    messages, _ = stubs
    server = await serve()
    request = messages.ConnectRequest(token="ann", data=b'{"a":1}', name="stub", version="1")
    call = dial(server).Consume(request, metadata=(("x-y", "z"), ("k", "a"), ("k", "b")))
    connect = (await read(call)).connect
    (session,) = server.node.hub.sessions.values()
    assert connect.client == session.client_id
    assert connect.data == b'{"a":1}'
    assert connect.ping == 25
    assert "news" in connect.subs
    assert (session.user, session.name, session.version) == ("ann", "stub", "1")
    assert session.headers["x-y"] == "z"
    assert session.headers["k"] == "a, b"
    await server.node.publish("news", {"n": 1})
    push = await read(call)
    assert (push.channel, push.pub.data) == ("news", b'{"n":1}')
    await server.node.disconnect_user("ann")
    push = await read(call)
    assert (push.disconnect.code, push.disconnect.reason) == (3503, "force disconnect")
    assert await read(call) is aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    await gone(server)


async def test_many_messages_keep_their_order(serve, dial, stubs):
    server = await serve()
    stub = dial(server)
    calls = [stub.Consume(stubs[0].ConnectRequest()) for _ in range(20)]
    for call in calls:
        await read(call)
    for n in range(200):
        await server.node.publish("news", n)
        if n % 50 == 0:
            await asyncio.sleep(0)
    for call in calls:
        assert [int((await read(call)).pub.data) for _ in range(200)] == list(range(200))


async def test_a_push_is_built_once_for_all(serve, dial, stubs, monkeypatch):
    server = await serve()
    calls = [dial(server).Consume(stubs[0].ConnectRequest()) for _ in range(3)]
    for call in calls:
        await read(call)
    given = []
    monkeypatch.setattr(UniGrpcTransport, "send", lambda self, frame: given.append(frame))
    await server.node.publish("news", "x")
    assert len(given) == 3
    assert len({id(data) for data in given}) == 1


async def test_refused_connect(serve, dial, stubs):
    server = await serve()
    call = dial(server).Consume(stubs[0].ConnectRequest(token="bad"))
    assert (await read(call)).disconnect.code == 3500
    assert await read(call) is aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_pings_are_empty_pushes(serve, dial, stubs):
    server = await serve(node_options={"ping_interval": 3.0, "pong_timeout": 1.0})
    call = dial(server).Consume(stubs[0].ConnectRequest())
    await read(call)
    (session,) = server.node.hub.sessions.values()
    assert session.ping_interval == 25
    session._ping(0)
    push = await read(call)
    assert push.ByteSize() == 0
    assert push is not aio.EOF


async def test_a_client_that_cancels_frees_its_session(serve, dial, stubs):
    server = await serve()
    calls = [dial(server).Consume(stubs[0].ConnectRequest()) for _ in range(5)]
    for call in calls:
        await read(call)
    calls[0].cancel()
    await gone(server, 4)
    for call in calls[1:]:
        call.cancel()
        await server.node.publish("news", "on its way")
    await gone(server)


async def test_slow_readers_are_cut_with_bounded_memory(serve, dial, stubs):
    server = await serve(node_options={"queue_max_size": 200_000})
    slow, quick = (dial(server).Consume(stubs[0].ConnectRequest()) for _ in range(2))
    await read(slow)
    await read(quick)
    big = "x" * 10_000
    for _ in range(2000):
        await server.node.publish("news", big)
        await read(quick)
        if server.node.hub.num_clients == 1:
            break
    assert server.node.hub.num_clients == 1
    assert server.node.metrics.server_disconnects[3008] == 1


async def test_malformed_requests(serve, dial, stubs):
    server = await serve()
    channel = aio.insecure_channel(f"127.0.0.1:{server.listener.port}")
    method = "/centrifugal.centrifugo.unistream.CentrifugoUniStream/Consume"
    for request, code in (
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (b"x" * (5 * 1024 * 1024), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ):
        with pytest.raises(aio.AioRpcError) as error:
            await channel.unary_stream(method)(request).read()
        assert error.value.code() is code
    with pytest.raises(aio.AioRpcError) as error:
        await channel.unary_stream("/some.other/Method")(b"").read()
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await channel.close()


async def test_request_size(serve, dial, stubs):
    server = await serve(max_receive_message_size=100)
    with pytest.raises(aio.AioRpcError) as error:
        await dial(server).Consume(stubs[0].ConnectRequest(token="x" * 200)).read()
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_connection_limit(serve, dial, stubs):
    server = await serve(limits={"limit": 1})
    call = dial(server).Consume(stubs[0].ConnectRequest())
    await read(call)
    with pytest.raises(aio.AioRpcError) as error:
        await dial(server).Consume(stubs[0].ConnectRequest()).read()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_shutdown_says_so(serve, dial, stubs):
    server = await serve()
    call = dial(server).Consume(stubs[0].ConnectRequest())
    await read(call)
    stopping = asyncio.ensure_future(server.stop())
    assert (await read(call)).disconnect.code == 3001
    assert await read(call) is aio.EOF
    await stopping


async def test_tls(serve, dial, stubs):
    certificate, key = self_signed()
    server = await serve(tls=GrpcTls(key, certificate))
    call = dial(server, grpc.ssl_channel_credentials(certificate)).Consume(
        stubs[0].ConnectRequest()
    )
    assert (await read(call)).connect.client


async def test_clients_must_show_a_certificate(serve, dial, stubs):
    certificate, key = self_signed()
    server = await serve(tls=GrpcTls(key, certificate, certificate))
    with pytest.raises(aio.AioRpcError):
        await (
            dial(server, grpc.ssl_channel_credentials(certificate))
            .Consume(stubs[0].ConnectRequest())
            .read()
        )
    shown = grpc.ssl_channel_credentials(certificate, key, certificate)
    call = dial(server, shown).Consume(stubs[0].ConnectRequest())
    assert (await read(call)).connect.client


async def test_a_port_in_use(serve):
    first = await serve()
    second = UniGrpcListener(first.node, UniGrpcOptions("127.0.0.1", first.listener.port))
    with pytest.raises(OSError, match="in use"):
        await second.start()
