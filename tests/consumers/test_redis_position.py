"""Where a group of a Redis stream begins."""

import pytest

from flyball.server.consumers.redis.position import UNKNOWN, Position, parsed


def reached(text, *in_hand):
    position = Position()
    position.reached(text)
    for entry in in_hand:
        position.take(entry, "me")
    return position


@pytest.mark.parametrize(
    ("position", "last", "start"),
    [
        (Position(), None, "$"),
        (Position(), (5, 0), "$"),
        (reached(b"5-3"), (5, 3), "5-3"),
        (reached(b"5-3"), (9, 0), "5-3"),
        (reached(b"5-3"), UNKNOWN, "5-3"),
        (reached(b"5-3"), None, "0"),
        (reached(b"5-3"), (5, 2), "0"),
        (reached(b"5-3", b"5-2", b"5-3"), (9, 0), "5-1"),
        (reached(b"5-3", b"5-0"), (9, 0), f"4-{2**64 - 1}"),
        (reached(b"5-3", b"7-1"), (9, 0), "5-3"),
    ],
)
def test_where_it_begins(position, last, start):
    assert position.start(last) == start


def test_what_is_done_is_not_in_hand():
    position = reached(b"5-3", b"5-1", b"5-2")
    position.done(b"5-1")
    assert position.start((9, 0)) == "5-1"
    position.forget("other")
    assert position.start((9, 0)) == "5-1"
    position.forget("me")
    assert position.start((9, 0)) == "5-3"
    position.reached(b"4-0")
    assert position.start((9, 0)) == "5-3"


def test_ids():
    assert parsed(b"17-4") == (17, 4)
    assert parsed("17") == (17, 0)
