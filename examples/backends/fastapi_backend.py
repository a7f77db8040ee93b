"""A backend in FastAPI: it says who connects and what each may do, and answers calls.

Run it with ``uvicorn examples.backends.fastapi_backend:app --port 3000``, and beside it the
server: ``flyball -c examples/backends/http.json``.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI

app = FastAPI()
HOUR = 3600


@app.post("/connect")
async def connect(asked: dict[str, Any]) -> dict[str, Any]:
    """A client without a token; here it just says its name."""
    name = (asked.get("data") or {}).get("name", "")
    if not name:
        return {"disconnect": {"code": 4501, "reason": "say who you are"}}
    user = {"user": name, "info": {"name": name}, "channels": [f"inbox:{name}"]}
    return {"result": user | {"expire_at": int(time.time()) + HOUR}}


@app.post("/refresh")
async def refresh(asked: dict[str, Any]) -> dict[str, Any]:
    """The hour is over; the server asks by itself, the client need not know."""
    return {"result": {"expire_at": int(time.time()) + HOUR}}


@app.post("/subscribe")
async def subscribe(asked: dict[str, Any]) -> dict[str, Any]:
    if asked["channel"] == "room:closed":
        return {"error": {"code": 403, "message": "this room is closed"}}
    listed = {"presence": {"value": True}}
    return {"result": {"data": {"welcome": asked["user"]}, "override": listed}}


@app.post("/publish")
async def publish(asked: dict[str, Any]) -> dict[str, Any]:
    """What is published is what stands in the result; an empty result lets it pass as it is."""
    text = (asked.get("data") or {}).get("text", "").strip()
    if not text:
        return {"error": {"code": 400, "message": "a message needs a text"}}
    return {"result": {"data": {"text": text, "by": asked["user"]}}}


@app.post("/rpc")
async def rpc(asked: dict[str, Any]) -> dict[str, Any]:
    if asked["method"] != "add":
        return {"error": {"code": 404, "message": "no such method"}}
    return {"result": {"data": {"sum": sum(asked["data"])}}}
