"""Many commands at once: what is decoded, in whose turn, and how much may wait."""

import asyncio
import json

import pytest
from core_harness import LineFraming, Wire
from waiting import turns_until

import flyball
from flyball.core import inbox
from flyball.core.options import NodeOptions
from flyball.protocol.json_codec import JsonCodec
from flyball.protocol.protobuf_codec import ProtobufCodec
from flyball.testing.clock import settle

CONNECT = {"id": 1, "connect": {}}
TOO_MANY = 3013
BAD_REQUEST = 3501


class CountingFraming(LineFraming):
    """Counts the commands that are decoded."""

    def __init__(self, codec_class=JsonCodec):
        framing = self

        class Codec(codec_class):
            def decode_command(self, frame, start):
                framing.decoded += 1
                return super().decode_command(frame, start)

        self.codec = Codec()
        self.decoded = 0


def publishes(count, start=2):
    return [
        {"id": id_, "publish": {"channel": "plain:a", "data": id_}}
        for id_ in range(start, start + count)
    ]


def lines(*commands):
    return "\n".join(json.dumps(command) for command in commands)


@pytest.fixture
def framing():
    return CountingFraming()


@pytest.fixture
def opened():
    """Connects wait for it."""
    return asyncio.Event()


@pytest.fixture
async def slow_node(opened):
    """A node whose connects wait."""
    node = flyball.Node()

    @node.on_connecting
    async def connecting(event):
        await opened.wait()
        return flyball.Credentials()

    node.on_publish(lambda event: flyball.PublishOptions())
    async with node:
        yield node
        opened.set()


async def test_nothing_behind_a_connect_is_decoded_before_its_answer(slow_node, opened, framing):
    wire = Wire(slow_node, framing=framing)
    assert wire.raw(lines(CONNECT, *publishes(1000))) == []
    assert framing.decoded == 1
    assert not wire.reading
    opened.set()
    answers = []
    while len(answers) < 1001:
        await asyncio.sleep(0)
        answers += wire.take()
    assert [answer["id"] for answer in answers] == list(range(1, 1002))
    assert wire.reading


@pytest.mark.parametrize("before_connect", [True, False])
async def test_empty_messages_end_the_session_at_the_first(node, before_connect):
    framing = CountingFraming(ProtobufCodec)
    wire = Wire(node, framing=framing)
    if not before_connect:
        wire.session.receive(b"\x04\x08\x01\x22\x00")
        assert wire.session.state.value == "connected"
    decoded = framing.decoded
    wire.session.receive(b"\x00" * 65_000)
    assert framing.decoded == decoded + 1
    assert wire.closed_by == BAD_REQUEST


async def test_what_stands_behind_the_end_is_not_decoded(node, framing):
    wire = Wire(node, framing=framing)
    wire.raw(lines(CONNECT))
    wire.raw(lines({"id": 2, "subscribe": {"channel": ""}}, *publishes(1000, 3)))
    assert wire.closed_by == BAD_REQUEST
    assert framing.decoded == 2


async def test_others_have_their_turn_between_many_commands(node, framing):
    wire, other = Wire(node, framing=framing), Wire(node)
    wire.raw(lines(CONNECT))
    other.connect()
    wire.raw(lines(*publishes(1000)))
    assert framing.decoded <= 2 + inbox.COMMANDS_A_TURN
    assert other.one(publish={"channel": "plain:a", "data": 1}) == {"id": 1, "publish": {}}
    turns = await turns_until(lambda: framing.decoded == 1001)
    assert turns >= 1000 // inbox.COMMANDS_A_TURN - 1
    assert [answer["id"] for answer in wire.take()][-1] == 1001
    assert wire.reading


async def test_replies_of_one_frame_leave_together(node):
    wire = Wire(node)
    wire.connect()
    wire.cork()
    wire.session.receive(lines(*publishes(10)).encode())
    wire.uncork()
    assert len(wire.written) == 1


async def test_frames_that_come_meanwhile_are_in_order(node, wire):
    wire.raw(lines(*publishes(100)))
    wire.raw(lines(*publishes(100, 200)))
    answers = wire.take()
    while len(answers) < 135:
        await asyncio.sleep(0)
        answers += wire.take()
    ids = [answer["id"] for answer in answers]
    assert ids == sorted(ids)
    assert ids[-1] == 299


async def test_a_frame_holds_so_many_commands(node, wire):
    wire.raw(lines(*publishes(inbox.MAX_COMMANDS_IN_FRAME + 1)))
    await turns_until(lambda: wire.closed_by is not None)
    assert wire.closed_by == TOO_MANY


async def test_so_many_frames_may_wait(slow_node):
    wire = Wire(slow_node)
    wire.raw(lines(CONNECT))
    for _ in range(inbox.MAX_PENDING_FRAMES):
        wire.session.receive(b"{}")
    assert wire.closed_by is None
    wire.session.receive(b"{}")
    assert wire.closed_by == TOO_MANY
    wire.session.receive(b"{}")


