"""Captured sessions: what clients sent is read, what the server sent is written to the byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import decode_frame

from flyball.protocol.client import CLIENT
from flyball.protocol.codec import Codec, DecodeError
from flyball.protocol.delta import apply_delta, create_delta
from flyball.protocol.fields import FieldKind
from flyball.protocol.json_codec import JSON
from flyball.protocol.messages import ConnectRequest, Push, Reply
from flyball.protocol.protobuf_codec import PROTOBUF

GOLDEN = Path(__file__).parents[2] / "golden"
ROWS = [json.loads(line) for line in (GOLDEN / "wire-examples.jsonl").read_text().splitlines()]
BIDIRECTIONAL = [r for r in ROWS if r["transport"] == "websocket"]
UNIDIRECTIONAL = [r for r in ROWS if r["transport"].startswith("uni_")]

MALFORMED = {
    "command id as string": 0,
    "garbage bytes -> close 3501": 0,
    "malformed JSON -> close 3501": 0,
    "blank line between commands -> close 3501": 1,
    "Protobuf frame shorter than its length prefix -> close 3501": 0,
}
"""Captures whose last frame is broken, and how many commands come before in that frame."""


def case_id(row: dict[str, Any]) -> str:
    return f"{row['config']}-{row['case'][:60]}"


def frames(items: list[Any]) -> Iterator[tuple[Codec, bytes]]:
    """The frames among what was sent or received, with the codec each is for."""
    for item in items:
        if isinstance(item, str):
            text = item.removeprefix("(connection 1) ").removeprefix("(connection 2) ")
            abbreviated = "..." in text
            if text.startswith(('{"', "{}")) and not abbreviated:
                yield JSON, text.encode()
        elif isinstance(item, dict) and "hex" in item:
            data = bytes.fromhex(item["hex"])
            yield (JSON if data[:1] == b"{" else PROTOBUF), data


@pytest.mark.parametrize("row", BIDIRECTIONAL, ids=case_id)
def test_received_replies_are_written_to_the_byte(row):
    for codec, frame in frames(row["received"]):
        replies = codec.decode_replies(frame)
        assert replies
        encoded = [codec.encode_reply(reply) for reply in replies]
        assert codec.join(encoded) == frame


@pytest.mark.parametrize("row", BIDIRECTIONAL, ids=case_id)
def test_sent_commands_are_read(row):
    sent = list(frames(row["sent"]))
    for index, (codec, frame) in enumerate(sent):
        commands, error = decode_frame(codec, frame)
        if row["case"] in MALFORMED and index == len(sent) - 1:
            assert isinstance(error, DecodeError)
            assert len(commands) == MALFORMED[row["case"]]
        else:
            assert error is None
            lines = [x for x in frame.split(b"\n") if x]
            assert codec is PROTOBUF or len(commands) == len(lines)


def test_the_captures_cover_both_encodings():
    seen = [codec for r in BIDIRECTIONAL for codec, _ in frames(r["received"])]
    assert seen.count(JSON) > 150
    assert seen.count(PROTOBUF) > 10


@pytest.mark.parametrize("row", UNIDIRECTIONAL, ids=case_id)
def test_pushes_of_unidirectional_transports(row):
    for item in row["received"]:
        if isinstance(item, dict) and "hex" in item:  # gRPC: no length prefix
            data = bytes.fromhex(item["hex"])
            push = CLIENT.protobuf.read(Push, data)
            assert CLIENT.protobuf.write(push) == data
            continue
        if not isinstance(item, str):
            continue
        for line in item.splitlines():
            text = line.removeprefix("data: ").encode()
            if text.startswith(b"{"):
                assert JSON.encode_push(JSON.decode_push(text)) == text


@pytest.mark.parametrize(
    "row", [r for r in UNIDIRECTIONAL if "alformed" not in r["case"]], ids=case_id
)
def test_connect_requests_of_unidirectional_transports(row):
    for item in row["sent"]:
        if isinstance(item, dict) and "hex" in item:
            request = PROTOBUF.decode_connect(bytes.fromhex(item["hex"]))
            assert request.token == item["decoded"].get("token", "")
            assert request.name == item["decoded"].get("name", "")
        elif isinstance(item, dict) and (item.get("body") or "").startswith(("{", "null")):
            assert isinstance(JSON.decode_connect(item["body"].encode()), ConnectRequest)


def test_emulation_bodies():
    bodies = [
        item["body"]
        for row in ROWS
        if row["transport"] == "emulation"
        for item in row["sent"]
        if item.get("method") == "POST"
    ]
    texts = [b for b in bodies if isinstance(b, str) and b.startswith("{") and len(b) > 1]
    assert len(texts) >= 4
    for text in texts:
        request = JSON.decode_emulation(text.encode())
        data = json.loads(text)["data"]
        assert bytes(request.data).decode() == (data if isinstance(data, str) else "")
    (binary,) = [bytes.fromhex(b["hex"]) for b in bodies if isinstance(b, dict)]
    request = PROTOBUF.decode_emulation(binary)
    commands, error = decode_frame(PROTOBUF, bytes(request.data))
    assert error is None
    assert commands[0].subscribe.channel == "plain:1"
    with pytest.raises(DecodeError):
        JSON.decode_emulation(b"{")


def values_and_patches() -> Iterator[tuple[bytes, bytes, bytes]]:
    """Each captured patch with the value before it and the value it makes."""
    for row in BIDIRECTIONAL:
        base: dict[str, bytes] = {}
        for codec, frame in frames(row["received"]):
            for reply in codec.decode_replies(frame):
                for pub in publications(reply):
                    data = bytes(pub.data)
                    if codec is JSON:
                        value = json.loads(data) if data else None
                        if not isinstance(value, str):
                            continue
                        data = value.encode()
                    if pub.delta and pub.key in base:
                        target = apply_delta(base[pub.key], data)
                        yield base[pub.key], target, data
                        data = target
                    base[pub.key] = data


def publications(reply: Reply) -> Iterator[Any]:
    if reply.push is not None and reply.push.pub is not None:
        yield reply.push.pub
    if reply.subscribe is not None:
        yield from reply.subscribe.state
        yield from reply.subscribe.publications


def test_captured_patches_are_made_again():
    cases = list(values_and_patches())
    assert len(cases) >= 7
    for source, target, patch in cases:
        assert create_delta(source, target) == patch


SCHEMA = json.loads((GOLDEN / "client-protocol.json").read_text())

KINDS = {
    ("string", "singular"): FieldKind.TEXT,
    ("bool", "singular"): FieldKind.FLAG,
    ("bytes", "singular"): FieldKind.PAYLOAD,
    ("string", "repeated"): FieldKind.TEXTS,
}
NUMBERS = {
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "sint64": (-(2**63), 2**63 - 1),
}


def expected_kind(field: dict[str, Any]) -> FieldKind:
    if field["type"] == "map":
        return FieldKind.TEXT_MAP if field["map_value"] == "string" else FieldKind.MESSAGE_MAP
    if field["type"] in NUMBERS:
        return FieldKind.NUMBER
    if field.get("is_message") or field["type"] in SCHEMA["messages"]:
        return FieldKind.MESSAGES if field["label"] == "repeated" else FieldKind.MESSAGE
    return KINDS[field["type"], field["label"]]


def test_structs_are_the_messages_of_the_schema():
    assert {m.__name__ for m in CLIENT.table} == set(SCHEMA["messages"])
    always = set(SCHEMA["always_emitted_in_json"])
    for message, fields in CLIENT.table.items():
        wanted = SCHEMA["messages"][message.__name__]["fields"]
        assert [f.name for f in fields] == [f["name"] for f in wanted]
        for field, facts in zip(fields, wanted, strict=True):
            assert field.kind is expected_kind(facts), (message, field)
            assert field.always == (f"{message.__name__}.{field.name}" in always)
            if field.kind is FieldKind.NUMBER:
                assert (field.low, field.high) == NUMBERS[facts["type"]]
            if field.message is not None:
                inner = facts["map_value"] if facts["type"] == "map" else facts["type"]
                assert field.message.__name__ == inner
