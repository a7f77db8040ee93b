"""The Protobuf codec: framing, and the hand-written paths beside the library's."""

from __future__ import annotations

import pytest
from commands import decode_frame
from msgspec import Raw

from flyball.protocol.client import CLIENT
from flyball.protocol.codec import DecodeError, EncodeError
from flyball.protocol.messages import (
    NO_DATA,
    ClientInfo,
    Command,
    ConnectRequest,
    Error,
    FilterNode,
    HistoryRequest,
    HistoryResult,
    PresenceResult,
    PresenceStatsResult,
    Publication,
    PublishRequest,
    PublishResult,
    Push,
    Reply,
    RPCRequest,
    StreamPosition,
    SubscribeRequest,
    SubscribeResult,
)
from flyball.protocol.protobuf_codec import PROTOBUF, split_frame


def decode(frame: bytes) -> list[Command]:
    commands, error = decode_frame(PROTOBUF, frame)
    assert error is None
    return commands


def test_a_pong_is_an_empty_message():
    assert PROTOBUF.ping == b"\x00" == PROTOBUF.encode_reply(Reply())
    assert decode(b"\x00\x00") == [Command(), Command()]


@pytest.mark.parametrize(
    ("frame", "before"),
    [
        (b"", 0),
        (b"\x05\x08\x01", 0),
        (b"\x00\x80", 1),
        (b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 0),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0),
        (b"\x02\x08\x01\x02\x08\x80", 1),
        (b"\x05\x3a\x03\x0a\x01\xff", 0),
        (b"\x07\x08\x01\x3a\x03\x0a\x01\xff", 0),
        (b"\x04\x08\x80\x80\x80", 0),
        (b"\x04\x08\x01\x3a\x80", 0),
        (b"\x04\x08\x01\x3a\x05", 0),
    ],
)
def test_broken_frames(frame, before):
    commands, error = decode_frame(PROTOBUF, frame)
    assert isinstance(error, DecodeError)
    assert str(error)
    assert len(commands) == before


def reference(message: bytes) -> Command:
    """``message`` read without the paths made by hand."""
    return CLIENT.protobuf.read(Command, message)


