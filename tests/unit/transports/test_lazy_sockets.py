"""Sockets that say nothing, or half of something, on every listener: each has its time."""

import asyncio
import ssl

import pytest
from certificates import self_signed
from waiting import PATIENCE, time_flies
from wsclient import RawClient, request

import flyball
from flyball.core.node import NodeOptions
from flyball.http.grpc_port import GrpcTls
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import HttpLimits
from flyball.http.routes import Routes
from flyball.testing.clock import TestClock
from flyball.transports.endpoints import TRANSPORTS, EndpointOptions
from flyball.transports.unigrpc.listener import UniGrpcListener, UniGrpcOptions

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
POST = b"POST /connection/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"
SAID = {
    "nothing": b"",
    "half a head": b"GET /connection/websocket HTTP/1.1\r\nHo",
    "half a body of http_stream": POST % b"http_stream",
    "half a body of sse": POST % b"sse",
    "half a chunk": (
        b"POST /connection/http_stream HTTP/1.1\r\nHost: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nx"
    ),
    "half a body of sockjs": (
        b"POST /connection/sockjs/0/abc/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n["
    ),
    "an upgrade and nothing more": request(),
    "half a greeting of HTTP/2": PREFACE[:18],
    "a greeting of HTTP/2": PREFACE,
    "HTTP/2 without a request": PREFACE + SETTINGS,
}
"""What a client says before it falls silent."""


@pytest.fixture(params=["plain", "TLS"])
async def stage(request, tmp_path):
    """A listener with every endpoint on a clock that flies; how to dial it."""
    clock = TestClock()
    node = flyball.Node(NodeOptions(ping_interval=0), clock=clock)
    node.on_connecting(lambda event: flyball.Credentials())
    server_tls = client_tls = None
    if request.param == "TLS":
        pem, key = self_signed()
        (tmp_path / "pem").write_bytes(pem + key)
        server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_tls.load_cert_chain(tmp_path / "pem")
        client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_tls.check_hostname, client_tls.verify_mode = False, ssl.CERT_NONE
    options = ListenerOptions(
        "127.0.0.1", ssl_context=server_tls, h2c=server_tls is None, http=HttpLimits()
    )
    endpoints = EndpointOptions(transports=TRANSPORTS).routes(node, "/connection")
    listener = Listener(options, Routes(endpoints), node.timers)
    async with node:
        await listener.start()
        async with time_flies(clock, 0.5):
            yield listener, client_tls
        await listener.close(grace=0.1)


@pytest.mark.parametrize("said", SAID)
async def test_who_falls_silent_is_cut_off(stage, said):
    listener, tls = stage
    if tls is not None and "HTTP/2" in said:
        pytest.skip("over TLS HTTP/2 is agreed on by ALPN; see test_strangers")
    client = await RawClient.open(listener.port, tls)
    client.send(SAID[said])
    async with asyncio.timeout(PATIENCE):
        await client.reader.read()
    await client.close()


@pytest.mark.parametrize("said", [b"", PREFACE[:10]])
@pytest.mark.parametrize("tls", [False, True])
async def test_who_falls_silent_on_the_grpc_port_is_cut_off(said, tls):
    node = flyball.Node()
    node.on_connecting(lambda event: flyball.Credentials())
    certificate, key = self_signed()
    options = UniGrpcOptions(
        "127.0.0.1", 0, tls=GrpcTls(key, certificate) if tls else None, handshake_timeout=0.3
    )
    listener = UniGrpcListener(node, options)
    async with node:
        await listener.start()
        client = await RawClient.open(listener.port)
        client.send(said)
        async with asyncio.timeout(PATIENCE):
            await client.reader.read()
        await client.close()
        listener.stop_accepting()
        await listener.close()
