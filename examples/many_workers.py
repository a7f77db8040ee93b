"""A FastAPI app in several worker processes that act as one: what any of them publishes reaches the
clients of all, presence counts all, and whoever is signed out is so wherever his connection is.

With the nodes on one Redis (or Valkey)::

    REDIS_URL=redis://localhost:6379 uvicorn examples.many_workers:app --workers 4
    gunicorn examples.many_workers:app --workers 4 --worker-class uvicorn_worker.UvicornWorker

gunicorn may load the app before it forks (``--preload``): nodes connect when a worker starts.
"""

from __future__ import annotations

import os

from fastapi import FastAPI

import flyball
from flyball.engines.redis import RedisEngine

node = flyball.Node(engine=RedisEngine(os.environ.get("REDIS_URL", "redis://localhost:6379")))
app = FastAPI(lifespan=flyball.asgi.lifespan(node))
app.mount("/connection", flyball.asgi.app(node, origins=["http://localhost:*"]))


@node.on_connecting
def who(event: flyball.Connecting) -> flyball.Credentials:
    """The worker is told only so that one can watch this work."""
    return flyball.Credentials(user=event.token or "guest", data={"worker": os.getpid()})


@node.on_subscribe("news")
def may_read(event: flyball.Subscribing) -> flyball.SubscribeOptions:
    return flyball.SubscribeOptions(recoverable=True, presence=True)


@app.post("/news", status_code=201)
async def tell(text: str) -> dict[str, int]:
    result = await node.publish("news", {"text": text}, history_size=100, history_ttl=3600)
    return {"offset": result.offset, "worker": os.getpid()}


@app.get("/online")
async def online() -> dict[str, int]:
    stats = await node.presence_stats("news")
    return {"clients": stats.num_clients, "nodes": node.num_nodes}


@app.post("/users/{user}/sign-out", status_code=204)
async def sign_out(user: str) -> None:
    await node.disconnect_user(user, code=4501, reason="signed out")
