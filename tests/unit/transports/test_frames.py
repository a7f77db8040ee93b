import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsclient import client_frame

from flyball.transports.common.websocket import frames
from flyball.transports.common.websocket.deflate import Deflater, Inflater
from flyball.transports.common.websocket.frames import (
    CloseCode,
    FrameParser,
    Violation,
    build_close,
    build_frame,
    read_close,
    unmask,
)


def parse(data, limit=65536, inflater=None):
    parser = FrameParser(limit, inflater)
    return parser.feed(data), parser


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65535, "817effff"),
        (65536, "817f0000000000010000"),
    ],
)
def test_frames_of_the_server_have_the_shortest_length_and_no_mask(size, head):
    payload = b"x" * size
    assert build_frame(frames.OP_TEXT, payload) == bytes.fromhex(head) + payload


def test_compressed_frames_carry_rsv1():
    assert build_frame(frames.OP_BINARY, b"ab", rsv1=True) == b"\xc2\x02ab"


def test_close_frames_cut_their_reason_between_characters():
    assert build_close(1000) == b"\x88\x02\x03\xe8"
    assert build_close(CloseCode.NO_STATUS) == b"\x88\x00"
    frame = build_close(3501, "é" * 100)
    assert len(frame) == 2 + 2 + 122
    assert frame[4:].decode() == "é" * 61


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 999, 1000, 1001, 5000])
def test_unmask_is_the_same_on_both_of_its_ways(size):
    data = bytes(i * 7 % 256 for i in range(size))
    mask = b"\xa1\x00\x17\xff"
    assert unmask(data, mask) == bytes(b ^ mask[i % 4] for i, b in enumerate(data))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("81027b7d", "bad MASK"),
        ("85810102030479", "bad opcode 5"),
        ("c1810102030479", "RSV1 set"),
        ("a1810102030479", "RSV2 set"),
        ("91810102030479", "RSV3 set"),
        ("89fe007e01020304", "len > 125 for control"),
        ("098001020304", "FIN not set on control"),
        ("018101020304790181", "data before FIN"),
        ("808101020304", "continuation after FIN"),
        ("f50179", "RSV1 set, RSV2 set, RSV3 set, bad opcode 5, bad MASK"),
        ("097e", "len > 125 for control, FIN not set on control, bad MASK"),
    ],
)
def test_violations_have_the_texts_of_the_original(raw, text):
    events, parser = parse(bytes.fromhex(raw))
    assert events == []
    assert parser.violation == Violation(CloseCode.PROTOCOL_ERROR, text)
    assert parser.feed(client_frame(b"later")) == []


def test_rsv1_is_for_the_first_frame_of_a_message_only():
    inflater = Inflater(1000)
    compressed = Deflater(1).deflate(b"hello hello hello")
    first = client_frame(compressed[:4], fin=False, rsv=0x40)
    _, parser = parse(first + client_frame(compressed[4:], opcode=0, rsv=0x40), inflater=inflater)
    assert parser.violation == Violation(CloseCode.PROTOCOL_ERROR, "RSV1 set")
    events, _ = parse(first + client_frame(compressed[4:], opcode=0), inflater=inflater)
    assert events == [(frames.OP_TEXT, b"hello hello hello")]


def test_too_big_is_known_from_the_header():
    _, parser = parse(bytes.fromhex("81ff000000000001117000000000"))
    assert parser.violation == Violation(CloseCode.TOO_BIG, "")
    _, parser = parse(bytes.fromhex("81ffffffffffffffffff00000000"), limit=0)
    assert parser.violation == Violation(CloseCode.TOO_BIG, "")


def test_the_limit_counts_all_fragments():
    half = client_frame(b"x" * 60, fin=False)
    events, parser = parse(half + client_frame(b"y" * 40, opcode=0), limit=100)
    assert events == [(frames.OP_TEXT, b"x" * 60 + b"y" * 40)]
    _, parser = parse(half + client_frame(b"y" * 41, opcode=0), limit=100)
    assert parser.violation == Violation(CloseCode.TOO_BIG, "")


def test_control_frames_may_stand_between_fragments():
    data = (
        client_frame(b"one ", fin=False)
        + client_frame(b"hi", opcode=frames.OP_PING)
        + client_frame(b"two", opcode=0)
    )
    events, parser = parse(data)
    assert events == [(frames.OP_PING, b"hi"), (frames.OP_TEXT, b"one two")]
    assert parser.idle


def feed_all(parser, data):
    """All events of ``data``, and in how many turns they came."""
    events, turns = parser.feed(data), 1
    while parser.has_more:
        events += parser.feed(b"")
        turns += 1
    return events, turns


def test_a_turn_takes_so_many_frames():
    parser = FrameParser(65536)
    pings = client_frame(b"", frames.OP_PING) * 1000
    assert len(parser.feed(pings)) == frames.FRAMES_A_TURN
    assert parser.has_more
    assert not parser.idle
    events, turns = feed_all(parser, client_frame(b"end"))
    assert len(events) == 1000 - frames.FRAMES_A_TURN + 1
    assert turns == 1000 // frames.FRAMES_A_TURN
    assert parser.idle


