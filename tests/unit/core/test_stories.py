"""Random stories of several clients in one stream, over the memory engine.

Clients subscribe, leave, break off, come back and recover; publications come, are late or get lost;
subscriptions expire; the stream loses its epoch; the store answers late. Whatever happens: order, no
hole and no double unless a client is told that it lost something; what was acknowledged is in
history. ``FLYBALL_STORIES`` is how many are played (10,000 take some minutes).
"""

import asyncio
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flyball
from flyball.protocol import codes
from flyball.testing import ControlledBroker, TestClient, TestClock, settle

STORIES = int(os.environ.get("FLYBALL_STORIES", "150"))
CHANNEL = "ch"
CLIENTS = 3
KEPT = 4
"""Publications that the stream keeps: who was away for long cannot recover."""
TURNS = 8
TOLD = (codes.UNSUBSCRIBE_INSUFFICIENT.code, codes.DISCONNECT_INSUFFICIENT_STATE.code)


class Listener:
    """One client as an SDK is: it recovers from where it was, and knows what it was told."""

    def __init__(self, story):
        self.story = story
        self.client = TestClient(story.node)
        self.wanted = None
        self.subscribed = False
        self.position = None
        self.seen = []
        self.doubts = 0
        self.client.send(connect={})

    def subscribe(self):
        if self.subscribed or self.wanted is not None or self.client.session.closed:
            return
        request = {"channel": CHANNEL}
        if self.position is not None:
            epoch, offset = self.position
            request |= {"recover": True, "epoch": epoch, "offset": offset}
        self.wanted = self.client.send(subscribe=request)

    def unsubscribe(self):
        if self.subscribed:
            self.client.send(unsubscribe={"channel": CHANNEL})
            self.subscribed = False
            self.client.take()

    def drop(self):
        if not self.client.session.closed:
            self.client.drop()
        self.subscribed, self.wanted = False, None

    def come_back(self):
        if self.client.session.closed:
            self.client.pushes.clear()
            self.client.reopen()
            self.client.send(connect={})
            self.subscribe()

    def miss_too_much(self):
        """Is away for more than the stream keeps."""
        self.drop()
        self.story.burst(0)
        self.come_back()

    def look(self):
        """Takes in what came, in its order."""
        reply = self.client.replies.pop(self.wanted, None) if self.wanted is not None else None
        if reply is not None:
            self.wanted = None
            if reply.error is None:
                self._subscribed(reply.subscribe)
            else:
                assert reply.error.code == 100, reply
        for push in self.client.take(CHANNEL):
            if push.pub is not None:
                assert self.subscribed, push
                self._next(push.pub)
            elif push.unsubscribe is not None:
                self.subscribed = False
                code = push.unsubscribe.code
                assert code in (TOLD[0], codes.UNSUBSCRIBE_EXPIRED.code), push
                self.doubts += code in TOLD
        if self.client.session.closed:
            self.subscribed, self.wanted = False, None
            if self.client.closed_code in TOLD:
                self.doubts += 1

    def _subscribed(self, result):
        self.subscribed = True
        recovers, position = result.was_recovering, self.position
        if recovers and result.recovered:
            assert result.epoch == position[0]
            for publication in result.publications:
                self._next(publication)
            return
        assert not result.publications
        self.doubts += recovers
        self.position = result.epoch, result.offset

    def _next(self, publication):
        epoch, offset = self.position
        assert publication.offset == offset + 1, f"{publication.offset} after {offset}"
        self.position = epoch, publication.offset
        self.seen.append((epoch, publication.offset, bytes(publication.data)))


class Story:
    """The node, its store and the clients."""

    def __init__(self):
        self.clock = TestClock()
        self.broker = ControlledBroker(self.clock)
        options = flyball.NodeOptions(ping_interval=0.0)
        self.node = flyball.Node(options, broker=self.broker, clock=self.clock)
        self.node.on_connecting(lambda event: flyball.Credentials())
        self.node.on_subscribe(self.allow)
        self.acknowledged = []
        self.publishing = []
        self.number = 0

    def allow(self, event):
        # A third of the subscriptions ends by itself.
        expires = len(self.acknowledged) % 3 == 1
        return flyball.SubscribeOptions(
            recoverable=True,
            expire_at=self.clock.time() + 60 if expires else 0.0,
            client_side_refresh=True,
        )

    async def turn(self):
        await settle(TURNS)
        for listener in self.listeners:
            listener.look()

    # -- what may happen

    def of_client(self, name, number):
        getattr(self.listeners[number], name)()

    def publish(self, _):
        self.number += 1
        self.publishing.append(asyncio.ensure_future(self._publish(b"%d" % self.number)))

    def burst(self, _):
        for _ in range(KEPT + 1):
            self.publish(0)

    async def _publish(self, data):
        try:
            result = await self.node.publish(
                CHANNEL, flyball.Raw(data), history_size=KEPT, history_ttl=6000
            )
        except flyball.Error:
            return
        self.acknowledged.append((result.epoch, result.offset, data))

    def hold(self, _):
        self.broker.hold("history", "publish")

    def late(self, _):
        self.broker.hold_deliveries()

    def deliver(self, number):
        self.broker.deliver(number + 1)

    def lose(self, _):
        if self.broker.deliveries:
            self.broker.deliveries.pop(0)

    def release(self, number):
        if number == 0:
            self.broker.release()
        elif self.broker.held:
            self.broker.release_next()

    def forget(self, _):
        self.broker.forget(CHANNEL)

    def wait(self, number):
        self.clock.advance((1, 30, 90)[number])

    # -- the end

    async def end(self):
        """Everything comes to rest; then each client has all, or was told that it has not."""
        for _ in range(3):
            self.broker.release()
            self.broker.deliver()
            await self.turn()
        for seconds in (28, 28, 28, 2, 2, 28, 28, 2, 2):
            self.clock.advance(seconds)
            await self.turn()
        top = (await self.node.history(CHANNEL)).position
        for listener in self.listeners:
            if listener.subscribed:
                assert listener.position == (top.epoch, top.offset), "missed something untold"
        kept = {
            (top.epoch, p.offset, bytes(p.data))
            for p in (await self.node.history(CHANNEL)).publications
        }
        last = [e for e in self.acknowledged if e[0] == top.epoch and e[1] > top.offset - KEPT]
        assert set(last) <= kept
        everything = set(self.acknowledged)
        for listener in self.listeners:
            assert set(listener.seen) <= everything, "something that nobody published"
            assert len(set(listener.seen)) == len(listener.seen), "something came twice"
        await asyncio.gather(*self.publishing)
        for listener in self.listeners:
            listener.drop()
        await settle(TURNS)
        assert not self.node.hub.channels
        assert not self.node.hub.sessions
        await self.node.shutdown()

    async def play(self, steps):
        await self.node.start()
        self.listeners = [Listener(self) for _ in range(CLIENTS)]
        for name, number in steps:
            if name in ACTS:
                self.of_client(name, number)
            else:
                getattr(self, name)(number)
            await self.turn()
        await self.end()


ACTS = ("subscribe", "unsubscribe", "drop", "come_back", "miss_too_much")
EVENTS = ("publish", "burst", "hold", "late", "deliver", "lose", "release", "forget", "wait")
STEP = st.tuples(
    st.sampled_from((*ACTS, "subscribe", "come_back", "publish", "publish", "publish", *EVENTS)),
    st.integers(0, CLIENTS - 1),
)


@settings(max_examples=STORIES, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=5, max_size=40))
def test_nobody_misses_anything_untold(steps):
    asyncio.run(Story().play(steps))
