"""Live comments in a FastAPI app: a publish endpoint, users by cookie, and history.

Run it with ``uvicorn examples.asgi_fastapi:app`` (or granian, or hypercorn) and connect an
official SDK to ``ws://localhost:8000/connection/websocket``.
"""

from __future__ import annotations

from collections import Counter
from http.cookies import SimpleCookie

from fastapi import FastAPI
from pydantic import BaseModel

import flyball

node = flyball.Node()
app = FastAPI(lifespan=flyball.asgi.lifespan(node))
app.mount("/connection", flyball.asgi.app(node, origins=["http://localhost:*"]))
likes: Counter[int] = Counter()


@node.on_connecting
def who(event: flyball.Connecting) -> flyball.Credentials:
    cookies = SimpleCookie(event.headers.get("cookie", ""))
    user = cookies["user"].value if "user" in cookies else ""
    return flyball.Credentials(user=user)


@node.on_subscribe("comments:*")
def may_read(event: flyball.Subscribing) -> flyball.SubscribeOptions:
    return flyball.SubscribeOptions(recoverable=True)


class Comment(BaseModel):
    author: str
    text: str


@app.post("/articles/{article}/comments", status_code=201)
async def comment(article: int, new: Comment) -> dict[str, int]:
    result = await node.publish(
        f"comments:{article}", new.model_dump(), history_size=100, history_ttl=3600
    )
    return {"offset": result.offset}


@app.post("/articles/{article}/likes")
def like(article: int) -> dict[str, int]:
    """A plain function: FastAPI runs it on a thread, where ``node.threadsafe`` is the way."""
    likes[article] += 1
    result = node.threadsafe.publish(
        f"comments:{article}", {"likes": likes[article]}, history_size=100, history_ttl=3600
    )
    return {"offset": result.offset}
