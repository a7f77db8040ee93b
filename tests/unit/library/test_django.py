"""The suite of a Django application: plain tests and async ones, with Django's own clients."""

import asyncio

import aiohttp
import pytest
from django.db import connection, connections, transaction
from django.test import AsyncClient, Client
from examples.asgi_django import Article, app, migrate, node
from waiting import PATIENCE

from flyball import WrongLoopError
from flyball.testing import LiveServer, TestClient


@pytest.fixture(autouse=True)
def no_thread_outlives_its_test():
    """Django's bridge between sync and async keeps a thread: not ours."""


@pytest.fixture(scope="module", autouse=True)
def database(tmp_path_factory):
    """A file, as threads share none in memory."""
    file = str(tmp_path_factory.mktemp("news") / "db.sqlite3")
    connection.settings_dict["NAME"] = file
    migrate()
    yield
    connections.close_all()


class Reader:
    """A subscriber in the loop of a live server."""

    def __init__(self, server):
        self._server = server
        self._client = server.run(self._connect())

    async def _connect(self):
        client = TestClient(node)
        await client.connect()
        return client

    def news(self):
        async def take():
            return [p.json()["headline"] for p in self._client.take_publications("news")]

        return self._server.run(take())


class TestPlainly:
    """Views and models in a thread of their own, the node in another."""

    @pytest.fixture
    def reader(self):
        with LiveServer(node) as server:
            yield Reader(server)

    def test_a_plain_view(self, reader):
        assert Client().post("/articles", {"headline": "hello"}).status_code == 201
        assert reader.news() == ["hello"]

    def test_a_save_is_told_when_it_is_committed(self, reader):
        with transaction.atomic():
            Article(headline="later").save()
            assert reader.news() == []
        assert reader.news() == ["later"]

    def test_what_is_rolled_back_is_not_told(self, reader):
        with transaction.atomic():
            Article(headline="never").save()
            transaction.set_rollback(True)
        assert reader.news() == []

    def test_an_async_view_from_a_plain_test(self, reader):
        """Django runs it in an event loop of its own: that is for async tests."""
        with pytest.raises(WrongLoopError, match=r"node\.threadsafe"):
            Client().post("/announce", {"headline": "x"})


def test_without_a_node_nobody_is_told():
    assert Client().post("/articles", {"headline": "quiet"}).status_code == 201


class TestAsync:
    """The node in the loop of the test."""

    @pytest.fixture
    async def reader(self):
        async with node:
            client = TestClient(node)
            await client.connect()
            yield client

    async def test_an_async_view(self, reader):
        answer = await AsyncClient().post("/announce", {"headline": "hello"})
        assert answer.json() == {"readers": 1}
        assert reader.take_publications()[0].json() == {"headline": "hello"}

    async def test_a_plain_view(self, reader):
        """It runs on a thread, and waits for this loop."""
        assert (await AsyncClient().post("/articles", {"headline": "x"})).status_code == 201
        assert reader.take_publications()[0].json()["headline"] == "x"


def test_the_whole_application(flyball_live):
    """Over a real port: the ASGI app beside the connection endpoints."""
    server = flyball_live(node, app=app)

    async def talk():
        base = f"http://127.0.0.1:{server.port}"
        async with aiohttp.ClientSession() as web, web.ws_connect(server.url) as socket:
            await socket.send_json({"id": 1, "connect": {}})
            await socket.receive_json(timeout=PATIENCE)
            async with web.post(f"{base}/articles", data={"headline": "hi"}) as answer:
                assert answer.status == 201
            push = await socket.receive_json(timeout=PATIENCE)
            assert push["push"]["pub"]["data"]["headline"] == "hi"

    asyncio.run(talk())
