"""The JSON codec: tolerance for input, escapes and raw payloads in output."""

from __future__ import annotations

import json

import pytest
from commands import decode_frame
from msgspec import Raw

from flyball.protocol.codec import DecodeError, EncodeError
from flyball.protocol.json_codec import JSON
from flyball.protocol.json_writer import is_json
from flyball.protocol.messages import (
    NO_DATA,
    ClientInfo,
    Command,
    ConnectRequest,
    ConnectResult,
    Error,
    HistoryRequest,
    HistoryResult,
    Join,
    PresenceResult,
    PresenceStatsResult,
    Publication,
    PublishRequest,
    PublishResult,
    Push,
    Reply,
    RPCResult,
    StreamPosition,
    SubscribeRequest,
    SubscribeResult,
)


def one(frame: bytes) -> Command:
    commands, error = decode_frame(JSON, frame)
    assert error is None
    (command,) = commands
    return command


def broken(frame: bytes) -> list[Command]:
    commands, error = decode_frame(JSON, frame)
    assert isinstance(error, DecodeError)
    assert str(error)
    return commands


# --- reading -------------------------------------------------------------------------------


def test_a_frame_is_lines_and_the_last_may_be_empty():
    for frame in (b'{"id":1}\n{"id":2}', b'{"id":1}\n{"id":2}\n', b'{"id":1}\r\n {"id":2} '):
        commands, error = decode_frame(JSON, frame)
        assert error is None
        assert [c.id for c in commands] == [1, 2]


@pytest.mark.parametrize("frame", [b"", b"\n", b"\n\n", b" ", b"\n{}"])
def test_a_frame_without_a_first_command_is_an_error(frame):
    assert broken(frame) == []


def test_commands_before_the_broken_line_are_given():
    assert [c.id for c in broken(b'{"id":1}\n{"id":2}\n\n{"id":3}')] == [1, 2]
    assert [c.id for c in broken(b'{"id":1}\n{"id":2}x')] == [1]
    assert [c.id for c in broken(b'{"id":1}\n{"rpc":{"data":"\xff"}}\n{}')] == [1]


def test_names_in_any_case_unknown_names_and_nulls():
    command = one(
        b'{"ID":2,"Subscribe":{"CHANNEL":"a","zzz":[1,{"x":null}],"TF":{"Nodes":[{"kEy":"k"},null]}'
        b',"Recover":TRUE}}'.replace(b"TRUE", b"true")
    )
    assert command.id == 2
    assert command.subscribe.channel == "a"
    assert command.subscribe.recover is True
    assert [n.key for n in command.subscribe.tf.nodes] == ["k", ""]
    command = one(b'{"id":null,"connect":{"token":null,"subs":{"a":null,"b":{"offset":null}}}}')
    assert command.id == 0
    assert command.connect.token == ""
    assert set(command.connect.subs) == {"a", "b"}
    flags = one(b'{"ID":1,"subscribe":{"recover":false,"positioned":true},"zzz":-1e5}')
    assert (flags.subscribe.recover, flags.subscribe.positioned) == (False, True)
    assert one(b'{"id":2,"rpc":null}') == Command(id=2)
    assert one(b"null") == Command()
    assert one(b'{"connect":{"headers":{"a":null},"zzz":1}}').connect.headers == {"a": ""}


def test_a_payload_keeps_its_text():
    text = rb' {"a" :  [1,2.50 , "\u00e9\/\ud83d\ude00"]}'
    for frame in (b'{"publish":{"data":%s}}' % text, b'{"PUBLISH":{"data":%s}}' % text):
        assert bytes(one(frame).publish.data).strip() == text.strip()
    assert bytes(one(b'{"publish":{"data":null}}').publish.data) == b"null"
    assert bytes(one(b'{"publish":{"DATA":null}}').publish.data) == b"null"
    assert one(b'{"publish":{}}').publish.data is NO_DATA
    assert one(b'{"PUBLISH":{}}').publish.data is NO_DATA


def test_a_payload_does_not_keep_the_frame_alive():
    for request in ("publish", "rpc", "send", "subscribe", "connect"):
        frame = b'{"%s":{"data":[1]}}' % request.encode()
        data = getattr(one(frame), request).data
        assert memoryview(data).obj is not frame
        assert data.copy() is data, "it owns its bytes"


