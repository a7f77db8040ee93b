"""The examples of what only a library can do, each as its readers would use it."""

import ast
import asyncio
import json
import sys
import types
from uuid import uuid4

import pytest
from contract_engines import server
from examples import celery_task, llm_stream, typed_rpc
from processes import ROOT
from waiting import until

import flyball
from flyball.engines.redis import RedisEngine
from flyball.testing import LiveServer, TestClient


async def connected(node, token="ann"):
    client = TestClient(node)
    await client.connect(token)
    return client


class TestTokensOfAModel:
    async def test_gathered_and_complete(self):
        async def tokens():
            for number in range(100):
                yield f"{number} "
                await asyncio.sleep(0)

        async with llm_stream.node as node:
            ann = await connected(node)
            await ann.subscribe("answer:x", delta="fossil")
            await llm_stream.write("answer:x", tokens())
            seen = ann.take_publications("answer:x")
            assert 2 <= len(seen) < 100, "tokens are gathered"
            # A page that is reloaded knows no position: it gets the latest text at once.
            reloaded = await connected(node, "bob")
            result = await reloaded.subscribe("answer:x")
            (latest,) = map(flyball.Publication.of, result.publications)
            answer = latest.json(llm_stream.Answer)
            assert (answer.done, answer.text.split()[-1]) == (True, "99")

    async def test_asked_by_a_client(self, monkeypatch):
        async def model(question):
            for word in ("you", "asked", question):
                yield f"{word} "

        monkeypatch.setattr(llm_stream, "model", model)
        async with llm_stream.node as node:
            ann = await connected(node)
            channel = (await ann.rpc("ask", {"text": "why"})).json()["channel"]
            await ann.subscribe(channel)
            await asyncio.gather(*llm_stream.writing)
            kept = await node.history(channel)
            assert kept.publications[0].json() == {"text": "you asked why ", "done": True}
            with pytest.raises(flyball.Error, match="107"):
                await ann.rpc("ask", {"question": "why"})

    async def test_the_model_of_the_example(self):
        assert "".join([t async for t in llm_stream.model("why?")]).startswith("You asked: why?")


async def test_typed_rpc():
    async with typed_rpc.node as node:
        ann = await connected(node)
        await ann.subscribe("orders:ann")
        receipt = (await ann.rpc("buy", {"article": "tea", "count": 2})).json(typed_rpc.Receipt)
        assert receipt == typed_rpc.Receipt("tea", 1)
        assert ann.take_publications()[0].json(typed_rpc.Order).count == 2
        for order, code in (({"article": "tea", "count": 2}, 409), ({"artikel": "tea"}, 107)):
            with pytest.raises(flyball.Error) as refused:
                await ann.rpc("buy", order)
            assert refused.value.code == code
        with pytest.raises(flyball.Error, match="103"):
            await ann.subscribe("orders:bob")
    described = flyball.asyncapi(node)["components"]["schemas"]
    assert described["Order"]["required"] == ["article"]


def test_a_celery_task(monkeypatch):
    node = flyball.Node(clients=False)
    with LiveServer(node, api_key="secret") as server:
        monkeypatch.setenv("PUBLISH_URL", f"{server.http_url}/api")
        monkeypatch.setenv("PUBLISH_KEY", "secret")
        for _ in range(2):  # a retry
            assert celery_task.build_report.apply(args=("ann", "may")).get() == 1
        (told,) = server.run(node.history("reports:ann")).publications
        assert told.json() == {"month": "may", "pages": 21}
        celery_task.publisher().close()
    celery_task.publisher.cache_clear()


async def test_a_celery_task_with_a_store(monkeypatch):
    address = server("redis").unix_url
    monkeypatch.setenv("PUBLISH_URL", address)
    monkeypatch.delenv("PUBLISH_KEY", raising=False)
    user = uuid4().hex
    async with flyball.Node(clients=False, engine=RedisEngine(address)) as node:
        for _ in range(2):  # a retry
            task = celery_task.build_report.apply
            assert (await asyncio.to_thread(task, args=(user, "may"))).get() == 1
        (told,) = (await node.history(f"reports:{user}")).publications
        assert told.json() == {"month": "may", "pages": 21}
    await asyncio.to_thread(celery_task.publisher().close)
    celery_task.publisher.cache_clear()


async def test_the_notebook(monkeypatch):
    """Its cells, one after the other, as a kernel runs them; the display is a list here."""
    shown = []

    class Display(types.SimpleNamespace):
        def update(self, value):
            shown.append(value)

    fake = types.ModuleType("IPython.display")
    fake.display = lambda value, *, display_id: Display()
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    notebook = json.loads((ROOT / "examples/live_channel.ipynb").read_text())
    space = {}
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    for number, source in enumerate(cells):
        if number == len(cells) - 1:
            await until(lambda: len(shown) == 3, "publications")
        code = compile(source, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waiting = eval(code, space)
        if waiting is not None:
            await waiting
    assert shown[-1] == "sensor:1: 21.0 °C"
    assert [row["offset"] for row in space["rows"]] == [1, 2, 3]
    assert not space["node"].running
