"""The HTTP API of a server, for tests of who calls it."""

from contextlib import asynccontextmanager

from flyball.core.node import Node
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.routes import Routes
from flyball.server.api.http import ApiHandler, HttpApiOptions
from flyball.server.api.service import ApiService
from flyball.server.channels.options import ChannelOptions
from flyball.server.channels.rules import ChannelRules, ChannelRulesOptions


@asynccontextmanager
async def served_api(key):
    """A node and the address of its API; channels of ``hist`` keep history."""
    async with Node(clients=False) as node:
        kept = ChannelOptions(history_size=10, history_ttl=60.0)
        service = ApiService(node, ChannelRules(ChannelRulesOptions(namespaces={"hist": kept})))
        routes = ApiHandler(service, HttpApiOptions(key=key)).routes()
        listener = Listener(ListenerOptions("127.0.0.1"), Routes(routes))
        await listener.start()
        try:
            yield node, f"http://127.0.0.1:{listener.port}/api"
        finally:
            listener.stop_accepting()
            await listener.close()