def test_lone_surrogates_in_escapes():
    command = one(rb'{"publish":{"channel":"a\ud800b","data":"\ud800"}}')
    assert command.publish.channel == "a\ufffdb"
    assert bytes(command.publish.data) == rb'"\ud800"'
    assert one(rb'{"publish":{"channel":"\ud83d\ude00"}}').publish.channel == "\U0001f600"


@pytest.mark.parametrize(
    "frame",
    [
        b'{"id":"2"}',
        b'{"id":1.0}',
        b'{"id":1e0}',
        b'{"id":01}',
        b'{"id":-1}',
        b'{"id":4294967296}',
        b'{"ID":4294967296}',
        b'{"id":' + b"9" * 5000 + b"}",
        b'{"id":true}',
        b'{"subscribe":{"offset":18446744073709551616}}',
        b'{"connect":{"subs":{"a":{"offset":18446744073709551616}}}}',
        b'{"history":{"since":{"offset":18446744073709551616}}}',
        b'{"connect":{},"history":{"since":{"offset":18446744073709551616}}}',
        b'{"sub_refresh":{"track":[{"items":[{"version":18446744073709551616}]}]}}',
        b'{"subscribe":{"flag":9223372036854775808}}',
        b'{"subscribe":{"recover":1}}',
        b'{"subscribe":[]}',
        b'{"subscribe":{"tf":{"vals":"a"}}}',
        b'{"subscribe":{"tf":{"vals":[1]}}}',
        b'{"subscribe":{"channel":1}}',
        b'{"publish":{"data":NaN}}',
        b'{"publish":{"DATA":Infinity}}',
        b'{"publish":{"data":[1,]}}',
        b'{"publish":{"data":01}}',
        b'{"publish":{"data":"\x01"}}',
        b'{"publish":{"data":"\\x"}}',
        b'{"publish":{"data":"\xff"}}',
        b'{"publish":{"channel":"\xc3("}}',
        b'{"PUBLISH":{"channel":"\xed\xa0\x80"}}',
        b'{"publish":{"data":}}',
        b'{"id":1}{"id":2}',
        b'{"id":1},',
        b'{"ID":1 "x":2}',
        b'{"ID":1,}',
        b"{ID:1}",
        b"[]",
        b"1",
        b'"x"',
        b"\xef\xbb\xbf{}",
        b"{",
        b"zzz",
        b"\x00",
    ],
)
def test_wrong_types_and_broken_json(frame):
    assert broken(frame) == []


def test_the_largest_numbers():
    command = one(
        b'{"id":4294967295,"subscribe":{"offset":18446744073709551615,'
        b'"flag":-9223372036854775808,"limit":-2147483648}}'
    )
    assert command.id == 2**32 - 1
    assert command.subscribe.offset == 2**64 - 1
    assert command.subscribe.flag == -(2**63)
    assert one(b'{"ID":1,"subscribe":{"offset":18446744073709551615}}').id == 1


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("name", [b"data", b"DATA", b"zzz"])
def test_nesting_bombs(opening, name):
    broken(b'{"publish":{"%s":%s' % (name, opening * 20_000))
    broken(b'{"publish":{"%s":%s}}' % (name, b"[" * 20_000 + b"]" * 20_000))


def test_nested_filters():
    frame = b'{"subscribe":{"tf":' + b'{"nodes":[' * 8000 + b"]}" * 8000 + b"}}"
    broken(frame)
    broken(frame.replace(b"nodes", b"NODES"))


def test_connect_of_unidirectional_transports():
    request = JSON.decode_connect(b'{\n "token": "t",\n "SUBS": {"a": {"recover": true}}\n}\n')
    assert request.token == "t"
    assert request.subs["a"].recover is True
    assert JSON.decode_connect(b"null").token == ""
    for message in (b"", b"zz", b"[]", b'{"token":1}', b'"\xff"'):
        with pytest.raises(DecodeError):
            JSON.decode_connect(message)


def test_emulation_data_is_a_string_or_nothing():
    decode = JSON.decode_emulation
    request = decode(rb'{"node":"n","session":"s","data":"{\"id\":1}\n{\"id\":2}"}')
    assert (request.node, request.session) == ("n", "s")
    assert bytes(request.data) == b'{"id":1}\n{"id":2}'
    for data in (b"{}", b"1", b"null", b'""', rb'"\ud800"'):
        assert decode(b'{"data":%s}' % data).data is NO_DATA
    assert decode(b"{}").data is NO_DATA


