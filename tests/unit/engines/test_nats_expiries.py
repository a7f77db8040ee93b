"""When channels of JetStream are swept."""

from flyball.engines.nats.jetstream.expiries import Expiries


def test_channels_come_when_their_time_is_over():
    expiries = Expiries()
    expiries.set("b", 20)
    expiries.set("a", 10)
    assert expiries.take(9) is None
    assert [expiries.take(30), expiries.take(30), expiries.take(30)] == ["a", "b", None]


def test_a_later_time_counts():
    expiries = Expiries()
    expiries.set("a", 10)
    expiries.set("a", 30)
    assert expiries.take(20) is None
    assert expiries.take(30) == "a"
    assert expiries.take(30) is None


def test_what_was_postponed_comes_again_unless_it_has_a_time_of_its_own():
    expiries = Expiries()
    expiries.set("a", 10)
    assert expiries.take(10) == "a"
    expiries.postpone("a", 20)
    assert expiries.take(20) == "a"
    expiries.set("a", 50)  # written while it was swept
    expiries.postpone("a", 30)
    assert expiries.take(40) is None
    assert expiries.take(50) == "a"


def test_nothing_is_left_when_it_is_cleared():
    expiries = Expiries()
    expiries.set("a", 10)
    expiries.clear()
    assert expiries.take(10) is None
    expiries.set("a", 20)
    assert expiries.take(20) == "a"