COMMANDS = [
    Command(id=1, publish=PublishRequest("c", Raw(b"\x00\xff"))),
    Command(id=200, publish=PublishRequest("c" * 200, Raw(b"x" * 300), 1, "k", removed=True)),
    Command(id=2**32 - 1, publish=PublishRequest("é")),
    Command(id=3, publish=PublishRequest()),
    Command(id=4, subscribe=SubscribeRequest("c", recover=True, epoch="e", offset=2**64 - 1)),
    Command(
        id=5,
        subscribe=SubscribeRequest(
            "c", tf=FilterNode("and", nodes=[FilterNode(key="k", cmp="in", vals=["a", "b"])])
        ),
    ),
    Command(
        id=6,
        connect=ConnectRequest(
            "t",
            Raw(b"{}"),
            {"c": SubscribeRequest(offset=5), "d": SubscribeRequest()},
            headers={"a": "b"},
            flag=-1,
        ),
    ),
    Command(id=7, history=HistoryRequest("c", -1, StreamPosition(4, "e"), reverse=True)),
    Command(id=8, rpc=RPCRequest(method="m")),
    Command(id=9, publish=PublishRequest("a"), rpc=RPCRequest(Raw(b"1"))),
    Command(publish=PublishRequest("a")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: str(c.id))
def test_commands_go_there_and_back(command):
    frame = PROTOBUF.encode_command(command)
    assert decode(frame) == [command]
    assert decode(frame * 3) == [command] * 3
    (message,) = split_frame(frame)
    assert reference(message) == command


def test_all_requests_of_a_command_are_kept():
    (command,) = decode(PROTOBUF.encode_command(COMMANDS[9]))
    assert command.publish is not None
    assert command.rpc is not None


def test_unknown_fields_and_odd_orders():
    message = b"\x3a\x03\x0a\x01c\x08\x05"  # the id after the request
    assert decode(bytes([len(message)]) + message) == [Command(id=5, publish=PublishRequest("c"))]
    message = b"\x08\x05\x3a\x03\x0a\x01c\xf8\x07\x01"  # field 127
    assert decode(bytes([len(message)]) + message) == [Command(id=5, publish=PublishRequest("c"))]
    message = b"\x08\x05\xfa\x07\x01x"  # a request nobody knows
    assert decode(bytes([len(message)]) + message) == [Command(id=5)]
    message = b"\x08\x81\x80\x80\x80\x10\x3a\x03\x0a\x01c"  # an id of 33 bits is cut
    assert decode(bytes([len(message)]) + message) == [Command(id=1, publish=PublishRequest("c"))]


def test_payloads_are_opaque_and_absent_when_empty():
    (command,) = decode(PROTOBUF.encode_command(Command(id=1, rpc=RPCRequest())))
    assert command.rpc.data is NO_DATA
    assert bytes(decode(b"\x06\x08\x01\x6a\x02\x0a\x00")[0].rpc.data) == b""
    publication = Publication(data=Raw(b"not json \xff\n"))
    (reply,) = PROTOBUF.decode_replies(PROTOBUF.encode_publication_push("c", publication))
    assert bytes(reply.push.pub.data) == b"not json \xff\n"


PUBLICATIONS = [
    Publication(),
    Publication(data=Raw(b"x")),
    Publication(data=Raw(b"x" * 70_000), offset=1),
    Publication(data=Raw(b"x" * 127), offset=2**64 - 1),
    Publication(data=Raw(b""), offset=127),
    Publication(data=Raw(b"x"), offset=128, epoch="e"),
    Publication(data=Raw(b"x"), info=ClientInfo("u", "c", conn_info=Raw(b"1"))),
    Publication(info=ClientInfo("", "")),
    Publication(info=ClientInfo("é" * 100, "", chan_info=Raw(b"x" * 20_000)), offset=3),
    Publication(data=Raw(b"x"), tags={"a": "b"}),
    Publication(data=Raw(b"x"), tags={}),
    Publication(data=Raw(b"x"), delta=True),
    Publication(data=Raw(b"x"), key="k", removed=True, score=-5, version=7),
    Publication(data=Raw(b"x"), time=-1, channel="w", prev_data=Raw(b"y")),
]


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=range(len(PUBLICATIONS)))
@pytest.mark.parametrize("channel", ["", "c", "c" * 200, "é"])
def test_publication_pushes_are_what_the_library_writes(publication, channel):
    push = Push(channel=channel, pub=publication)
    uni = PROTOBUF.encode_publication_uni(channel, publication)
    assert uni == PROTOBUF.encode_push(push)
    line = PROTOBUF.encode_publication_push(channel, publication)
    assert line == PROTOBUF.encode_reply(Reply(push=push))
    assert PROTOBUF.decode_push(uni).pub.offset == publication.offset
    parsed = CLIENT.protobuf.classes[Reply].FromString(split_frame(line)[0])
    assert parsed.push.pub.data == bytes(publication.data)


@pytest.mark.parametrize("command_id", [0, 1, 127, 128, 2**32 - 1])
def test_publish_reply(command_id):
    reply = Reply(id=command_id, publish=PublishResult())
    assert PROTOBUF.encode_publish_reply(command_id) == PROTOBUF.encode_reply(reply)


def test_replies_go_there_and_back():
    replies = [
        Reply(id=1, error=Error(100, "m", temporary=True)),
        Reply(id=2, presence=PresenceResult({"a": ClientInfo("u", "a")})),
        Reply(id=3, presence=PresenceResult({})),
        Reply(id=4, presence_stats=PresenceStatsResult(0, 2)),
        Reply(id=5, history=HistoryResult([Publication(offset=1)], "", 0)),
        Reply(id=6, subscribe=SubscribeResult(state=[Publication(key="k")], ttl=5)),
    ]
    frame = PROTOBUF.join([PROTOBUF.encode_reply(r) for r in replies])
    assert PROTOBUF.decode_replies(frame) == replies
    assert PROTOBUF.join([b"\x00"]) == b"\x00"