# --- writing -------------------------------------------------------------------------------


def push(**fields) -> bytes:
    """A publication push without its wrapping."""
    line = JSON.encode_publication_push("c", Publication(**fields))
    assert line == JSON.encode_reply(Reply(push=Push(channel="c", pub=Publication(**fields))))
    uni = JSON.encode_publication_uni("c", Publication(**fields))
    assert line == b'{"push":' + uni + b"}"
    assert uni == JSON.encode_push(Push(channel="c", pub=Publication(**fields)))
    start = b'{"push":{"channel":"c","pub":'
    assert line.startswith(start)
    assert line.endswith(b"}}")
    return line[len(start) : -2]


def test_zero_values_are_left_out_but_for_eight_fields():
    encode = JSON.encode_reply
    assert encode(Reply()) == b"{}" == JSON.ping
    assert encode(Reply(id=3, publish=PublishResult())) == b'{"id":3,"publish":{}}'
    assert JSON.encode_publish_reply(3) == b'{"id":3,"publish":{}}'
    assert JSON.encode_publish_reply(0) == encode(Reply(publish=PublishResult()))
    assert encode(Reply(presence=PresenceResult({}))) == b'{"presence":{"presence":{}}}'
    assert (
        encode(Reply(presence_stats=PresenceStatsResult(0, 0)))
        == b'{"presence_stats":{"num_clients":0,"num_users":0}}'
    )
    assert (
        encode(Reply(history=HistoryResult([], "", 0)))
        == b'{"history":{"publications":[],"epoch":"","offset":0}}'
    )
    join = Push(channel="c", join=Join(ClientInfo("", "")))
    assert JSON.encode_push(join) == b'{"channel":"c","join":{"info":{"user":"","client":""}}}'
    assert encode(Reply(rpc=RPCResult())) == b'{"rpc":{}}'
    assert push() == b"{}"


def test_empty_containers_and_payloads_are_absent():
    assert push(data=Raw(b""), tags={}, prev_data=Raw(b"")) == b"{}"
    assert push(data=Raw(b"1"), tags={}) == b'{"data":1}'
    assert JSON.encode_reply(Reply(connect=ConnectResult(subs={}))) == b'{"connect":{}}'
    result = SubscribeResult(publications=[Publication(data=Raw(b""))], state=[])
    assert JSON.encode_reply(Reply(subscribe=result)) == b'{"subscribe":{"publications":[{}]}}'
    presence = PresenceResult({"a": ClientInfo("u", "a", conn_info=Raw(b""))})
    assert (
        JSON.encode_reply(Reply(presence=presence))
        == b'{"presence":{"presence":{"a":{"user":"u","client":"a"}}}}'
    )


UNSAFE = '\x00\x08\x09\x0a\x0c\x0d\x1f"\\/<>&\x7f\u2028\u2029é\ufffd\ud800'
ESCAPED = (
    r"\u0000\u0008\t\n\u000c\r\u001f\"\\/\u003c\u003e\u0026"
    "\x7f"
    r"\u2028\u2029"
    "é\ufffd"
    r"\ufffd"
).encode()


def test_escapes_of_strings():
    error = Error(code=100, message=UNSAFE)
    line = JSON.encode_reply(Reply(error=error))
    assert line == b'{"error":{"code":100,"message":"%s"}}' % ESCAPED
    for index, char in enumerate(UNSAFE):
        line = JSON.encode_reply(Reply(error=Error(message=f"a{char}b")))
        text = json.loads(line)["error"]["message"]
        assert text == f"a{char}b".replace("\ud800", "\ufffd"), index
        assert not set(line) & set(b"<>&\n\r\t\b\f")
    assert push(tags={UNSAFE: "<"}) == b'{"tags":{"%s":"\\u003c"}}' % ESCAPED
    line = JSON.encode_publication_push("<", Publication(data=Raw(b'"<"')))
    assert line == b'{"push":{"channel":"\\u003c","pub":{"data":"<"}}}'


