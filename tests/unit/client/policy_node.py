"""A node under the policy, a client in memory, and a clock that the test moves."""

import asyncio
import heapq
import itertools
import json

from policy_fakes import FakeTokens, make_rules

from flyball.core.node import Node, NodeOptions
from flyball.core.transport import Framing, Transport
from flyball.protocol.json_codec import JsonCodec
from flyball.server.client import ClientPolicy, ClientPolicyOptions


class ManualClock:
    def __init__(self):
        self.now = 1_000_000.0
        self._timers = []
        self._order = itertools.count()

    def monotonic(self):
        return self.now

    def time(self):
        return self.now

    def call_later(self, delay, callback):
        timer = _Timer()
        heapq.heappush(self._timers, (self.now + delay, next(self._order), timer, callback))
        return timer

    async def move(self, seconds):
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer, callback = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if not timer.cancelled:
                callback()
        self.now = end
        for _ in range(5):
            await asyncio.sleep(0)


class _Timer:
    cancelled = False

    def cancel(self):
        self.cancelled = True


class _JsonFraming(Framing):
    codec = JsonCodec()

    def frame(self, messages):
        return b"\n".join(messages) + b"\n"


class _MemoryTransport(Transport):
    name = "memory"

    def __init__(self):
        super().__init__(_JsonFraming())
        self.sent = []
        self.closed_with = None

    @property
    def app_ping(self):
        return False

    def _write(self, data):
        self.sent += [json.loads(line) for line in data.splitlines()]

    def _close(self, disconnect):
        self.closed_with = disconnect.code


class Client:
    """Sends commands and reads replies; everything happens in the caller's turn."""

    def __init__(self, node, **headers):
        self.transport = _MemoryTransport()
        self.session = node.open_session(self.transport, headers)
        self.transport.session = self.session
        self._ids = itertools.count(1)

    async def call(self, method, /, **request):
        """The result; an int is an error's code."""
        command_id = next(self._ids)
        self.session.receive(json.dumps({"id": command_id, method: request}).encode())
        for _ in range(5):
            await asyncio.sleep(0)
        for message in self.transport.sent:
            if message.get("id") == command_id:
                return message["error"]["code"] if "error" in message else message[method]
        return None

    def pushes(self, kind):
        return [m["push"][kind] for m in self.transport.sent if kind in m.get("push", {})]

    @property
    def closed_with(self):
        return self.transport.closed_with


def make_node(clock=None, tokens=None, namespaces=None, **options):
    """A node and its policy."""
    node = Node(NodeOptions(), clock=clock or ManualClock())
    policy = ClientPolicy(
        node,
        make_rules(**(namespaces or {})),
        tokens or FakeTokens(),
        options=ClientPolicyOptions(**options),
    )
    return node, policy