def test_what_is_left_may_end_in_half_a_frame():
    parser = FrameParser(65536)
    data = client_frame(b"x") * (frames.FRAMES_A_TURN + 1)
    parser.feed(data[:-1])
    assert parser.has_more
    assert feed_all(parser, b"")[0] == []
    assert not parser.has_more
    assert parser.feed(data[-1:]) == [(frames.OP_TEXT, b"x")]


@pytest.mark.parametrize("fragment", [b"", b"x"])
def test_a_message_has_so_many_tiny_fragments(fragment):
    parser = FrameParser(0)
    start = client_frame(fragment, fin=False)
    others = client_frame(fragment, opcode=0, fin=False) * 2000
    assert feed_all(parser, start + others)[0] == []
    assert parser.violation == Violation(CloseCode.POLICY_VIOLATION, "too many fragments")
    assert not parser._fragments


def test_fragments_of_some_size_may_be_any_number():
    parser, count = FrameParser(0), 20_000
    data = client_frame(b"", fin=False) + client_frame(b"x" * 64, opcode=0, fin=False) * count
    events, _ = feed_all(parser, data + client_frame(b"", opcode=0))
    assert events == [(frames.OP_TEXT, b"x" * 64 * count)]


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"", CloseCode.NO_STATUS),
        (b"\x03\xe8bye", 1000),
        (b"\x0f\xa0", 4000),
        (b"\x03", Violation(CloseCode.PROTOCOL_ERROR, "bad close payload")),
        (b"\x03\xed", Violation(CloseCode.PROTOCOL_ERROR, "bad close code 1005")),
        (b"\x00\x07", Violation(CloseCode.PROTOCOL_ERROR, "bad close code 7")),
        (
            b"\x03\xe8\xff",
            Violation(CloseCode.PROTOCOL_ERROR, "invalid utf8 payload in close frame"),
        ),
    ],
)
def test_close_payloads(payload, answer):
    assert read_close(payload) == answer


messages = st.lists(
    st.tuples(
        st.sampled_from([frames.OP_TEXT, frames.OP_BINARY]),
        st.one_of(st.binary(max_size=40), st.binary(min_size=120, max_size=400)),
        st.integers(1, 4),
    ),
    max_size=6,
)


@given(messages, st.lists(st.integers(1, 200), max_size=30), st.binary(min_size=4, max_size=4))
def test_chunks_do_not_matter(sent, sizes, mask):
    wire, expected = b"", []
    for opcode, payload, pieces in sent:
        expected.append((opcode, payload))
        cut = [
            payload[len(payload) * i // pieces : len(payload) * (i + 1) // pieces]
            for i in range(pieces)
        ]
        for i, piece in enumerate(cut):
            wire += client_frame(piece, opcode if i == 0 else 0, fin=i == pieces - 1, mask=mask)
    parser, events = FrameParser(65536), []
    for size in sizes:
        events += parser.feed(wire[:size])
        wire = wire[size:]
    for i in range(0, len(wire), 64):
        events += parser.feed(wire[i : i + 64])
    assert events == expected
    assert parser.violation is None
    assert parser.idle


@given(st.lists(st.binary(max_size=60), max_size=10), st.booleans())
def test_random_bytes_end_in_a_violation_or_wait_for_more(chunks, compressed):
    inflater = Inflater(1000) if compressed else None
    in_chunks = FrameParser(100, inflater)
    events = [event for chunk in chunks for event in in_chunks.feed(chunk)]
    at_once = FrameParser(100, inflater)
    assert feed_all(at_once, b"".join(chunks))[0] == events
    assert at_once.violation == in_chunks.violation


@given(st.binary(max_size=3000), st.integers(0, 9))
def test_deflate_round_trip(payload, level):
    deflater = Deflater(level)
    deflater.deflate(b"something before that must not matter" + payload)
    assert Inflater(3000).inflate(deflater.deflate(payload)) == payload


def test_inflation_is_bounded():
    bomb = Deflater(9).deflate(b"x" * 1001)
    assert Inflater(1001).inflate(bomb) == b"x" * 1001
    assert Inflater(1000).inflate(bomb) == Violation(
        CloseCode.TOO_BIG, "message too big after decompression"
    )
    assert Inflater(1000).inflate(b"\xff\xff") == Violation(
        CloseCode.INVALID_DATA, "bad compressed data"
    )


def test_messages_that_inflate_to_much_are_left_for_later_turns():
    stream = zlib.compressobj(wbits=-15)
    packed = (stream.compress(b"a" * 65_000) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
    parser = FrameParser(65_536, Inflater(65_536))
    first = parser.feed(client_frame(packed, frames.OP_TEXT, rsv=frames.RSV1) * 20)
    assert sum(len(event.payload) for event in first) <= frames.INFLATED_A_TURN + 65_536
    assert parser.has_more
    rest = []
    while parser.has_more:
        rest += parser.feed(b"")
    assert len(first) + len(rest) == 20
