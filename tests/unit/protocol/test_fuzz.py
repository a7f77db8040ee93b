"""Both codecs under random messages, random bytes and damaged frames."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct

from flyball.protocol.client import CLIENT
from flyball.protocol.codec import Codec, DecodeError, EncodeError
from flyball.protocol.fields import FieldKind, MessageField
from flyball.protocol.json_codec import JSON
from flyball.protocol.json_writer import is_json
from flyball.protocol.messages import NO_DATA, Command, Publication, Push, Reply
from flyball.protocol.protobuf_codec import PROTOBUF

pytestmark = pytest.mark.exhaustive

CODECS: tuple[Codec, ...] = (JSON, PROTOBUF)

text = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["<", "\u2028", "\b"])
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
payloads = (
    st.just(NO_DATA)
    | json_values.map(lambda v: Raw(json.dumps(v).encode()))
    | (json_values.map(lambda v: Raw(json.dumps(v, ensure_ascii=False, indent=" ").encode())))
)


def values(field: MessageField, depth: int) -> st.SearchStrategy[Any]:
    match field.kind:
        case FieldKind.TEXT:
            return text
        case FieldKind.FLAG:
            return st.booleans()
        case FieldKind.NUMBER:
            return st.integers(field.low, field.high)
        case FieldKind.PAYLOAD:
            return payloads
        case FieldKind.TEXTS:
            return st.lists(text, max_size=3)
        case FieldKind.TEXT_MAP:
            return st.dictionaries(text, text, min_size=1, max_size=3)
    inner = messages(field.message, depth - 1)
    match field.kind:
        case FieldKind.MESSAGE:
            return inner
        case FieldKind.MESSAGES:
            return st.lists(inner, max_size=2)
        case _:
            return st.dictionaries(text, inner, min_size=0 if field.always else 1, max_size=2)


def messages(message: type[Struct], depth: int = 4) -> st.SearchStrategy[Any]:
    fields = [f for f in CLIENT.table[message] if f.message is None or depth]
    required = {f.name: values(f, depth) for f in fields if f.always}
    optional = {f.name: st.deferred(lambda f=f: values(f, depth)) for f in fields if not f.always}
    return st.fixed_dictionaries(required).flatmap(
        lambda given_: (
            st.lists(st.sampled_from(sorted(optional)), max_size=3, unique=True).flatmap(
                lambda names: st.fixed_dictionaries({n: optional[n] for n in names}).map(
                    lambda chosen: message(**given_, **chosen)
                )
            )
            if optional
            else st.just(message(**given_))
        )
    )


relaxed = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=150)


def without_breaks(value: Any) -> Any:
    """``value`` as a JSON client gets it: payloads without line breaks."""
    if isinstance(value, Raw):
        return Raw(bytes(value).replace(b"\n", b"")) if value else NO_DATA
    if isinstance(value, list):
        return [without_breaks(v) for v in value]
    if isinstance(value, dict):
        return {k: without_breaks(v) for k, v in value.items()}
    if isinstance(value, Struct):
        return type(value)(
            *(without_breaks(getattr(value, f.name)) for f in CLIENT.table[type(value)])
        )
    return value


@relaxed
@given(messages(Command))
def test_commands_survive(command):
    line = JSON.encode_command(command)
    assert b"\n" not in line
    assert line == CLIENT.json_writer.write(command), "the fast and the exact writer agree"
    plain = without_breaks(command)
    assert JSON.decode_frame(line) == ([plain], None)
    assert CLIENT.json_reader.read(Command, line) == plain, (
        "the strict and the tolerant reader agree"
    )
    assert CLIENT.json_reader.read(Command, swap_names(line)) == plain
    assert PROTOBUF.decode_frame(PROTOBUF.encode_command(command)) == ([command], None)


def swap_names(line: bytes) -> bytes:
    """``line`` with the name of each request in capitals."""
    for field in CLIENT.table[Command]:
        name = f'"{field.name}":{{'.encode()
        line = line.replace(b"," + name, b"," + name.upper())
    return line


@relaxed
@given(messages(Reply))
def test_replies_survive(reply):
    line = JSON.encode_reply(reply)
    assert line == CLIENT.json_writer.write(reply)
    assert JSON.decode_replies(line) == [without_breaks(reply)]
    json.loads(line)
    assert PROTOBUF.decode_replies(PROTOBUF.encode_reply(reply)) == [reply]


@relaxed
@given(text, messages(Publication))
def test_publication_pushes_are_the_general_form(channel, publication):
    push = Push(channel=channel, pub=publication)
    for codec in CODECS:
        uni = codec.encode_publication_uni(channel, publication)
        assert uni == codec.encode_push(push)
        wrapped = codec.encode_publication_push(channel, publication)
        assert wrapped == codec.encode_reply(Reply(push=push))
        assert codec.decode_push(uni).channel == channel


def check_decodes_or_refuses(codec: Codec, frame: bytes) -> None:
    commands, error = codec.decode_frame(frame)
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
    st.lists(messages(Command), min_size=1, max_size=3),
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


@settings(max_examples=1000, deadline=None)
@given(fragments)
def test_the_check_of_payloads_agrees_with_python(fragment):
    from flyball.protocol.json_writer import _is_json_slow

    data = fragment.encode()
    assert is_json(data) == python_accepts(data)
    assert _is_json_slow(data) == python_accepts(data)


@settings(max_examples=500, deadline=None)
@given(fragments, messages(Publication, 1))
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
