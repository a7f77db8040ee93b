"""Chunked bodies: content, where they end, and their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.http.body import MAX_FRAMING, BadChunks, ChunkedBody


def decode(data, cuts=()):
    """Content and what is left after it; None for the latter if the body has not ended."""
    body, buffer = ChunkedBody(), bytearray()
    start = 0
    for end in (*sorted(cuts), len(data)):
        buffer += data[start:end]
        start = max(start, end)
        while buffer:
            if body.feed(buffer):
                return bytes(body.content), bytes(buffer) + data[start:]
    return bytes(body.content), None


NEXT = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("rest", [b"", b"x", b"\r\n", NEXT, NEXT + NEXT])
@pytest.mark.parametrize(
    ("chunks", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"1\r\na\r\n0A\r\nbcdefghijk\r\n00\r\n\r\n", b"abcdefghijk"),
        (b"5  \r\nhello\r\n0\r\n\r\n", b"hello"),
        (b'5;a=b;c="d;e"\r\nhello\r\n0;f\r\n\r\n', b"hello"),
        (b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n" * 4),
        (b"5\r\nhello\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n", b"hello"),
    ],
)
def test_bodies_end_where_they_end(chunks, content, rest):
    data = chunks + rest
    assert decode(data) == (content, rest)
    assert decode(data, range(1, len(data))) == (content, rest)


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40) | st.just(b"\r\n\r\n"), max_size=5),
    rest=st.sampled_from([b"", b"\r\n\r\n", NEXT]),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_any_content_cut_anywhere(parts, rest, cuts):
    chunks = b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in parts])
    assert decode(chunks + b"0\r\n\r\n" + rest, cuts) == (b"".join(parts), rest)


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5\nhello\n0\n\n",
        b"5\r\nhellox\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"f" * 17 + b"\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"0\r\nno trailer\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_what_is_no_chunk_is_refused(data):
    with pytest.raises(BadChunks):
        decode(data)
    with pytest.raises(BadChunks):
        decode(data, range(1, len(data)))


@pytest.mark.parametrize("step", [1, 100, MAX_FRAMING, 10 * MAX_FRAMING])
@pytest.mark.parametrize(
    "data",
    [
        b"5;" + b"a" * (3 * MAX_FRAMING),
        b"5;" + b"a" * (3 * MAX_FRAMING) + b"\r\nhello\r\n0\r\n\r\n",
        b"0" * (3 * MAX_FRAMING),
        b"0\r\n" + b"a" * (3 * MAX_FRAMING),
        b"0\r\n" + b"a: b\r\n" * MAX_FRAMING + b"\r\n",
    ],
)
def test_framing_has_bounds(data, step):
    with pytest.raises(BadChunks):
        decode(data, range(step, len(data), step))


def test_long_content_has_no_bound_here():
    content = b"x" * 1_000_000
    assert decode(b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)) == (content, b"")