async def test_so_many_bytes_may_wait(slow_node):
    wire = Wire(slow_node)
    wire.raw(lines(CONNECT))
    frame = b" " * (inbox.MAX_PENDING_SIZE // 4)
    for _ in range(5):
        wire.session.receive(frame)
    assert wire.closed_by is None
    wire.session.receive(frame)
    assert wire.closed_by == TOO_MANY


async def test_an_error_waits_for_the_command_before_it(node, wire):
    gate = asyncio.Event()

    @node.on_rpc
    async def slow(event):
        await gate.wait()
        return 1

    wire.raw('{"id":7,"rpc":{"method":"m"}}\nbroken')
    assert wire.closed_by is None
    gate.set()
    await turns_until(lambda: wire.closed_by is not None)
    assert wire.take()[0]["id"] == 7
    assert wire.closed_by == BAD_REQUEST


async def test_an_error_waits_also_where_commands_run_side_by_side(clock):
    node, gate = flyball.Node(flyball.NodeOptions(concurrency=8), clock=clock), asyncio.Event()
    node.on_connecting(lambda event: flyball.Credentials())

    @node.on_rpc
    async def slow(event):
        await gate.wait()
        return 1

    async with node:
        wire = Wire(node)
        wire.connect()
        wire.raw('{"id":7,"rpc":{"method":"m"}}\nbroken')
        wire.raw('{"id":8,"rpc":{"method":"m"}}')
        assert wire.closed_by is None
        gate.set()
        await turns_until(lambda: wire.closed_by is not None)
        assert [answer["id"] for answer in wire.take()] == [7]


async def test_a_session_that_ends_between_two_turns_takes_no_more(node, framing):
    wire = Wire(node, framing=framing)
    wire.raw(lines(CONNECT))
    wire.raw(lines(*publishes(1000)))
    decoded = framing.decoded
    wire.session.connection_lost()
    for _ in range(5):
        await asyncio.sleep(0)
    assert framing.decoded == decoded


async def test_frames_of_one_turn_have_one_share_of_commands(node, framing):
    wire = Wire(node, framing=framing)
    wire.connect()
    decoded = framing.decoded
    for number in range(20):
        wire.session.receive(lines(*publishes(50, 2 + 50 * number)).encode())
    assert framing.decoded - decoded == inbox.COMMANDS_A_TURN
    assert not wire.reading
    assert await turns_until(lambda: wire.reading) >= 1000 // inbox.COMMANDS_A_TURN
    assert [answer["id"] for answer in wire.take()] == list(range(2, 1002))


async def test_a_frame_that_waits_may_hold_as_many_commands_as_one_that_does_not():
    node = flyball.Node()
    node.on_connecting(lambda event: flyball.Credentials())
    node.on_publish(lambda event: flyball.PublishOptions())
    released = asyncio.Event()

    @node.on_rpc
    async def slow(event):
        await released.wait()
        return b"1"

    async with node:
        wire = Wire(node)
        wire.connect()
        wire.ask(rpc={"method": "m"})
        wire.raw(lines(*publishes(inbox.MAX_COMMANDS_IN_FRAME)))
        released.set()
        await turns_until(lambda: wire.reading)
        assert wire.closed_by is None
        assert len(wire.take()) == 1 + inbox.MAX_COMMANDS_IN_FRAME


async def test_an_empty_frame_beside_a_command_is_still_an_error():
    node = flyball.Node(NodeOptions(concurrency=4))
    node.on_connecting(lambda event: flyball.Credentials())
    released = asyncio.Event()

    @node.on_rpc
    async def slow(event):
        await released.wait()
        return b"1"

    async with node:
        wire = Wire(node)
        wire.connect()
        wire.ask(rpc={"method": "m"})
        wire.raw("")
        assert wire.closed_by is None
        released.set()
        await turns_until(lambda: wire.closed_by is not None)
        assert wire.closed_by == BAD_REQUEST


async def test_what_stands_behind_a_refused_connect_is_let_go(framing):
    node = flyball.Node()
    refused = asyncio.Event()

    @node.on_connecting
    async def connecting(event):
        await refused.wait()
        raise flyball.Error(109, "token expired")

    async with node:
        wire = Wire(node, framing=framing)
        wire.raw(lines(CONNECT, *publishes(10)))
        refused.set()
        await turns_until(lambda: wire.lingers is not None)
        assert [answer["error"]["code"] for answer in wire.take()] == [109]
        assert wire.raw(lines(*publishes(10))) == []
        assert framing.decoded == 1


async def test_strangers_share_the_room_for_what_waits_behind_connect(opened):
    node = flyball.Node(NodeOptions(held_bytes_limit=100_000))

    @node.on_connecting
    async def connecting(event):
        await opened.wait()
        return flyball.Credentials()

    async with node:
        wires = [Wire(node) for _ in range(3)]
        for wire in wires:
            wire.say(CONNECT)
            wire.raw(b"x" * 40_000)
        assert [wire.closed_by for wire in wires] == [TOO_MANY, None, None]
        assert node.held.size == 80_000
        assert node.metrics.strangers_dropped == 1
        wires[1].session.connection_lost()
        assert node.held.size == 40_000
        opened.set()
        await settle()
        assert node.held.size == 0
