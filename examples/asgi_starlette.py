"""A shared counter in a Starlette app: clients call an RPC, everybody sees the value.

Run it with ``uvicorn examples.asgi_starlette:app``.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

import flyball

node = flyball.Node()
count = 0


@node.on_connecting
def who(event: flyball.Connecting) -> flyball.Credentials:
    return flyball.Credentials(user="anyone")


@node.on_subscribe("counter")
def may_watch(event: flyball.Subscribing) -> flyball.SubscribeOptions:
    return flyball.SubscribeOptions()


@node.on_rpc("add")
async def add(event: flyball.Rpc) -> dict[str, int]:
    return await change(event.json()["by"])


async def change(by: int) -> dict[str, int]:
    global count  # noqa: PLW0603 - it is what the example is about
    count += by
    await node.publish("counter", {"value": count})
    return {"value": count}


async def bump(request: Request) -> JSONResponse:
    return JSONResponse(await change(1))


app = Starlette(
    routes=[
        Route("/bump", bump, methods=["POST"]),
        Mount("/connection", flyball.asgi.app(node)),
    ],
    lifespan=flyball.asgi.lifespan(node),
)
