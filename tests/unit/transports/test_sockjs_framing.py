"""SockJS frames as JavaScript reads them, whatever the messages are."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.transports.sockjs.framing import (
    FRAMING,
    SOCKET_FRAMING,
    BadPayload,
    close_frame,
    join,
    read_messages,
)
from flyball.transports.sockjs.kinds import KINDS, form_of
from flyball.transports.sockjs.pages import frame_ancestors

LOST_ON_THE_WAY = re.compile("[\x00-\x1f\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff]")
"""What a server has to escape (the protocol's test suite)."""

fragile = st.sampled_from(
    '\x00\n\r\x1f\x7f"\\/<>&%\u200c\u2028\u2029\u206f\ufeff\ufff0\uffff\U0001f600'
)
texts = st.text(st.one_of(fragile, st.characters(exclude_categories=["Cs"])))
values = st.dictionaries(texts, texts)
"""What a message says; on the wire it is a line of JSON, perhaps with other escapes."""
batches = st.lists(st.tuples(values, st.booleans()), min_size=1, max_size=5)
BY_NAME = {kind.name: kind for kind in KINDS}


def message(value, escaped):
    return json.dumps(value, ensure_ascii=escaped).encode()


def read(frame):
    """What the protocol's client gets out of an ``a`` frame."""
    assert frame[:1] == b"a"
    text = frame.decode()
    assert not LOST_ON_THE_WAY.search(text)
    return [json.loads(line) for part in json.loads(text[1:]) for line in part.split("\n")]


@given(batches)
def test_frames(batch):
    frame = FRAMING.frame([message(*item) for item in batch])
    assert len(json.loads(frame[1:])) == 1
    assert read(frame) == [value for value, _ in batch]
    socket = SOCKET_FRAMING.frame([message(*item) for item in batch])
    assert socket[0] == 0x81
    assert socket.endswith(frame)


@given(st.lists(batches, min_size=1, max_size=4))
def test_joined_frames(many):
    frames = [FRAMING.frame([message(*item) for item in batch]) for batch in many]
    frame = join(frames)
    assert len(json.loads(frame[1:])) == len(frames)
    assert read(frame) == [value for batch in many for value, _ in batch]


@given(st.integers(3000, 4999), st.text())
def test_close_frames(code, reason):
    frame = close_frame(code, reason).decode()
    assert frame[0] == "c"
    assert not LOST_ON_THE_WAY.search(frame)
    expected = re.sub("[\ud800-\udfff]", "?", reason)
    assert json.loads(frame[1:]) == [code, expected]


@given(batches)
def test_events_are_lines(batch):
    frame = FRAMING.frame([message(*item) for item in batch])
    event = BY_NAME["eventsource"].wrap(frame, b"").decode()
    assert event.startswith("data: ")
    assert event.endswith("\r\n\r\n")
    data = event[6:-4]
    assert not re.search("[\r\n\x00]", data)
    assert re.sub("%25", "%", data).encode() == frame, "as decodeURI reads it"


@given(batches)
def test_scripts_stay_scripts(batch):
    frame = FRAMING.frame([message(*item) for item in batch])
    script = BY_NAME["htmlfile"].wrap(frame, b"").decode()
    literal = script.removeprefix("<script>\np(").removesuffix(");\n</script>\r\n")
    assert "<" not in literal
    assert not re.search("[\r\n\u2028\u2029]", literal)
    assert json.loads(literal).encode() == frame


@given(batches)
def test_calls(batch):
    frame = FRAMING.frame([message(*item) for item in batch])
    call = BY_NAME["jsonp"].wrap(frame, b"a.b").decode()
    literal = call.removeprefix("/**/a.b(").removesuffix(");\r\n")
    assert not re.search("[\r\n\u2028\u2029]", literal)
    assert json.loads(literal).encode() == frame


@given(st.lists(st.text(), max_size=5), st.booleans())
def test_messages_of_clients(texts, escaped):
    payload = json.dumps(texts, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    expected = [t.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in texts]
    try:
        found = [m.decode() for m in read_messages(payload)]
    except BadPayload:
        assert not escaped
        assert any("\ud800" <= c <= "\udfff" for t in texts for c in t), "no UTF-8 at all"
    else:
        assert found == expected


@given(st.binary(max_size=50))
def test_garbage_of_clients(payload):
    with contextlib.suppress(BadPayload):
        assert isinstance(read_messages(payload), list)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("kind", [k for k in KINDS if k.streaming])
def test_broadcasts_are_wrapped_once(kind, chunked):
    form = form_of(kind, chunked=chunked)
    assert form is form_of(kind, chunked=chunked)
    frame = FRAMING.frame([b"{}"])
    first = form.wrap(frame)
    assert form.wrap(frame) is first
    other = FRAMING.frame([b"[]"])
    assert form.wrap(other) != first
    assert form.wrap(frame) == first


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ([], "'self'"),
        (["https://app.example.com"], "'self' https://app.example.com"),
        (
            ["http://localhost:*", "https://*.Example.com/"],
            "'self' http://localhost:* https://*.Example.com",
        ),
        (["*"], ""),
        (["https://a.com", "https://{a,b}.com"], ""),
        (["https://example.*"], ""),
        (["https://a.com; script-src 'none'"], ""),
        (["null"], ""),
    ],
)
def test_who_may_frame_the_iframe_page(origins, expected):
    assert frame_ancestors(origins) == expected
