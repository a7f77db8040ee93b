"""What a message of JetStream tells of itself."""

import pytest

from flyball.server.consumers.nats.delivery import delivery

OLD = b"$JS.ACK.stream.durable.1.42.7.1700000000000000000.0"
NEW = b"$JS.ACK.domain.account.stream.durable.1.42.7.1700000000000000000.0"


@pytest.mark.parametrize("reply", [OLD, NEW, NEW + b".more"])
def test_its_place_and_time(reply):
    found = delivery(reply, b"a.b", b"NATS/1.0\r\nX-Y: z\r\nx-y: other\r\n\r\n", b"{}")
    assert found.key == (42, b"1700000000000000000")
    message = found.message("stream", "X-Y")
    assert (message.data, message.method) == (b"{}", "z")
    assert message.metadata == {"X-Y": "z", "x-y": "other"}
    assert message.place == "stream stream, sequence 42, subject a.b"


@pytest.mark.parametrize(
    "reply", [b"", b"_INBOX.a.1", b"$JS.ACK.a.b", OLD + b".x", OLD.replace(b"42", b"x")]
)
def test_others_are_none(reply):
    assert delivery(reply, b"a", b"", b"") is None
