"""A node with the memory engine, channel rules and an API handler on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field

import pytest
from asking import ask

from flyball.core.errors import Disconnect
from flyball.core.events import Connecting, Subscribing
from flyball.core.node import Node
from flyball.core.options import NodeOptions
from flyball.core.transport import Framing, Transport
from flyball.core.types import Credentials, SubscribeOptions
from flyball.http.messages import Response
from flyball.protocol.json_codec import JSON
from flyball.server.api.http import ApiHandler, HttpApiOptions
from flyball.server.api.service import ApiService
from flyball.server.channels.options import ChannelOptions, MapOptions, SharedPollOptions
from flyball.server.channels.rules import ChannelRules, ChannelRulesOptions

KEY = "api-key"
NOW = 1795495400.0
"""When the examples were recorded."""


class FixedClock:
    """Time that stands still, except where a test moves it."""

    def __init__(self) -> None:
        self.now = NOW

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def call_later(self, delay, callback):
        return self

    def cancel(self) -> None:
        pass


class Lines(Framing):
    codec = JSON

    def frame(self, messages):
        return self.codec.join(messages)


class Recorder(Transport):
    """A transport that keeps what it would send."""

    name = "websocket"

    def __init__(self) -> None:
        super().__init__(Lines())
        self.frames: list[bytes] = []
        self.closed_with: Disconnect | None = None

    def _write(self, data):
        self.frames.append(data)

    def _close(self, disconnect):
        self.closed_with = disconnect


HISTORY = {"history_size": 100, "history_ttl": 300.0}
NAMESPACES = {
    "hist": ChannelOptions(presence=True, **HISTORY),
    "obj": ChannelOptions(publication_data_format="json_object"),
    "json": ChannelOptions(publication_data_format="json"),
    "bin": ChannelOptions(publication_data_format="binary", **HISTORY),
    "plain": ChannelOptions(presence=True),
    "map": ChannelOptions(subscription_type="map", map=MapOptions(mode="recoverable")),
    "spnp": ChannelOptions(subscription_type="shared_poll"),
    "sp": ChannelOptions(
        subscription_type="shared_poll", shared_poll=SharedPollOptions(publish_enabled=True)
    ),
}


@dataclass
class Api:
    """What the tests talk to."""

    node: Node
    rules: ChannelRules
    service: ApiService
    handler: ApiHandler
    recorders: list[Recorder] = field(default_factory=list)

    async def request(
        self,
        path: str,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> Response:
        """One request; with the right key unless ``headers`` are given."""
        path, _, query = path.partition("?")
        if headers is None:
            headers = {"x-api-key": KEY}
        data = body.encode() if isinstance(body, str) else body
        response = ask(self.handler.routes(), method, path, query, headers, data)
        return await response if isinstance(response, Awaitable) else response

    async def text(self, path: str, body: bytes | str) -> str:
        """The body of a successful answer."""
        response = await self.request(path, body)
        assert response.status == 200, response
        assert response.content_type == "application/json"
        return response.body.decode()

    def connect(self, *channels: str) -> Recorder:
        """A client on JSON, subscribed to ``channels``."""
        recorder = Recorder()
        session = self.node.open_session(recorder)
        commands = [b'{"id":1,"connect":{}}']
        commands += [
            b'{"id":%d,"subscribe":{"channel":"%s"}}' % (number, channel.encode())
            for number, channel in enumerate(channels, 2)
        ]
        session.receive(b"\n".join(commands))
        self.recorders.append(recorder)
        return recorder


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    node = Node(NodeOptions(name="node", version="1.0"), clock=FixedClock())
    rules = ChannelRules(ChannelRulesOptions(namespaces=NAMESPACES))

    @node.on_connecting
    def connecting(event: Connecting) -> Credentials:
        return Credentials(user=event.name)

    @node.on_subscribe
    def subscribing(event: Subscribing) -> SubscribeOptions:
        namespace = rules.namespace(event.channel)
        assert namespace is not None
        return namespace.subscribe_options()

    service = ApiService(node, rules)
    await node.start()
    yield Api(node, rules, service, ApiHandler(service, HttpApiOptions(key=KEY)))
    await node.shutdown()
