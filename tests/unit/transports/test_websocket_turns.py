"""A connection that sends without pause: how much of it is looked at before others have a turn."""

import asyncio
import json

import pytest
from memorywire import MemoryWire
from waiting import turns_until
from wsclient import client_frame

import flyball
from flyball.protocol.json_codec import JSON
from flyball.transports.common.websocket import frames
from flyball.transports.common.websocket.deflate import Inflater
from flyball.transports.common.websocket.transport import SocketContext, WebSocketTransport
from flyball.transports.websocket.framing import plain_framing


@pytest.fixture
async def node():
    node = flyball.Node()
    node.on_connecting(lambda event: flyball.Credentials())
    node.on_publish(lambda event: flyball.PublishOptions())
    async with node:
        yield node


def connect(node):
    """A connection, and its wire."""
    wire = MemoryWire()
    context = SocketContext(node, 65536, 0, Inflater(65536))
    transport = WebSocketTransport(context, wire, plain_framing(JSON), max_queue_size=1 << 20)
    node.open_session(transport)
    transport.data_received(client_frame(b'{"id":1,"connect":{}}'))
    wire.written.clear()
    return transport, wire


def pongs(wire):
    """How many pongs were written."""
    return b"".join(wire.written).count(b"\x8a\x00")


async def test_pings_without_pause(node):
    transport, wire = connect(node)
    other, other_wire = connect(node)
    transport.data_received(client_frame(b"", frames.OP_PING) * 10_000)
    assert pongs(wire) == frames.FRAMES_A_TURN
    assert not wire.reading
    other.data_received(client_frame(b'{"id":2,"publish":{"channel":"a","data":1}}'))
    assert b"publish" in other_wire.written[0]
    turns = await turns_until(lambda: pongs(wire) == 10_000)
    assert turns >= 10_000 // frames.FRAMES_A_TURN
    await turns_until(lambda: wire.reading)


async def test_messages_without_pause_are_answered_in_order(node):
    transport, wire = connect(node)
    sent = [b'{"id":%d,"publish":{"channel":"a","data":1}}' % id_ for id_ in range(2, 1002)]
    transport.data_received(b"".join(map(client_frame, sent)))
    assert not wire.reading
    await turns_until(lambda: wire.reading)
    text = b"".join(wire.written)
    ids = [int(part.split(b",")[0]) for part in text.split(b'"id":')[1:]]
    assert ids == list(range(2, 1002))


async def test_a_close_frame_behind_many_others_is_found(node):
    transport, wire = connect(node)
    transport.data_received(
        client_frame(b"", frames.OP_PING) * 1000 + client_frame(b"\x03\xe8", frames.OP_CLOSE)
    )
    await turns_until(lambda: wire.closed)
    assert pongs(wire) == 1000
    assert wire.written[-1] == frames.build_close(1000)


async def test_a_server_that_closes_meanwhile_still_finds_the_close_frame(node):
    transport, wire = connect(node)
    transport.data_received(
        client_frame(b"", frames.OP_PING) * 1000 + client_frame(b"\x03\xe8", frames.OP_CLOSE)
    )
    transport.session.disconnect(flyball.Disconnect(4000))
    assert wire.written[-1] == frames.build_close(4000, "")
    await turns_until(lambda: wire.closed)
    assert pongs(wire) == frames.FRAMES_A_TURN


async def test_a_lost_connection_leaves_nothing_behind(node):
    transport, wire = connect(node)
    transport.data_received(client_frame(b"", frames.OP_PING) * 1000)
    transport.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pongs(wire) == frames.FRAMES_A_TURN


async def test_reading_waits_for_both_the_session_and_the_rest(node):
    released = asyncio.Event()

    @node.on_rpc
    async def slow(event):
        await released.wait()
        return json.loads(b"1")

    transport, wire = connect(node)
    rpc = client_frame(b'{"id":2,"rpc":{"method":"m"}}')
    behind = client_frame(b'{"id":3,"publish":{"channel":"a","data":1}}')
    transport.data_received(rpc + behind + client_frame(b"", frames.OP_PING) * 1000)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not wire.reading
    seen = pongs(wire)
    assert seen < 1000
    released.set()
    await turns_until(lambda: wire.reading)
    assert pongs(wire) == 1000


async def test_a_violation_behind_many_frames_ends_it(node):
    transport, wire = connect(node)
    transport.data_received(client_frame(b"", frames.OP_PING) * 300 + b"\xff\xff")
    await turns_until(lambda: wire.written[-1][:1] == b"\x88")
    assert pongs(wire) == 300


async def test_strangers_who_leave_messages_unfinished_make_room(node):
    held = node.held
    unfinished = client_frame(b"x" * 60_000)[:-1]
    wires = []
    for _ in range(570):
        wire = MemoryWire()
        context = SocketContext(node, 65536, 0, None)
        transport = WebSocketTransport(context, wire, plain_framing(JSON), max_queue_size=1 << 20)
        node.open_session(transport)
        transport.data_received(unfinished)
        wires.append((wire, transport))
    assert held.size <= node.options.held_bytes_limit
    closed = [wire.closed for wire, _ in wires]
    assert closed == [True] * 11 + [False] * 559  # the oldest first
    for _, transport in wires:
        transport.connection_lost(None)
    assert held.size == 0


async def test_what_a_client_that_is_known_leaves_unfinished_is_its_own(node):
    transport, _ = connect(node)
    transport.data_received(client_frame(b"x" * 60_000)[:-1])
    assert node.held.size == 0


async def test_a_message_that_ends_leaves_the_room(node):
    wire = MemoryWire()
    context = SocketContext(node, 65536, 0, None)
    transport = WebSocketTransport(context, wire, plain_framing(JSON), max_queue_size=1 << 20)
    node.open_session(transport)
    frame = client_frame(b'{"id":1,"connect":{"data":"%b"}}' % (b"x" * 5000))
    transport.data_received(frame[:3000])
    assert node.held.size == 3000
    transport.data_received(frame[3000:])
    assert node.held.size == 0
    assert b"connect" in wire.written[-1]


async def test_who_goes_on_after_our_close_frame_is_cut_off(node):
    transport, wire = connect(node)
    transport.session.disconnect(flyball.Disconnect(4000))
    for _ in range(4):
        transport.data_received(client_frame(b"x" * 60_000))
    assert not wire.closed
    transport.data_received(client_frame(b"x" * 60_000))
    assert wire.closed