def test_payloads_are_copied_through_but_for_line_breaks():
    text = b' {"a" : "<b>&\\u003c\xe2\x80\xa8\\/" ,\t\r "b":[1, 2.50e+1]} '
    assert push(data=Raw(text)) == b'{"data":%s}' % text
    assert push(data=Raw(text), key="<") == b'{"data":%s,"key":"\\u003c"}' % text
    assert push(data=Raw(b'{"a":\n 1\n}\n')) == b'{"data":{"a": 1}}'
    assert push(data=Raw(b"1\n2")) == b'{"data":12}'
    info = ClientInfo("u", "c", conn_info=Raw(b"[\n]"), chan_info=Raw(b'"&"'))
    assert push(info=info) == b'{"info":{"user":"u","client":"c","conn_info":[],"chan_info":"&"}}'


NOT_ONE_VALUE = [
    b'1},"x":{',
    b'1,"offset":5',
    b'"',
    b"1 2",
    b"{}{}",
    b"[1,]",
    b'{"a":1,}',
    b'{"a" 1}',
    b'{1:"a"}',
    b"{,}",
    b"[",
    b"]",
    b"}",
    b"[}",
    b'{"a":]',
    b":",
    b",",
    b"01",
    b"1e",
    b"-",
    b"+1",
    b"nul",
    b"NaN",
    b"truefalse",
    b'"\x01"',
    b'"\xff"',
    b'"\xc3',
    b'"\\ud80"',
    b"\x00\x01",
    b" ",
    b"[" * 5000,
    b"[" * 5000 + b"]" * 4999,
]


@pytest.mark.parametrize("data", NOT_ONE_VALUE, ids=lambda d: repr(d[:12]))
def test_a_payload_has_to_be_one_json_value(data):
    raw = Raw(data)
    for reply in (
        Reply(push=Push(channel="c", pub=Publication(data=raw))),
        Reply(push=Push(channel="c", pub=Publication(data=raw, tags={}))),
        Reply(rpc=RPCResult(raw)),
        Reply(connect=ConnectResult(data=raw)),
        Reply(connect=ConnectResult(subs={"a": SubscribeResult(data=raw)})),
        Reply(subscribe=SubscribeResult(publications=[Publication(data=raw)])),
        Reply(presence=PresenceResult({"a": ClientInfo("u", "c", chan_info=raw)})),
    ):
        with pytest.raises(EncodeError):
            JSON.encode_reply(reply)
    with pytest.raises(EncodeError):
        JSON.encode_publication_push("c", Publication(data=raw))
    with pytest.raises(EncodeError):
        JSON.encode_publication_uni("c", Publication(data=raw))


def test_payloads_deeper_than_the_call_stack_pass():
    # they can come from elsewhere; a subscriber must not be closed for them
    deep = b'[{"a":' * 5000 + b'"\\ud800"' + b"}]" * 5000
    assert push(data=Raw(deep)) == b'{"data":%s}' % deep
    assert is_json(b"[" * 5000 + b"]" * 5000)


def test_lone_surrogate_escapes_in_payloads_pass():
    assert push(data=Raw(rb'"\ud800"')) == rb'{"data":"\ud800"}'


def test_numbers_of_64_bits():
    assert push(offset=2**64 - 1, time=-(2**63)) == (
        b'{"offset":18446744073709551615,"time":-9223372036854775808}'
    )


def test_join():
    assert JSON.join([b"{}"]) == b"{}"
    assert JSON.join([b"{}", b"{}"]) == b"{}\n{}"


# --- delta ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\n", b"\n\n"])
def test_a_payload_of_line_breaks_alone_is_null(data):
    publication = Publication(data=Raw(data))
    assert JSON.encode_publication_uni("a", publication) == b'{"channel":"a","pub":{"data":null}}'
    with pytest.raises(EncodeError):
        JSON.encode_publication_uni("a", Publication(data=Raw(b" \n")))


def test_delta_publications_hold_strings():
    publication = Publication(data=Raw(b'{"t": "<\\n"}'), offset=1, epoch="e", tags={"a": "b"})
    full = JSON.delta_publication(publication, None)
    assert bytes(full.data) == rb'"{\"t\": \"\u003c\\n\"}"'
    assert (full.delta, full.epoch, full.offset, full.tags) == (False, "", 1, {"a": "b"})
    patched = JSON.delta_publication(publication, b"u\ns@0,2:2}qKNfK;")
    assert bytes(patched.data) == rb'"u\ns@0,2:2}qKNfK;"'
    assert (patched.delta, patched.epoch) == (True, "")
    assert bytes(publication.data) == b'{"t": "<\\n"}', "the original is not touched"
    assert (publication.epoch, publication.delta) == ("e", False)


