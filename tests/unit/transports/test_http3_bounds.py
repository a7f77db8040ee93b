"""What one client may make an HTTP/3 server keep, or work at."""

import asyncio
import json
import time

import pytest
from quicclient import dial
from streamclients import dial_h3
from waiting import turns_until, until

from flyball.core import types
from flyball.core.node import Node, NodeOptions
from flyball.http.http3._private import CONNECTION_WINDOW, STREAM_WINDOW
from flyball.http.http3.connection import MAX_PACKET, MAX_WAITING, PACKETS_A_TURN
from flyball.http.http3.listener import Http3Listener, Http3Options
from flyball.http.messages import Response
from flyball.http.routes import Route, Routes
from flyball.testing.clock import settle
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.webtransport import WebTransportEndpoint, WebTransportOptions

PATH = "/connection/webtransport"


@pytest.fixture
async def serve(certificate):
    running = []

    async def start(routes=None, *, node=None, **options):
        webtransports = {}
        if node is not None:
            await node.start()
            webtransports[PATH] = WebTransportEndpoint(node, OriginPolicy(), WebTransportOptions())
        pem, key = certificate
        listener = Http3Listener(
            Http3Options("127.0.0.1", 0, pem, key, **options), routes, webtransports=webtransports
        )
        await listener.start()
        running.append((node, listener))
        return listener

    yield start
    for node, listener in running:
        listener.stop_accepting()
        if node is not None:
            await node.shutdown()
        await listener.close(grace=0.2)


def kept(listener):
    """Bytes of streams that the only connection keeps."""
    (connection,) = listener.service.connections
    streams = connection._quic._streams.values()
    return sum(len(stream.receiver._buffer) for stream in streams)


async def stuck(client, stream_id):
    """Waits until a client with more to say has used all credit, and gets no more."""
    quic, stream = client._quic, client._quic._streams[stream_id]
    before = None
    while before != (before := (stream.max_stream_data_remote, quic._remote_max_data)):
        await until(
            lambda: (
                stream.sender.highest_offset == stream.max_stream_data_remote
                or quic._remote_max_data_used == quic._remote_max_data
            ),
            "end of the credit",
        )
        await client.ping()


async def test_holes_do_not_widen_windows(serve):
    listener = await serve()
    async with dial(listener.port) as client:
        quic = client._quic
        ids = []
        for _ in range(4):
            ids.append(quic.get_next_available_stream_id())
            quic.send_stream_data(ids[-1], b"\x00")
            client.transmit()
        for _ in range(6):
            for stream_id in ids:
                # The last byte that may be sent, and none before it.
                stream = quic._streams[stream_id]
                last = stream.max_stream_data_remote - 1
                if last - stream.sender.highest_offset > quic._remote_max_data:
                    continue
                stream.sender._buffer_start = stream.sender._buffer_stop = last
                quic._remote_max_data_used += last - stream.sender.highest_offset
                stream.sender.highest_offset = last
                quic.send_stream_data(stream_id, b"x")
                client.transmit()
            await client.ping()
        assert kept(listener) <= CONNECTION_WINDOW
        assert quic._streams[ids[0]].max_stream_data_remote <= 2 * STREAM_WINDOW


async def test_windows_move_on(serve):
    async def count(head, body):
        return Response(b"%d" % len(body))

    listener = await serve(Routes([Route("/count", count)]))
    async with dial_h3(listener.port) as client:
        for _ in range(3):
            body = bytes(1_000_000)
            streams = [client.ask("POST", "/count", {}, body) for _ in range(3)]
            for stream in streams:
                await stream.complete()
                assert stream.body == b"1000000"


