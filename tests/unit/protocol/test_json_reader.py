"""The tolerant rules by themselves, as those use them who read more than messages of the protocol."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import Raw, Struct

from flyball.protocol.codec import DecodeError
from flyball.protocol.fields import FieldKind, field_table
from flyball.protocol.json_reader import JsonReader, clean_text, members


def test_members_come_as_they_are_written():
    data = b' {"a": [1, 2] ,"a":null,"\\u0062":"\\ud800"} '
    assert list(members(data)) == [
        ("a", Raw(b"[1, 2]")),
        ("a", Raw(b"null")),
        ("b", Raw(b'"\\ud800"')),
    ]
    assert list(members(b"{}")) == []
    assert list(members(b" null ")) == []


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"1", b"{", b'{"a"}', b'{"a":1}x', b'{"a":1}}', b'{"a":\xff}', b"null1"]
)
def test_members_of_what_is_no_object(data):
    with pytest.raises(DecodeError):
        list(members(data))


def test_members_that_are_nested_too_deep():
    data = b'{"a":1,"b":' + b"[" * 100_000 + b"}"
    found = members(data)
    assert next(found) == ("a", Raw(b"1"))
    with pytest.raises(DecodeError):
        next(found)


def test_text_has_no_halves_of_surrogate_pairs():
    assert clean_text("plain") == "plain"
    assert clean_text("\ud800é\udfff") == "\ufffdé\ufffd"


class Message(Struct):
    text: str = ""
    own: Raw | int = 0


def own(written: Raw) -> int:
    if not bytes(written).isdigit():
        raise DecodeError("no digits")
    return int(bytes(written))


def test_a_field_of_another_type_is_made_of_what_is_written():
    class Written(Struct):
        text: str = ""
        own: Raw = Raw()

    (fields,) = field_table((Written,)).values()
    made = (fields[0], replace(fields[1], made=own))
    assert fields[1].kind is FieldKind.PAYLOAD
    read = JsonReader({Message: made}).read
    assert read(Message, b'{"Own":5,"text":"a"}') == Message("a", 5)
    assert read(Message, b'{"own":5,"own":6}') == Message("", 6)
    for wrong in (b"null", b'"x"'):  # null is looked at like any other value
        with pytest.raises(DecodeError, match="no digits"):
            read(Message, b'{"own":%b}' % wrong)
        with pytest.raises(DecodeError, match="no digits"):
            read(Message, b'{"own":%b,"own":5}' % wrong)
