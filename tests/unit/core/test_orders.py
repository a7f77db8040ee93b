"""All orders of {subscribe with recovery, live publications, unsubscribe, disconnect}.

The broker is under the test's control: each of its calls first takes effect and then
answers, each at a moment of its own, and so does every delivery. Whatever the order, a
client must see the stream without doubles and holes, or be told that it lost something.
"""

import asyncio
import json
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import PATIENCE

import flyball
from flyball.core.subscription import Subscription
from flyball.protocol.delta import apply_delta
from flyball.testing import ControlledBroker, TestClient, TestClock, settle

CHANNEL = "ch"
TURNS = 6
"""Loop turns between two steps: enough for everything that may happen to happen."""
HISTORY = {"history_size": 50, "history_ttl": 600}


def payload_of(number):
    """Data of the publication with this offset, long enough for a patch to pay off."""
    return json.dumps({"text": "the same in all of them " * 3, "n": number}).encode()


class Scene:
    """One client of one channel, and what it was told, checked as it comes."""

    def __init__(self, *, server_side=False, delta=False, history_size=50):
        self.clock = TestClock()
        self.broker = ControlledBroker(self.clock)
        without_pings = flyball.NodeOptions(ping_interval=0.0)
        self.node = flyball.Node(without_pings, broker=self.broker, clock=self.clock)
        self.server_side = server_side
        self.history = {**HISTORY, "history_size": history_size, "delta": delta}
        options = flyball.SubscribeOptions(
            recoverable=True,
            presence=True,
            join_leave=True,
            push_join_leave=True,
            allowed_deltas=frozenset({"fossil"}),
        )
        subs = {CHANNEL: options} if server_side else {}
        self.node.on_connecting(lambda event: flyball.Credentials(user="u", subs=subs))
        self.gate = None

        @self.node.on_subscribe
        async def allow(event):
            if self.gate is not None:
                await self.gate.wait()
            return options

        self.delta = "fossil" if delta else ""
        self.published = 0
        self.lost_something = False
        self.subscribed = False
        """As the client sees it: between the replies."""
        self.position = None
        self.wanted = None
        self.operations = []
        self.ended = False
        self.patches = 0
        self.value = None
        """What the client holds as the base of a patch."""
        self.unsubscribes = 0
        self.doubts = 0
        """Times that the client was told of a loss."""

    async def start(self, already=2, position=1):
        """``already`` publications are in the stream; the client knows it up to ``position``."""
        await self.node.start()
        for _ in range(already):
            await self.publish()
        self.broker.deliver()
        history = await self.node.history(CHANNEL)
        self.epoch = history.position.epoch
        self.position = position
        self.client = TestClient(self.node)
        self.broker.hold()
        self.broker.hold_deliveries()
        if not self.server_side:
            self.client.send(connect={})
            await self.turn()
            self.client.replies.clear()
        return self

    async def turn(self):
        """Lets happen what can, and checks what the client got."""
        await settle(TURNS)
        self.check()

    # -- steps: each may be asked for at any time; an impossible one does nothing

    async def subscribe(self):
        request = {"recover": True, "offset": self.position, "epoch": self.epoch}
        if self.server_side:
            self.wanted = self.client.send(connect={"subs": {CHANNEL: request}})
        elif not self.subscribed and self.wanted is None:
            self.wanted = self.client.send(
                subscribe={"channel": CHANNEL, "delta": self.delta, **request}
            )

    async def unsubscribe(self):
        self.client.send(unsubscribe={"channel": CHANNEL})
        self.unsubscribes += 1

    async def server_unsubscribe(self):
        self.operate(self.node.unsubscribe_user("u", CHANNEL))

    async def drop(self):
        if not self.client.session.closed:
            self.client.drop()
            self.subscribed = False

    async def disconnect(self):
        self.operate(self.node.disconnect_user("u"))

    def operate(self, operation):
        """Starts something that may wait for the broker; the end waits for it."""
        self.operations.append(asyncio.create_task(operation))

    async def publish(self):
        self.published += 1
        held, self.broker._methods = self.broker._methods, frozenset()
        await self.node.publish(CHANNEL, payload_of(self.published), **self.history)
        self.broker._methods = held

    async def perform(self):
        for call in self.broker.held:
            if not call.performed:
                call.perform()
                return

    async def answer(self):
        for call in self.broker.held:
            if not call.done:
                call.release()
                self.broker.held.remove(call)
                return

    async def answer_newest(self):
        if self.broker.held:
            self.broker.held.pop().release()

    async def fail(self):
        for call in self.broker.held:
            if not call.done and call.method == "history":
                call.fail(flyball.Error(100))
                self.broker.held.remove(call)
                return

    async def deliver(self):
        self.broker.deliver(1)

    async def lose(self):
        if self.broker.deliveries:
            self.broker.deliveries.pop(0)
            self.lost_something = True

    async def permit(self):
        if self.gate is not None:
            self.gate.set()

    async def wait(self):
        self.clock.advance(5)

    # -- what the client may see

    def check(self):
        """Reads new frames in their order and holds the client's view against the stream."""
        frames, self.client.transport.frames = self.client.transport.frames, []
        for frame in frames:
            for reply in self.client._framing.replies(frame):
                self._check_reply(reply)
        self.client.pushes.clear()
        code = self.client.closed_code
        if self.client.session.closed and not self.ended:
            self.ended = True
            self.subscribed = False
            assert code in (None, 3503, 3010), code
            self.doubts += code == 3010

    def _check_reply(self, reply):
        if reply.id and reply.id == self.wanted:
            self.wanted = None
            if reply.error is not None:
                assert reply.error.code == 100
                return
            result = reply.subscribe
            if self.server_side:
                result = reply.connect.subs[CHANNEL]
            self._subscribed(result)
        elif reply.unsubscribe is not None:
            self.subscribed = False
        elif reply.push is not None and reply.push.channel == CHANNEL:
            push = reply.push
            if push.unsubscribe is not None and push.unsubscribe.code == 2000:
                self.subscribed = False  # told by the server whether it was or not
                return
            assert self.subscribed, f"{push} outside of a subscription"
            if push.pub is not None:
                self._next(push.pub)
            elif push.unsubscribe is not None:
                self.subscribed = False
                assert push.unsubscribe.code == 2500
                self.doubts += 1

    def _subscribed(self, result):
        assert not self.subscribed
        self.subscribed = True
        assert result.was_recovering
        assert result.epoch == self.epoch
        if result.recovered:
            for publication in result.publications:
                self._next(publication)
        else:
            assert result.publications == []
            self.doubts += 1
            self.position = result.offset

    def _next(self, publication):
        assert publication.offset == self.position + 1, (
            f"offset {publication.offset} after {self.position}"
        )
        self.position = publication.offset
        value = bytes(publication.data)
        if self.delta:
            value = json.loads(value).encode()
            if publication.delta:
                value = apply_delta(self.value, value)
                self.patches += 1
        assert value == payload_of(publication.offset)
        self.value = value

    # -- the end

    async def calm_down(self):
        """Everything goes on its way, and positions are checked."""
        if self.gate is not None:
            self.gate.set()
        for _ in range(4):
            self.broker.release()
            self.broker.deliver()
            await self.turn()
        # Presence ticks come every 27 s, positions are checked after 40 s, and once more.
        for seconds in (28, 28, 28, 2, 2):
            self.clock.advance(seconds)
            await self.turn()

    async def finish(self):
        """In the end nothing is missing unsaid, and nothing is left over."""
        await self.calm_down()
        assert self.wanted is None or self.client.session.closed
        if self.subscribed:
            assert self.position == self.published, "missed something without being told"
            assert CHANNEL in self.broker.subscribed
        if self.lost_something and not self.doubts and self.subscribed:
            assert self.position == self.published
        await self.drop()
        await self.calm_down()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self.operations)
        self.no_leaks()
        await self.node.shutdown()

    def no_leaks(self):
        node = self.node
        assert not node.hub.sessions
        assert not node.hub.channels
        assert node.hub.num_subscriptions == 0
        assert not self.client.session.subscriptions
        assert not self.broker.subscribed
        assert not self.broker.held
        assert not node.tasks
        assert node._run.membership._links._work == {}
        assert self.broker._methods == frozenset()
        presence = node.presence_manager._channels
        assert CHANNEL not in presence


