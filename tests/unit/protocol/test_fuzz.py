"""Both codecs under random messages, random bytes and damaged frames."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from anymessage import messages, text, without_breaks
from commands import decode_frame
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from flyball.protocol.client import CLIENT
from flyball.protocol.codec import Codec, DecodeError, EncodeError
from flyball.protocol.json_codec import JSON
from flyball.protocol.json_writer import is_json
from flyball.protocol.messages import Command, Publication, Push, Reply
from flyball.protocol.protobuf_codec import PROTOBUF

pytestmark = pytest.mark.exhaustive

CODECS: tuple[Codec, ...] = (JSON, PROTOBUF)

relaxed = settings(suppress_health_check=list(HealthCheck), max_examples=150)


@relaxed
@given(messages(CLIENT.table, Command))
def test_commands_survive(command):
    line = JSON.encode_command(command)
    assert b"\n" not in line
    assert line == CLIENT.json_writer.write(command), "the fast and the exact writer agree"
    plain = without_breaks(CLIENT.table, command)
    assert decode_frame(JSON, line) == ([plain], None)
    assert CLIENT.json_reader.read(Command, line) == plain, (
        "the strict and the tolerant reader agree"
    )
    assert CLIENT.json_reader.read(Command, swap_names(line)) == plain
    assert decode_frame(PROTOBUF, PROTOBUF.encode_command(command)) == ([command], None)


def swap_names(line: bytes) -> bytes:
    """``line`` with the name of each request in capitals."""
    for field in CLIENT.table[Command]:
        name = f'"{field.name}":{{'.encode()
        line = line.replace(b"," + name, b"," + name.upper())
    return line


@relaxed
@given(messages(CLIENT.table, Reply))
def test_replies_survive(reply):
    line = JSON.encode_reply(reply)
    assert line == CLIENT.json_writer.write(reply)
    assert JSON.decode_replies(line) == [without_breaks(CLIENT.table, reply)]
    json.loads(line)
    assert PROTOBUF.decode_replies(PROTOBUF.encode_reply(reply)) == [reply]


@relaxed
@given(text, messages(CLIENT.table, Publication))
def test_publication_pushes_are_the_general_form(channel, publication):
    push = Push(channel=channel, pub=publication)
    for codec in CODECS:
        uni = codec.encode_publication_uni(channel, publication)
        assert uni == codec.encode_push(push)
        wrapped = codec.encode_publication_push(channel, publication)
        assert wrapped == codec.encode_reply(Reply(push=push))
        assert codec.decode_push(uni).channel == channel


def check_decodes_or_refuses(codec: Codec, frame: bytes) -> None:
    commands, error = decode_frame(codec, frame)
    assert error is None or type(error) is DecodeError
    assert commands or error
    for decode in (codec.decode_connect, codec.decode_emulation, codec.decode_replies):
        with suppress(DecodeError):
            assert decode(frame) is not None


@relaxed
@given(st.binary(max_size=200))
@example(b"\xff" * 11)
def test_random_bytes(frame):
    for codec in CODECS:
        check_decodes_or_refuses(codec, frame)


@relaxed
@given(
    st.lists(messages(CLIENT.table, Command), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), st.binary(max_size=3)), max_size=3),
)
def test_damaged_frames(commands, damages):
    for codec in CODECS:
        frame = codec.join([codec.encode_command(c) for c in commands])
        for at, count, new in damages:
            frame = frame[:at] + new + frame[at + count :]
        check_decodes_or_refuses(codec, frame)


TOKENS = [
    *"{}[]:,",
    *('"a"', '"\\ud800"', '"\\n"', '"é"', '"', "\\", "\n", "\t", " "),
    *("1", "-0", "1.5e3", "01", "true", "false", "null", "nul"),
]
fragments = st.lists(st.sampled_from(TOKENS), max_size=8).map("".join)


def python_accepts(data: bytes) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(data, parse_constant=refuse)
    except ValueError:
        return False
    return True


@settings(max_examples=1000)
@given(fragments)
def test_the_check_of_payloads_agrees_with_python(fragment):
    from flyball.protocol.json_writer import _is_json_slow

    data = fragment.encode()
    assert is_json(data) == python_accepts(data)
    assert _is_json_slow(data) == python_accepts(data)


@settings(max_examples=500)
@given(fragments, messages(CLIENT.table, Publication, 1))
def test_a_payload_cannot_change_the_message_around_it(fragment, publication):
    publication.data = Raw(fragment.encode())
    try:
        line = JSON.encode_publication_push("c", publication)
    except EncodeError:
        return
    reply = json.loads(line)
    assert list(reply) == ["push"]
    assert list(reply["push"]) == ["channel", "pub"]
    read = JSON.decode_replies(line)[0].push.pub
    assert (read.offset, read.tags, read.key) == (
        publication.offset,
        publication.tags or None,
        publication.key,
    )