def test_delta_of_a_removal_is_an_empty_string():
    removal = Publication(offset=4, key="k", removed=True)
    copy = JSON.delta_publication(removal, None)
    assert push(data=copy.data, removed=True) == b'{"data":"","removed":true}'


def test_a_patch_that_is_no_text_gives_the_full_value():
    publication = Publication(data=Raw('"é"'.encode()))
    copy = JSON.delta_publication(publication, b"4\n2@0,1:\xa92A;")
    assert copy.delta is False
    assert json.loads(bytes(copy.data)) == '"é"'


def test_delta_of_binary_data_is_refused():
    with pytest.raises(EncodeError):
        JSON.delta_publication(Publication(data=Raw(b"\xff")), None)


# --- as a client ---------------------------------------------------------------------------


def test_commands_of_a_client():
    command = Command(id=1, publish=PublishRequest("<", Raw(b"[1]")))
    line = JSON.encode_command(command)
    assert line == b'{"id":1,"publish":{"channel":"\\u003c","data":[1]}}'
    assert one(line) == command
    with pytest.raises(DecodeError):
        JSON.decode_replies(b"x")
    with pytest.raises(DecodeError):
        JSON.decode_push(b"x")
    presence = JSON.decode_replies(b'{"presence":{}}\n{"history":{}}')
    assert presence[0].presence.presence == {}
    assert presence[1].history == HistoryResult([], "", 0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b'{"id":2,"subscribe":{"channel":"a"},"subscribe":{"recover":true}}',
            Command(2, subscribe=SubscribeRequest("a", recover=True)),
        ),
        (
            b'{"id":2, "subscribe": {"channel":"a","offset":3}, "subscribe": {"offset":0}}',
            Command(2, subscribe=SubscribeRequest("a", offset=0)),
        ),
        (
            b'{"id":2,"publish":{"channel":"a"},"publish":{"data":{"publish":1}}}',
            Command(2, publish=PublishRequest("a", Raw(b'{"publish":1}'))),
        ),
        (
            b'{"id":1,"connect":{"subs":{"a":{"recover":true}},"subs":{"b":{}}}}',
            Command(
                1,
                connect=ConnectRequest(
                    subs={"a": SubscribeRequest(recover=True), "b": SubscribeRequest()}
                ),
            ),
        ),
        (
            b'{"id":1,"connect":{"headers":{"a":"1"},"headers":{"b":"2"}}}',
            Command(1, connect=ConnectRequest(headers={"a": "1", "b": "2"})),
        ),
        (
            b'{"id":2,"history":{"channel":"a","since":{"offset":3},"since":{"epoch":"x"}}}',
            Command(2, history=HistoryRequest("a", since=StreamPosition(3, "x"))),
        ),
    ],
)
def test_objects_of_one_name_are_merged(line, expected):
    assert JSON.decode_command(line, 0)[0] == expected


def test_thousands_of_one_name_are_merged():
    """A frame of strangers may have so many: the work grows with them, not with their square."""
    names = [f"ch{n}" for n in range(3_000)]
    subs = ",".join(f'"subs":{{"{name}":{{}}}}' for name in names)
    line = f'{{"id":1,"connect":{{{subs}}}}}'.encode()
    assert list(JSON.decode_command(line, 0)[0].connect.subs) == names


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":2,"subscribe":{"channel":"a","recover":true,"offset":-0}}',
        b'{"id":2,"history":{"channel":"a","since":{"offset": -0}}}',
        b'{"id":1,"connect":{"subs":{"a":{"offset":-0}}}}',
    ],
)
def test_minus_nothing_is_no_unsigned_number(line):
    with pytest.raises(DecodeError):
        JSON.decode_command(line, 0)


def test_minus_nothing_elsewhere():
    line = b'{"id":2,"history":{"channel":"a-0","limit":-0,"since":{"offset":1}}}'
    command = JSON.decode_command(line, 0)[0]
    assert (command.history.limit, command.history.channel) == (0, "a-0")