async def play(steps, **scene):
    """Plays steps by name."""
    already = scene.pop("already", 2)
    position = scene.pop("position", 1)
    gated = scene.pop("gated", False)
    stage = await Scene(**scene).start(already, position)
    if gated:
        stage.gate = asyncio.Event()
    for step in steps:
        await getattr(stage, step)()
        await stage.turn()
    await stage.finish()
    return stage


ORDERS = {
    "recovery": ("subscribe", "perform", "answer", "perform", "answer", "publish", "deliver"),
    "unsubscribe": ("subscribe", "answer", "answer", "publish", "deliver", "unsubscribe"),
    "drop": ("subscribe", "answer", "answer", "publish", "deliver", "drop"),
    "disconnect": ("subscribe", "answer", "publish", "deliver", "unsubscribe", "disconnect"),
    "loss": ("subscribe", "answer", "answer", "publish", "publish", "lose", "deliver"),
    "failure": ("subscribe", "answer", "fail", "publish", "deliver", "unsubscribe"),
    "server": ("subscribe", "answer", "answer", "publish", "deliver", "server_unsubscribe"),
}
"""Sets of steps, of which every order is played."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ORDERS)
async def test_every_order(name):
    for steps in sorted(set(permutations(ORDERS[name]))):
        try:
            await play(steps)
        except AssertionError as error:
            raise AssertionError(f"{' '.join(steps)}: {error}") from error


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["unsubscribe", "drop", "loss"])
async def test_every_order_with_delta(name):
    for steps in sorted(set(permutations(ORDERS[name]))):
        try:
            await play(steps, delta=True)
        except AssertionError as error:
            raise AssertionError(f"{' '.join(steps)}: {error}") from error


@pytest.mark.exhaustive
async def test_every_order_at_connect():
    steps = ("subscribe", "answer", "answer", "publish", "deliver", "drop")
    for order in sorted(set(permutations(steps))):
        try:
            await play(order, server_side=True)
        except AssertionError as error:
            raise AssertionError(f"{' '.join(order)}: {error}") from error


STEPS = (
    "subscribe",
    "subscribe",
    "unsubscribe",
    "publish",
    "publish",
    "publish",
    "perform",
    "perform",
    "answer",
    "answer",
    "answer_newest",
    "deliver",
    "deliver",
    "lose",
    "fail",
    "permit",
    "server_unsubscribe",
    "disconnect",
    "drop",
    "wait",
)


@pytest.mark.exhaustive
@settings(max_examples=400)
@given(
    steps=st.lists(st.sampled_from(STEPS), max_size=30),
    already=st.integers(0, 5),
    position=st.integers(0, 6),
    history_size=st.sampled_from([1, 2, 50]),
    delta=st.booleans(),
    gated=st.booleans(),
)
def test_any_order(steps, already, position, history_size, delta, gated):
    asyncio.run(
        play(
            steps,
            already=already,
            position=position,
            history_size=history_size,
            delta=delta,
            gated=gated,
        )
    )


# -- orders worth a name

JOINED = ("subscribe", "answer", "answer", "answer", "deliver")
"""The broker answers for subscription, history and join; the join is delivered."""


async def test_a_publication_during_recovery_comes_once_and_after_the_reply():
    stage = await play(
        ("subscribe", "answer", "publish", "perform", "publish", "deliver", "deliver", "answer")
    )
    assert stage.position == 4
    assert stage.doubts == 0


async def test_a_publication_between_read_and_reply_is_not_lost():
    stage = await play(("subscribe", "answer", "perform", "publish", "deliver", "answer"))
    assert stage.position == 3
    assert stage.doubts == 0


async def test_a_lost_publication_is_told_at_the_next_one():
    stage = await play((*JOINED, "publish", "lose", "publish", "deliver"))
    assert stage.doubts == 1
    assert not stage.subscribed


async def test_a_lost_last_publication_is_told_by_the_position_check():
    stage = await play((*JOINED, "publish", "lose"))
    assert stage.doubts == 1


async def test_a_hole_among_what_was_held_ends_the_connection():
    stage = await play(
        ("subscribe", "answer", "perform", "publish", "lose", "publish", "deliver", "answer")
    )
    assert stage.client.closed_code == 3010
    assert stage.doubts == 1


async def test_unsubscribe_overtakes_nothing():
    """It waits its turn behind a slow subscribe, and then counts."""
    stage = await play(("subscribe", "unsubscribe", *["answer"] * 5))
    assert not stage.subscribed
    assert stage.unsubscribes == 1


async def test_too_old_a_position():
    stage = await play(("subscribe", "answer", "answer"), already=5, position=1, history_size=2)
    assert stage.doubts == 1
    assert stage.position == 5


async def test_patches_go_on_after_recovery():
    stage = await play(
        (*JOINED, "publish", "deliver", "publish", "deliver"), delta=True, already=4, position=1
    )
    assert stage.position == 6
    assert stage.patches == 4  # of 2..6 the first is in full


async def test_a_drop_in_the_middle_leaves_nothing():
    for count in range(4):
        stage = await play(("subscribe", *["answer"] * count, "drop"))
        assert not stage.subscribed


async def test_the_checks_find_what_they_are_for(monkeypatch):
    """A core that lets anything through does not pass."""

    def careless(self, offset, epoch, now):
        self.offset = offset
        return True

    monkeypatch.setattr(Subscription, "advance", careless)
    with pytest.raises(AssertionError, match="offset 3 after 3"):
        await play(("subscribe", "answer", "publish", "deliver", "answer"))
    with pytest.raises(AssertionError, match="after"):
        await play((*JOINED, "publish", "lose", "publish", "deliver", "publish", "deliver"))
    # The plays broke off: what they had begun ends here.
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_subscriptions_at_connect_do_not_block_each_other(order):
    clock = TestClock()
    broker = ControlledBroker(clock)
    options = flyball.SubscribeOptions(recoverable=True)
    async with flyball.Node(broker=broker, clock=clock, clients=False) as node:
        node.on_connecting(lambda e: flyball.Credentials(subs={"a": options, "b": options}))
        for channel in "ab":
            await node.publish(channel, 1, history_size=5, history_ttl=60)
        broker.hold("history")
        client = TestClient(node)
        wanted = {"recover": True, "offset": 0}
        number = client.send(connect={"subs": {"a": wanted, "b": wanted}})
        await settle()
        calls = list(broker.held)
        assert {call.channel for call in calls} == {"a", "b"}
        for index in order:
            assert number not in client.replies
            # Both channels go on being published into while the other one is awaited.
            for channel in "ab":
                await node.publish(channel, 2, history_size=5, history_ttl=60)
            calls[index].release()
            await settle()
        result = (await client.reply(number)).connect
        for channel in "ab":
            offsets = [p.offset for p in result.subs[channel].publications]
            offsets += [p.offset for p in client.take_publications(channel)]
            assert offsets == [1, 2, 3]
