"""Readers that stop reading, and clients that vanish, over every transport and version of HTTP."""

import asyncio
import contextlib
import socket
import ssl
import struct

import h2.settings
import pytest
from grpc import aio
from hostile import frame
from quicclient import dial, vanish
from streamclients import dial_h2, dial_h3, trusting
from waiting import PATIENCE, until
from wsclient import RawClient

from flyball.core import types
from flyball.core.node import Node, NodeOptions
from flyball.http.http2 import Http2Connection
from flyball.http.http3.listener import Http3Listener, Http3Options
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.multiplex.wire import StreamWire
from flyball.http.routes import Route, Routes
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.streaming import endpoint as streaming
from flyball.transports.streaming.endpoint import StreamEndpoint
from flyball.transports.unigrpc.listener import UniGrpcListener, UniGrpcOptions
from flyball.transports.websocket.endpoint import WebSocketEndpoint
from flyball.transports.websocket.uni import UniWebSocketEndpoint
from flyball.transports.webtransport import WebTransportEndpoint, WebTransportOptions

LOOPS = ("uvloop",)

CONNECT = b'{"id":1,"connect":{}}'
METHOD = "/centrifugal.centrifugo.unistream.CentrifugoUniStream/Consume"
STREAMS = {
    "http_stream": streaming.HTTP_STREAM,
    "sse": streaming.SSE,
    "uni_http_stream": streaming.UNI_HTTP_STREAM,
    "uni_sse": streaming.UNI_SSE,
}
SOCKETS = {"websocket": WebSocketEndpoint, "uni_websocket": UniWebSocketEndpoint}
VERSIONS = ("1.1", "1.1 tls", "2", "2 tcp", "3")
"""``2`` stops at the windows of HTTP/2; ``2 tcp`` has wide ones and stops at TCP's."""

QUEUE = 200_000
MESSAGE = "x" * 20_000
BOUND = QUEUE + 524_288 + 2 * len(MESSAGE)
"""Bytes that a session may have waiting in the process: its queue, and what TLS keeps."""
MANY = 2000
"""Messages, more than any system buffers."""

SLOW_ELSEWHERE = {
    ("websocket", "1.1"): "test_websocket.py",
    ("http_stream", "1.1"): "test_streaming.py",
    ("sse", "1.1"): "test_streaming.py",
    ("http_stream", "2"): "test_multiplex.py",
    ("uni_websocket", "1.1"): "test_uni_websocket.py",
}
VANISHED_ELSEWHERE = {
    **{(kind, "2 tcp"): "as 2" for kind in (*SOCKETS, *STREAMS)},
    ("websocket", "1.1"): "test_websocket.py",
    ("http_stream", "1.1"): "test_streaming.py",
    ("webtransport", "3"): "test_webtransport.py",
    ("uni_grpc", "2"): "test_hostile_grpc.py",
}
"""What is tested where its transport is."""

EVERYTHING = [
    *((kind, version) for kind in (*SOCKETS, *STREAMS) for version in VERSIONS),
    ("webtransport", "3"),
    ("uni_grpc", "2"),
]


def matrix(elsewhere):
    """The cases that are left to this file."""
    assert set(elsewhere) <= set(EVERYTHING)
    return [pytest.param(*case, id="-".join(case)) for case in EVERYTHING if case not in elsewhere]


class Stage:
    """A node with all transports on ports for each version."""

    def __init__(self, certificate, folder):
        self.node = node = Node(NodeOptions(ping_interval=0.0, queue_max_size=QUEUE))
        subs = {"news": types.SubscribeOptions()}
        node.on_connecting(lambda event: types.Credentials(user="u", subs=subs))
        origins = OriginPolicy([])
        sockets = [
            Route(f"/{kind}", upgrade=endpoint(node, origins)) for kind, endpoint in SOCKETS.items()
        ]
        streams = [
            StreamEndpoint(node, row, origins).route(f"/{kind}") for kind, row in STREAMS.items()
        ]
        routes = Routes([*sockets, *streams])
        pem, key = certificate
        (folder / "pem").write_bytes(pem + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "pem")
        context.set_alpn_protocols(["h2", "http/1.1"])
        webtransport = WebTransportEndpoint(node, origins, WebTransportOptions())
        self.clear = Listener(ListenerOptions("127.0.0.1"), routes)
        self.tls = Listener(
            ListenerOptions("127.0.0.1", ssl_context=context, websocket_streams=True), routes
        )
        self.quic = Http3Listener(
            Http3Options("127.0.0.1", 0, pem, key, idle_timeout=0.8),
            routes,
            webtransports={"/webtransport": webtransport},
        )
        self.grpc = UniGrpcListener(node, UniGrpcOptions("127.0.0.1", 0))
        self.listeners = (self.clear, self.tls, self.quic, self.grpc)

    async def start(self):
        await self.node.start()
        for listener in self.listeners:
            await listener.start()

    async def stop(self):
        for listener in self.listeners:
            listener.stop_accepting()
        await self.node.shutdown()
        for listener in self.listeners:
            await listener.close(grace=0.1)

    async def session(self):
        """That of the only client, once it is there."""
        await until(lambda: self.node.hub.num_subscriptions, "subscription")
        (session,) = self.node.hub.sessions.values()
        return session

    async def freed(self):
        """No client is left, nor what belonged to it."""
        wheels = [listener.timers for listener in self.listeners[:3]]
        await until(
            lambda: not self.node.hub.sessions and not any(w.num_armed for w in wheels),
            "end of the connections",
        )
        assert not self.node.hub.num_subscriptions
        assert not self.node.pending_sessions
        for service in (self.tls._http2, self.quic.service):
            assert not service.connections
            assert not service.tasks