async def test_a_session_with_enough_to_do_reads_no_more(serve):
    node = Node(NodeOptions(ping_interval=0.0))
    node.on_connecting(lambda event: types.Credentials(user="u"))
    gate = asyncio.Event()

    @node.on_rpc
    async def rpc(event):
        await gate.wait()
        return {}

    listener = await serve(node=node)
    async with dial(listener.port) as client:
        await client.open(PATH)
        client.send(b'{"id":1,"connect":{}}\n')
        await client.until(lambda: '"id":1' in client.text, "reply")
        size = 4_000
        command = {"rpc": {"data": "x" * size}}
        for n in range(200):
            client.send(json.dumps({"id": n + 2, **command}).encode() + b"\n")
        await stuck(client, client.stream)
        (session,) = node.hub.sessions.values()
        assert 0 < session._inbox._size < 2 * STREAM_WINDOW
        gate.set()
        await client.until(lambda: '"id":201,' in client.text, "all replies")


async def test_an_app_that_does_not_read_stops_its_client(serve):
    gate = asyncio.Event()
    got = []

    async def app(scope, receive, send):
        await gate.wait()
        more = True
        while more:
            message = await receive()
            got.append(len(message["body"]))
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listener = await serve(Routes(app=app))
    async with dial_h3(listener.port) as client:
        stream = client.ask("POST", "/x", {}, bytes(1_000_000))
        await stuck(client, stream.id)
        gate.set()
        await stream.complete()
        assert got[0] <= STREAM_WINDOW
        assert sum(got) == 1_000_000


@pytest.mark.parametrize("table", [True, False])
async def test_few_bytes_do_not_become_many_fields(serve, table):
    listener = await serve()
    async with dial(listener.port) as client:
        quic = client._quic
        block = b"\x00\x00" + b"\xf5" * 60_000  # of the static table
        if table:
            # A table of 4096 bytes, and "x" with 4000 bytes in it (RFC 9204, section 4.3).
            entry = b"\x3f\xe1\x1f" + b"\x41x" + b"\x7f\xa1\x1e" + b"a" * 4000
            quic.send_stream_data(client.http._local_encoder_stream_id, entry)
            block = b"\x02\x00" + b"\x80" * 60_000
        frame = b"\x01" + (len(block) | 0x80000000).to_bytes(4, "big") + block
        start = time.process_time()
        quic.send_stream_data(quic.get_next_available_stream_id(), frame, True)
        client.transmit()
        await client.until(lambda: client.terminated, "end")
        assert time.process_time() - start < 2
        assert client.terminated.error_code == (0x201 if table else 0x107)


async def test_nothing_is_kept_of_connections_that_ended(serve):
    listener = await serve()
    protocols = listener._server._protocols
    async with dial(listener.port) as client, dial(listener.port) as other:
        await client.ping()
        assert len(set(protocols.values())) == 2
        for _ in range(12):  # each id is another, and the old one is retired
            client.change_connection_id()
            await client.ping()
        other.close()
        await until(lambda: len(set(protocols.values())) == 1, "end of the other connection")
        await client.ping()
    await until(lambda: not protocols, "end of the connections")


async def test_packets_without_pause_take_turns(serve):
    listener = await serve()
    async with dial(listener.port) as client:
        (connection,) = listener.service.connections
        worked_off = []
        address = ("127.0.0.1", 1)
        await client.ping()
        transmit, client.transmit = client.transmit, lambda: None  # it says nothing meanwhile
        await settle()
        connection.quic.receive_datagram = lambda data, *_args, **_more: worked_off.append(data)
        connection.datagram_received(b"x" * (MAX_PACKET + 1), address)
        for number in range(2000):
            connection.datagram_received(b"%d" % number, address)
        assert len(worked_off) == PACKETS_A_TURN
        turns = await turns_until(lambda: len(worked_off) == PACKETS_A_TURN + MAX_WAITING)
        assert turns >= MAX_WAITING // PACKETS_A_TURN
        assert worked_off == [b"%d" % number for number in range(PACKETS_A_TURN + MAX_WAITING)]
        connection.datagram_received(b"after", address)
        await turns_until(lambda: worked_off[-1] == b"after")
        client.transmit = transmit
