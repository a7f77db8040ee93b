import asyncio

import pytest
import uvloop
from wsclient import RawClient

from flyball.aio.timers import TimerWheel
from flyball.core import types
from flyball.core.errors import Error
from flyball.core.node import Node, NodeOptions
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.routes import Route, Routes
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.websocket.endpoint import WebSocketEndpoint


def pytest_asyncio_loop_factories(config, item):
    """Tests run on both loops; long ones name that of the server alone (``LOOPS``)."""
    factories = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    wanted = getattr(item.module, "LOOPS", factories)
    return {name: factories[name] for name in wanted}


class Server:
    """A node behind a listener."""

    def __init__(self, node, listener):
        self.node = node
        self.listener = listener
        self.port = listener.port

    @property
    def sessions(self):
        return list(self.node.hub.sessions.values())


@pytest.fixture
async def serve():
    """Starts servers; keyword arguments are options of the endpoint and of the node."""
    running = []

    async def start(
        *,
        origins=(),
        node_options=None,
        limits=None,
        api=None,
        app=None,
        listener=None,
        clock=None,
        **options,
    ):
        node = Node(NodeOptions(**{"ping_interval": 0.0, **(node_options or {})}), clock=clock)

        @node.on_connecting
        def connecting(event):
            if event.token == "expired":
                raise Error(109)
            return types.Credentials(user="u")

        @node.on_subscribe
        def subscribe(event):
            return types.SubscribeOptions()

        @node.on_rpc
        def rpc(event):
            return event.data

        await node.start()
        connection_limits = (
            ConnectionLimits(lambda: node.hub.num_clients, **limits) if limits else None
        )
        endpoint = WebSocketEndpoint(
            node, OriginPolicy(origins), WebSocketOptions(**options), connection_limits
        )
        port = Listener(
            ListenerOptions("127.0.0.1", **(listener or {})),
            Routes(
                [
                    Route("/connection/websocket", upgrade=endpoint),
                    *([Route("/api", api, subtree=True)] if api else []),
                ],
                app=app,
            ),
            TimerWheel(clock) if clock else None,
        )
        await port.start()
        running.append((node, port))
        return Server(node, port)

    yield start
    while RawClient.opened:
        client = RawClient.opened.pop()
        client.writer.transport.abort()
        await client.close()
    for node, port in running:
        port.stop_accepting()
        await node.shutdown()
        await port.close(grace=0.1)
        await asyncio.sleep(0)