@pytest.fixture
async def stage(certificate, tmp_path):
    stage = Stage(certificate, tmp_path)
    await stage.start()
    yield stage
    await stage.stop()


# -- clients: each joins, then stops reading or vanishes as the test says


def reset(wire):
    """Drops a TCP connection without goodbye."""
    linger = struct.pack("ii", 1, 0)
    wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wire.abort()


class TcpReader:
    """A client of HTTP/1.1 or HTTP/2 whose TCP connection does not go on."""

    def __init__(self, wire):
        self.wire = wire

    def stop_reading(self):
        self.wire.pause_reading()

    def vanish(self):
        reset(self.wire)


class WindowReader(TcpReader):
    """A client of HTTP/2 that opens no windows any more."""

    def __init__(self, client):
        super().__init__(client.transport)
        self.client = client

    def stop_reading(self):
        self.client.acknowledges = False


class QuicReader:
    """The same over QUIC."""

    def __init__(self, client):
        self.client = client

    def stop_reading(self):
        quic = self.client._quic
        quic._write_stream_limits = quic._write_connection_limits = lambda *_, **__: None

    def vanish(self):
        vanish(self.client)


def body_of(kind):
    return b"{}" if kind.startswith("uni_") else CONNECT


@contextlib.asynccontextmanager
async def over_http1(stage, kind, version):
    context, port = None, stage.clear.port
    if version == "1.1 tls":
        context, port = trusting("http/1.1"), stage.tls.port
    if kind in SOCKETS:
        client = await RawClient.websocket(port, f"/{kind}", ssl=context)
        client.send(frame(body_of(kind)))
    else:
        client = await RawClient.open(port, context)
        body = body_of(kind)
        head = f"POST /{kind} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.send(head.encode() + body)
    RawClient.opened.remove(client)
    yield TcpReader(client.writer.transport)
    client.writer.transport.abort()
    with contextlib.suppress(OSError, ssl.SSLError):
        await client.writer.wait_closed()


async def ask(client, kind):
    if kind in SOCKETS:
        headers = {"sec-websocket-version": "13"}
        stream = await client.request(
            "CONNECT", f"/{kind}", headers, end=False, protocol="websocket"
        )
        stream.send(frame(body_of(kind)))
    else:
        stream = await client.request("POST", f"/{kind}", {}, body_of(kind))
    assert stream.status == 200
    await stream.until(lambda: b'"connect"' in stream.body, "connect")


@contextlib.asynccontextmanager
async def over_http2(stage, kind, version):
    wide = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**30}
    async with dial_h2(stage.tls.port, settings=wide if version == "2 tcp" else None) as client:
        if version == "2 tcp":
            client.h2.increment_flow_control_window(2**30)
            client.flush()
        await ask(client, kind)
        yield TcpReader(client.transport) if version == "2 tcp" else WindowReader(client)


@contextlib.asynccontextmanager
async def over_http3(stage, kind, version):
    async with dial_h3(stage.quic.port, max_stream_data=65536, max_data=100_000) as client:
        await ask(client, kind)
        yield QuicReader(client)


@contextlib.asynccontextmanager
async def over_webtransport(stage, kind, version):
    async with dial(stage.quic.port, max_stream_data=65536, max_data=100_000) as client:
        await client.open("/webtransport")
        client.send(CONNECT + b"\n")
        yield QuicReader(client)


class GrpcReader:
    """A call that is not read from."""

    def stop_reading(self):
        """It never began."""


@contextlib.asynccontextmanager
async def over_grpc(stage, kind, version):
    async with aio.insecure_channel(f"127.0.0.1:{stage.grpc.port}") as channel:
        call = channel.unary_stream(METHOD)(b"")
        yield GrpcReader()
        call.cancel()


def client_of(stage, kind, version):
    special = {"webtransport": over_webtransport, "uni_grpc": over_grpc}
    usual = {"1": over_http1, "2": over_http2, "3": over_http3}
    return special.get(kind, usual[version[0]])(stage, kind, version)


# -- what waits for a client


def waiting(transport):
    """Bytes for a client that are still in the process."""
    return transport.queued_bytes + beneath(transport)


def beneath(transport):
    match transport.name:
        case "webtransport":
            return transport._link.unsent(transport._stream_id)
        case "uni_grpc":
            return sum(map(len, transport._outbox))
    wire = transport._wire
    size = wire.get_write_buffer_size()
    if isinstance(wire, StreamWire) and isinstance(wire._connection, Http2Connection):
        connection = wire._connection  # what is behind the windows
        size += connection._wire.get_write_buffer_size() + len(connection._output)
    return size


@pytest.mark.parametrize(("kind", "version"), matrix(SLOW_ELSEWHERE))
async def test_readers_that_stop_are_cut_with_bounded_memory(stage, kind, version):
    async with client_of(stage, kind, version) as reader:
        session = await stage.session()
        transport = session.transport
        assert transport.name == kind
        reader.stop_reading()
        highest = 0
        async with asyncio.timeout(PATIENCE):
            for _ in range(MANY):
                await stage.node.publish("news", MESSAGE)
                if session.closed:
                    break
                highest = max(highest, waiting(transport))
                await asyncio.sleep(0)
            assert session.closed
        assert highest <= BOUND
        cut = stage.node.metrics.server_disconnects
        assert cut[3008] + cut[3009] == 1
        assert not stage.node.hub.sessions
    await stage.freed()


@pytest.mark.parametrize(("kind", "version"), matrix(VANISHED_ELSEWHERE))
async def test_clients_that_vanish_free_their_sessions(stage, kind, version):
    async with client_of(stage, kind, version) as reader:
        session = await stage.session()
        transport = session.transport
        reader.vanish()
        await stage.freed()
        assert transport.session is None
        assert not stage.node.timers.num_armed
