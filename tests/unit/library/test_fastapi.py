"""The suite of a FastAPI application, as FastAPI's documentation shows: one app, a client a test."""

import pytest
from examples.asgi_fastapi import app, node
from fastapi.testclient import TestClient

import flyball

NEW = {"author": "ann", "text": "first"}


class Live:
    """A client of the connection endpoint on Starlette's test client."""

    def __init__(self, client, user="ann"):
        self._client, self._user = client, user

    def __enter__(self):
        cookie = {"cookie": f"user={self._user}"}
        self._socket = self._client.websocket_connect("/connection/websocket", headers=cookie)
        self._socket.__enter__()
        self.ask(connect={})
        return self

    def __exit__(self, *error):
        self._socket.__exit__(*error)

    def ask(self, **request):
        self._socket.send_json({"id": 1, **request})
        return self._socket.receive_json()

    def pushed(self):
        return self._socket.receive_json()["push"]


@pytest.fixture
def client():
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("number", range(3))
def test_a_comment_is_seen_at_once(client, number):
    with Live(client) as live:
        assert live.ask(subscribe={"channel": "comments:1"})["subscribe"]["recoverable"]
        assert client.post("/articles/1/comments", json=NEW).json() == {"offset": 1}
        assert live.pushed()["pub"]["data"] == NEW


def test_nothing_is_left_of_the_test_before(client):
    with Live(client) as live:
        recover = {"channel": "comments:1", "recover": True, "offset": 0, "epoch": ""}
        assert "publications" not in live.ask(subscribe=recover)["subscribe"]
        assert node.hub.num_clients == 1


def test_a_plain_endpoint_publishes(client):
    with Live(client) as live:
        live.ask(subscribe={"channel": "comments:2"})
        assert client.post("/articles/2/likes").json() == {"offset": 1}
        assert live.pushed()["pub"]["data"] == {"likes": 1}


def test_without_a_lifespan():
    """A client that is not entered runs no lifespan, and makes an event loop for each call."""
    client = TestClient(app)
    for _ in range(2):
        with Live(client) as live:
            assert live.ask(subscribe={"channel": "comments:1"})["subscribe"]["recoverable"]
        assert client.post("/articles/1/comments", json=NEW).status_code == 201


def test_a_page_of_another_origin(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect):
        client.websocket_connect(
            "/connection/websocket", headers={"origin": "https://evil.example"}
        ).__enter__()


async def test_the_node_itself_twice():
    """Also in another event loop, and twice in one."""
    for _ in range(2):
        async with node:
            client = flyball.testing.TestClient(node, headers={"cookie": "user=ann"})
            await client.connect()
            await client.subscribe("comments:1")
            await node.publish("comments:1", NEW)
            assert client.take_publications()[0].json() == NEW
