"""What strangers can repeat at will is told of now and then, with a count."""

from flyball.aio.lines import LineLimit


def test_so_many_lines_in_so_many_seconds():
    limit = LineLimit(2, 10.0)
    assert [limit.allows(now) for now in (0.0, 1.0, 2.0, 9.9, 10.0, 11.0, 12.0)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]


def test_what_is_left_out_is_counted():
    limit = LineLimit(1, 1.0)
    for _ in range(1000):
        limit.allows(5.0)
    assert limit.take_left_out() == 999
    assert limit.take_left_out() == 0
    assert limit.allows(6.0)
