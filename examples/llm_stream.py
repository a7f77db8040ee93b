"""An LLM's answer, token by token, to everybody who watches; a reloaded page misses nothing.

    python examples/llm_stream.py

A client calls the RPC ``ask`` with a question and gets a channel; it subscribes there and sees the
answer grow. Each publication is the whole text so far: delta compression sends only what is new,
and cache recovery gives a page that was reloaded the latest text at once. Tokens come faster than
anybody reads, so they are gathered: one publication each 50 ms.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import msgspec

import flyball

node = flyball.Node()
answers = itertools.count(1)
writing: set[asyncio.Task[None]] = set()

KEPT = flyball.PublishOptions(history_size=1, history_ttl=3600, delta=True)


class Question(msgspec.Struct):
    text: str


class Answer(msgspec.Struct):
    """So far."""

    text: str
    done: bool = False


async def model(question: str) -> AsyncIterator[str]:
    """Yours: the stream of an LLM's client."""
    for word in f"You asked: {question} Let me think about that.".split(" "):
        await asyncio.sleep(0.02)
        yield f"{word} "


@node.on_connecting
def who(event: flyball.Connecting) -> flyball.Credentials:
    return flyball.Credentials(user=event.token)


@node.on_subscribe("answer:*")
def may_watch(event: flyball.Subscribing) -> flyball.SubscribeOptions:
    return flyball.SubscribeOptions(
        recoverable=True,
        recovery_mode=flyball.RecoveryMode.CACHE,
        auto_cache_recover=True,
        allowed_deltas=frozenset({"fossil"}),
    )


@node.on_rpc("ask", schema=Question)
def ask(event: flyball.Rpc) -> dict[str, str]:
    channel = f"answer:{next(answers)}"
    task = asyncio.create_task(write(channel, model(event.json(Question).text)))
    writing.add(task)
    task.add_done_callback(writing.discard)
    return {"channel": channel}


async def write(channel: str, tokens: AsyncIterator[str], interval: float = 0.05) -> None:
    """Publishes what the model says, gathered."""
    loop = asyncio.get_running_loop()
    text, due = "", loop.time()
    async for token in tokens:
        text += token
        if loop.time() >= due:
            await node.publish(channel, Answer(text), KEPT)
            due = loop.time() + interval
    await node.publish(channel, Answer(text, done=True), KEPT)


if __name__ == "__main__":
    flyball.run(node, origins=["http://localhost:*"])
