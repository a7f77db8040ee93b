"""The NATS protocol as bytes: whole, in pieces, and malformed."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.engines.nats import wire


class Told:
    def __init__(self):
        self.said = []

    def on_message(self, sid, subject, reply, headers, data):
        self.said.append(("message", sid, subject, reply, headers, data))

    def on_info(self, info):
        self.said.append(("info", info))

    def on_ping(self):
        self.said.append(("ping",))

    def on_pong(self):
        self.said.append(("pong",))

    def on_error(self, text):
        self.said.append(("error", text))


STREAM = (
    b"INFO {\"max_payload\":9}\r\nPING\r\n+OK\r\npong\r\n-ERR 'No such'\r\n"
    b"MSG a.b 1 3\r\nxyz\r\nMSG c 22 reply.to 0\r\n\r\n"
    b"HMSG d 3 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHMSG e 4 r 30 32\r\nNATS/1.0 503 no\r\nA: b\r\nA: \r\n\r\n\r\n\r\n"
)
SAID = [
    ("info", {"max_payload": 9}),
    ("ping",),
    ("pong",),
    ("error", "No such"),
    ("message", 1, b"a.b", b"", b"", b"xyz"),
    ("message", 22, b"c", b"reply.to", b"", b""),
    ("message", 3, b"d", b"", b"NATS/1.0\r\n\r\n", b"hi"),
]


@given(st.lists(st.integers(1, 40)))
def test_pieces_say_the_same(sizes):
    stream = STREAM[: STREAM.index(b"HMSG e")]
    told = Told()
    parser = wire.Parser(told)
    start = 0
    for size in [*sizes, len(stream)]:
        parser.feed(stream[start : start + size])
        start += size
    assert told.said == SAID


def test_a_long_message_in_pieces():
    told = Told()
    parser = wire.Parser(told)
    parser.feed(b"MSG a 1 100000\r\n")
    for _ in range(100):
        parser.feed(b"x" * 1000)
    assert told.said == []
    parser.feed(b"\r\n")
    assert told.said[0][-1] == b"x" * 100_000


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"MSG a 1 x\r\n",
        b"MSG\r\n",
        b"MSG a 1\r\n1",
        b"MSG a 1 -5\r\n",
        b"MSG a 1 999999999\r\n",
        b"MSG a 1 1\r\nxyz",
        b"HMSG a 1 9 3\r\n",
        b"INFO [\r\n",
        b"INFO []\r\n",
        b"x" * (wire.MAX_LINE + 1),
    ],
)
def test_malformed(data):
    with pytest.raises(wire.ProtocolError):
        wire.Parser(Told()).feed(data + b"\r\n" if data[:1] == b"M" and b"\n" not in data else data)


@given(st.binary(max_size=200))
def test_nothing_else_is_raised(data):
    with contextlib.suppress(wire.ProtocolError):
        wire.Parser(Told()).feed(data)


def test_commands():
    assert wire.sub(b"a", 3) == b"SUB a 3\r\n"
    assert wire.unsub(3) == b"UNSUB 3\r\n"
    assert wire.pub(b"a", b"xy") == b"PUB a 2\r\nxy\r\n"
    assert wire.pub(b"a", b"xy", b"r") == b"PUB a r 2\r\nxy\r\n"
    headers = wire.header_block({"A": "b"})
    assert wire.pub(b"a", b"xy", b"r", headers) == (
        b"HPUB a r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nxy\r\n"
    )
    assert wire.connect({"a": 1}) == b'CONNECT {"a":1}\r\n'


def test_headers():
    assert wire.read_headers(b"") == {}
    found = wire.read_headers(b"NATS/1.0 408 Request Timeout\r\nA: b\r\na: c\r\nbad\r\n\r\n")
    assert found == {"status": "408", "description": "Request Timeout", "a": "b"}


def test_headers_as_they_stand_there():
    block = b"NATS/1.0\r\nTag-Kind: a:b \r\ntag-kind: c\r\nTag-Kind: d\r\nbad\r\n\r\n"
    assert wire.header_fields(block) == {"Tag-Kind": "a:b", "tag-kind": "c"}
