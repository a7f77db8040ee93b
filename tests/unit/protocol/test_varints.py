"""Messages cut between their fields."""

import pytest

from flyball.core.control import CONTROL
from flyball.core.control_messages import ChannelInfo, ChannelsResult
from flyball.protocol.codec import DecodeError
from flyball.protocol.varints import cut_message, read_varint, varint


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16383, 16384, 2**32, 2**64 - 1])
def test_there_and_back(value):
    written = varint(value)
    assert read_varint(b"x" + written + b"y", 1) == (value, 1 + len(written))


def test_parts_are_messages_that_make_up_the_whole():
    channels = {f"channel-{n}" + "x" * n: ChannelInfo(n) for n in range(300)}
    whole = CONTROL.protobuf.write(ChannelsResult(channels))
    parts = list(cut_message(whole, 100))
    assert len(parts) == 3
    assert b"".join(parts) == whole
    read = [CONTROL.protobuf.read(ChannelsResult, part).channels for part in parts]
    assert [len(part) for part in read] == [100, 100, 100]
    assert read[0] | read[1] | read[2] == channels
    assert len(list(cut_message(whole, 299))) == 2
    assert list(cut_message(b"", 5)) == []


def test_fields_of_every_wire_type_are_passed_over():
    fields = [b"\x08\x96\x01", b"\x11" + bytes(8), b"\x1a\x02hi", b"\x25" + bytes(4)]
    assert list(cut_message(b"".join(fields), 1)) == fields


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",  # no length
        b"\x0a\x05hi",  # cut off
        b"\x11\x00",
        b"\x25\x00",
        b"\x08\xff",
        b"\x0b",  # a group
        b"\x0e",  # no wire type at all
        b"\xff" * 11,
    ],
)
def test_malformed(data):
    with pytest.raises(DecodeError):
        list(cut_message(data, 1))