def test_numbers_out_of_range():
    for publication in (Publication(offset=2**64), Publication(offset=-1)):
        with pytest.raises(EncodeError):
            PROTOBUF.encode_publication_push("c", publication)
        with pytest.raises(EncodeError):
            PROTOBUF.encode_reply(Reply(push=Push(pub=publication)))
    with pytest.raises(EncodeError):
        PROTOBUF.encode_reply(Reply(id=2**32))


def test_lone_surrogates_become_replacement_characters():
    publication = Publication(tags={"\ud800": "a\udfff"}, info=ClientInfo("\ud800", "c"))
    line = PROTOBUF.encode_publication_push("\ud800", publication)
    (reply,) = PROTOBUF.decode_replies(line)
    assert reply.push.channel == "\ufffd"
    assert reply.push.pub.tags == {"\ufffd": "a\ufffd"}
    assert reply.push.pub.info.user == "\ufffd"
    line = PROTOBUF.encode_publication_push("c", Publication(info=ClientInfo("\ud800", "c")))
    assert PROTOBUF.decode_replies(line)[0].push.pub.info.user == "\ufffd"
    result = SubscribeResult(publications=[Publication(key="\ud800")])
    (reply,) = PROTOBUF.decode_replies(PROTOBUF.encode_reply(Reply(subscribe=result)))
    assert reply.subscribe.publications[0].key == "\ufffd"


def test_deep_filters_are_refused():
    node = FilterNode(key="k", cmp="ex")
    for _ in range(200):
        node = FilterNode("not", nodes=[node])
    frame = PROTOBUF.encode_command(Command(id=1, subscribe=SubscribeRequest("c", tf=node)))
    commands, error = decode_frame(PROTOBUF, frame)
    assert commands == []
    assert isinstance(error, DecodeError)


def test_delta_publications_are_bytes():
    publication = Publication(data=Raw(b"full"), offset=1, epoch="e")
    assert PROTOBUF.delta_publication(publication, None) is publication
    patched = PROTOBUF.delta_publication(publication, b"\xffpatch")
    assert bytes(patched.data) == b"\xffpatch"
    assert (patched.delta, patched.epoch, patched.offset) == (True, "e", 1)
    assert publication.delta is False


def test_messages_without_a_length():
    assert PROTOBUF.decode_connect(b"\x0a\x01x").token == "x"
    for data in (b"\x0a\x05x", b"\x0a\x01\xff"):
        with pytest.raises(DecodeError):
            PROTOBUF.decode_connect(data)
        with pytest.raises(DecodeError):
            PROTOBUF.decode_emulation(data)
    for message in (b"", b"\x00\x00", b"\x05"):
        with pytest.raises(DecodeError):
            PROTOBUF.decode_push(message)
    with pytest.raises(DecodeError):
        PROTOBUF.decode_replies(b"\x02\x08")


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a\x01x",  # the id as a text
        b"\x08\x01\x28\x05",  # subscribe as a number
        b"\x08\x01\x2a\x02\x08\x05",  # its channel as a number
        b"\x08\x01\x2a\x05\x0a\x01a\x3a\x00",  # its offset as a message
    ],
)
def test_a_known_field_in_another_wire_type_is_an_error(message):
    with pytest.raises(DecodeError):
        PROTOBUF.decode_command(bytes((len(message),)) + message, 0)


def test_unknown_fields_are_skipped():
    message = b"\x08\x01\x2a\x07\x0a\x01a\xfa\x07\x01x"
    assert PROTOBUF.decode_command(bytes((len(message),)) + message, 0)[0].subscribe.channel == "a"
