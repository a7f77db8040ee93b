"""Parts of the clouds' consumers, alone: what is remembered, what waits, what comes too early."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from azure.servicebus.amqp import AmqpMessageBodyType

from flyball.server.consumers.attempts import OnceEach
from flyball.server.consumers.errors import TryAgainError
from flyball.server.consumers.lanes import Lanes
from flyball.server.consumers.pubsub import PubSubClient, PubSubOptions
from flyball.server.consumers.pubsub.consumer import ON_THEIR_WAY, Subscription
from flyball.server.consumers.recent import Recent
from flyball.server.consumers.servicebus import ServiceBusOptions
from flyball.server.consumers.servicebus.consumer import Loop
from flyball.server.consumers.sqs import SqsOptions
from flyball.server.consumers.sqs.consumer import Loop as SqsLoop


def test_what_was_done_long_ago_is_forgotten():
    recent = Recent(2)
    for identity in ("a", "b", "a", "c"):
        recent.add(identity)
    assert [identity in recent for identity in "abc"] == [False, True, True]


async def test_lanes_are_side_by_side_and_each_in_order():
    lanes = Lanes()
    for lane, item in ("a", 1), ("a", 2), ("b", 3), ("a", 4):
        lanes.put(lane, item)
    assert [await lanes.take(), await lanes.take()] == [("a", 1), ("b", 3)]
    lanes.done("b")
    lanes.done("a")
    assert await lanes.take() == ("a", 2)
    assert lanes.clear("a") == [4]
    lanes.put("a", 5)
    lanes.put("c", 6)
    assert lanes.clear_all() == [5, 6]


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def subscription(clock):
    options = PubSubOptions(project="project", subscriptions=("sub",))
    workers = SimpleNamespace(clock=clock)
    return Subscription("sub", options, PubSubClient(options), workers)


def delivery(identity, key="", again=1):
    message = SimpleNamespace(message_id=identity, ordering_key=key)
    return SimpleNamespace(ack_id=f"{identity}, {again}", message=message)


async def test_what_stands_behind_a_message_that_was_given_back_is_too_early(subscription, clock):
    first, second = delivery("1", "key"), delivery("2", "key")
    subscription._take(first)
    lane, taken = await subscription._lanes.take()
    subscription._give_back(taken)
    subscription._lanes.done(lane)
    subscription._take(second)  # was on its way
    subscription._take(delivery("3", "other key"))
    assert list(subscription._refused) == ["1, 1", "2, 1"]
    subscription._take(delivery("1", "key", 2))
    subscription._take(delivery("2", "key", 2))
    assert subscription._here == {"3": "3, 1", "1": "1, 2", "2": "2, 2"}


async def test_a_message_that_others_have_got_is_not_waited_for_ever(subscription, clock):
    subscription._take(delivery("1", "key"))
    lane, taken = await subscription._lanes.take()
    subscription._give_back(taken)
    subscription._lanes.done(lane)
    clock.now = ON_THEIR_WAY + 0.1
    subscription._take(delivery("2", "key"))
    assert subscription._here == {"2": "2, 1"}
    assert subscription._awaited == {}


def test_a_message_that_comes_again_while_it_is_here_has_its_new_delivery(subscription):
    subscription._take(delivery("1"))
    subscription._take(delivery("1", again=2))
    assert subscription._here == {"1": "1, 2"}


class Hands:
    """A worker: fails as often as it is told, and takes its time between attempts."""

    def __init__(self, failures=0, meanwhile=lambda: None):
        self.done = []
        self.attempts = 0
        self.stopping = False
        self._failures = failures
        self._meanwhile = meanwhile

    async def do(self, message):
        self.attempts += 1
        if self.attempts <= self._failures:
            raise TryAgainError("the engine is away")
        self.done.append(message.data)

    def failed(self, error):
        pass

    async def back_off(self):
        self._meanwhile()


def of_service_bus(body, minute=0):
    return SimpleNamespace(
        sequence_number=1,
        enqueued_time_utc=datetime(2026, 1, 1, 0, minute, tzinfo=UTC),
        locked_until_utc=datetime.now(UTC) + timedelta(minutes=1),
        application_properties={},
        body_type=AmqpMessageBodyType.DATA,
        body=[body],
    )


async def test_a_queue_that_was_made_anew_gives_its_numbers_again():
    bus = Loop("q", ServiceBusOptions(queues=("q",)), None, OnceEach(5))
    hands = Hands()
    for body, minute in (b"first", 0), (b"first", 0), (b"of another queue", 1):
        await bus._do_one(of_service_bus(body, minute), hands, lambda: True)
    assert hands.done == [b"first", b"of another queue"]


async def test_a_message_whose_lock_has_ended_is_not_tried_again():
    message = of_service_bus(b"{}")

    def lose():
        message.locked_until_utc = datetime.now(UTC)

    bus = Loop("q", ServiceBusOptions(queues=("q",)), None, OnceEach(5))
    hands = Hands(failures=1, meanwhile=lose)
    left, failure = await bus._do([message], SimpleNamespace(session=None), hands)
    assert left == [message]
    assert hands.attempts == 1
    assert "somebody else" in str(failure)


async def test_a_message_of_sqs_whose_time_is_over_is_not_tried_again(clock):
    options = SqsOptions(queues=("https://sqs/1/q.fifo",), visibility_timeout=30)
    loop = SqsLoop(options.queues[0], options, None, clock, OnceEach(3))

    def wait():
        clock.now += 20

    hands = Hands(failures=2, meanwhile=wait)
    message = {"MessageId": "1", "ReceiptHandle": "r", "Body": "{}"}
    left, failure = await loop._do([message], hands)
    assert left == [message]
    assert hands.attempts == 2
    assert "somebody else" in str(failure)
