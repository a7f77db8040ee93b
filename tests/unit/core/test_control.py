"""Control messages as bytes: those of Centrifugo's nodes, with ours beside them."""

import msgspec
import pytest

from flyball.core import control
from flyball.core.control import (
    ControlError,
    DisconnectUser,
    Leaving,
    NodeInfo,
    NodeMetrics,
    RefreshUser,
    SubscribeUser,
    SurveyRequest,
    SurveyResponse,
    UnsubscribeUser,
    decode,
    encode,
    options_to_dict,
)
from flyball.core.types import RecoveryMode, StreamPosition, SubscribeOptions

OPTIONS = SubscribeOptions(
    presence=True, positioned=True, recovery_mode=RecoveryMode.CACHE, expire_at=12.5
)
WHO = {"uid": "n1", "user": "ann", "client": "c", "session": "s"}

MESSAGES = [
    NodeInfo(
        uid="n1",
        name="one",
        version="1",
        num_clients=1,
        num_users=2,
        num_subs=3,
        num_channels=4,
        uptime=5,
        metrics=NodeMetrics(60.0, {"a": 1.5}),
    ),
    NodeInfo(
        uid="n1",
        name="",
        version="",
        num_clients=0,
        num_users=0,
        num_subs=0,
        num_channels=0,
        uptime=0,
        metrics=NodeMetrics(1.0, {}),
    ),
    Leaving("n1"),
    SubscribeUser(
        **WHO,
        channel="ch",
        options=options_to_dict(OPTIONS),
        info=b"[1]",
        data=b"\xff",
        since=StreamPosition(7, "e"),
    ),
    UnsubscribeUser(**WHO, channel="ch", code=2000, reason="r"),
    DisconnectUser(**WHO, code=3503, reason="r", whitelist=["a", "b"]),
    RefreshUser(**WHO, expired=True, expire_at=99.0, info=b"{}"),
    SurveyRequest("n1", 2**63, "op", b"x"),
    SurveyResponse("n1", 3, 108, b""),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_there_and_back(message):
    assert decode(encode(message)) == message


def text(number, value):
    value = value.encode() if isinstance(value, str) else value
    return tag(number, 2) + bytes((len(value),)) + value


def tag(number, kind):
    value = number << 3 | kind
    return bytes((value,)) if value < 128 else bytes((value & 127 | 128, value >> 7))


def number(field, value):
    return tag(field, 0) + bytes((value,))


def command(field, body, uid="other"):
    return text(1, uid) + text(field, body)


class TestOfTheOriginal:
    """Bytes with the field numbers of its schema, written by hand."""

    def test_node(self):
        metrics = text(8, b"\x09" + b"\0\0\0\0\0\0N@")
        node = text(1, "u") + text(2, "n") + text(3, "v") + number(4, 1) + number(5, 2)
        node += number(6, 3) + number(7, 4) + metrics + number(10, 5)
        assert decode(command(4, node)) == NodeInfo(
            uid="other",
            name="n",
            version="v",
            num_clients=1,
            num_users=2,
            num_channels=3,
            uptime=4,
            num_subs=5,
            metrics=NodeMetrics(60.0, {}),
        )

    def test_node_without_a_sender(self):
        assert decode(text(4, text(1, "u"))).uid == "u"

    def test_shutdown(self):
        assert decode(command(7, b"")) == Leaving("other")

    def test_subscribe(self):
        body = text(1, "ann") + text(2, "ch") + number(3, 1) + number(4, 1) + number(5, 9)
        body += number(6, 1) + number(7, 1) + text(8, "[1]") + text(9, "c") + text(10, "{}")
        body += (
            text(11, number(1, 5) + text(2, "e")) + text(12, "s") + number(13, 1) + number(14, 10)
        )
        op = decode(command(10, body))
        assert (op.user, op.channel, op.client, op.session) == ("ann", "ch", "c", "s")
        assert (op.info, op.data, op.since) == (b"[1]", b"{}", StreamPosition(5, "e"))
        assert msgspec.convert(op.options, SubscribeOptions) == SubscribeOptions(
            presence=True,
            join_leave=True,
            push_join_leave=True,
            positioned=True,
            recoverable=True,
            expire_at=9.0,
        )

    def test_unsubscribe(self):
        body = (
            text(1, "ch")
            + text(2, "ann")
            + text(3, "c")
            + text(4, "s")
            + number(5, 9)
            + text(6, "r")
        )
        who = {**WHO, "uid": "other"}
        assert decode(command(5, body)) == UnsubscribeUser(**who, channel="ch", code=9, reason="r")

    def test_disconnect(self):
        body = text(1, "ann") + text(2, "x") + text(2, "y") + number(3, 9) + text(4, "r")
        body += number(5, 1) + text(6, "c") + text(7, "s")
        who = {**WHO, "uid": "other"}
        assert decode(command(6, body)) == DisconnectUser(
            **who, code=9, reason="r", whitelist=["x", "y"]
        )

    def test_refresh(self):
        body = (
            text(1, "ann")
            + text(2, "c")
            + number(3, 1)
            + number(4, 9)
            + text(5, "{}")
            + text(6, "s")
        )
        who = {**WHO, "uid": "other"}
        assert decode(command(12, body)) == RefreshUser(
            **who, expired=True, expire_at=9.0, info=b"{}"
        )

    def test_survey(self):
        body = number(1, 7) + text(2, "channels") + text(3, "x")
        assert decode(command(8, body)) == SurveyRequest("other", 7, "channels", b"x")
        body = number(1, 7) + number(2, 1) + text(3, "x")
        assert decode(command(9, body)) == SurveyResponse("other", 7, 1, b"x")

    def test_what_is_of_no_use(self):
        assert decode(command(11, text(1, "op"))) is None
        assert decode(text(1, "other") + text(99, "from the future")) is None

    @pytest.mark.parametrize("body", [text(7, "x"), number(8, 1)])
    def test_what_would_act_on_others_is_refused(self, body):
        with pytest.raises(ControlError, match="unsubscribe for labels or all users"):
            decode(command(5, text(2, "ann") + body))


def test_malformed():
    with pytest.raises(ControlError, match="malformed Command"):
        decode(b"\xff")
    broken = control.m.Command(
        uid="x", subscribe=control.m.Subscribe(flyball_options=msgspec.Raw(b"{"))
    )
    with pytest.raises(ControlError, match="options of a subscription"):
        decode(control.CONTROL.protobuf.write(broken))


def test_ours_carry_a_version():
    assert (
        control.CONTROL.protobuf.read(control.m.Command, encode(Leaving("x"))).flyball_version == 1
    )
