"""A program that compresses all its answers, with Flyball mounted in it."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

import flyball
import flyball.asgi

node = flyball.Node()


@node.on_connecting
def who(_event):
    return flyball.Credentials("ann")


streams = flyball.asgi.app(node, transports=["http_stream", "sse", "sockjs"])
app = Starlette(
    routes=[Mount("/connection", streams)],
    middleware=[Middleware(GZipMiddleware, minimum_size=0)],
    lifespan=flyball.asgi.lifespan(node),
)
