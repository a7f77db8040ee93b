"""SockJS in flyball.asgi, driven by hand."""

import asyncio
import json

import pytest
from test_asgi import CONNECT, SUBSCRIBE, Peer, http, websocket

import flyball
from flyball.core.node import Node, NodeOptions
from flyball.testing.clock import TestClock, settle
from flyball.transports.sockjs.sessions import SockJsOptions

S = "/sockjs/000/session"


class App:
    def __init__(self, **options):
        self.clock = TestClock()
        node_options = {"ping_interval": 0.0, **options.pop("node", {})}
        self.node = Node(NodeOptions(**node_options), clock=self.clock)
        self.node.on_connecting(lambda event: flyball.Credentials(user="u"))
        self.node.on_subscribe(lambda event: flyball.SubscribeOptions())
        self.app = flyball.asgi.app(self.node, transports=["sockjs"], **options)

    def ask(self, name, body=b"", method="POST", **more):
        return http(self.app, method, f"{S}/{name}", body, **more)

    async def say(self, *commands):
        peer = self.ask("xhr_send", json.dumps(commands).encode())
        await peer.end()
        return peer.status

    async def poll(self):
        peer = self.ask("xhr")
        await peer.end()
        assert peer.status == 200
        assert peer.sent[-1].get("more_body", False) is False
        assert int(dict(peer.sent[0]["headers"])[b"content-length"]) == len(peer.body)
        return peer.body.decode().removesuffix("\n")


@pytest.fixture
async def make():
    made = []

    def build(**options):
        made.append(App(**options))
        return made[-1]

    yield build
    for app in made:
        app.clock.advance(20)
        await app.node.shutdown()
        assert not app.node.hub.sessions
        assert not app.node.pending_sessions
        assert not app.clock.pending
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_polls(make):
    app = make()
    assert await app.poll() == "o"
    assert await app.say(CONNECT, SUBSCRIBE) == 204
    replies = json.loads((await app.poll())[1:])[0].split("\n")
    assert "connect" in json.loads(replies[0])
    waiting = asyncio.ensure_future(app.poll())
    await settle()
    await app.node.publish("news", 1)
    assert '\\"data\\":1' in await waiting
    (session,) = app.node.hub.sessions.values()
    assert session.remote_addr == "127.0.0.1:5000"
    await app.node.disconnect_user("u")
    assert await app.poll() == 'c[3503,"force disconnect"]'
    assert await app.say(CONNECT) == 404


@pytest.mark.parametrize("name", ["xhr_streaming", "eventsource", "htmlfile"])
async def test_streams(make, name):
    app = make()
    method = "POST" if name == "xhr_streaming" else "GET"
    stream = app.ask(name, method=method, query=b"c=cb")
    await stream.until(lambda: len(stream.sent) > 1)
    assert stream.status == 200
    await app.say(CONNECT, SUBSCRIBE)
    for n in range(20):
        await app.node.publish("news", f"number {n}.")
    await stream.until(lambda: b"number 19." in stream.body)
    assert all(f"number {n}.".encode() in stream.body for n in range(20))
    await app.node.disconnect_user("u")
    await stream.end()
    assert b"c[3503," in stream.body
    assert stream.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_streams_end_and_go_on(make):
    app = make()
    stream = app.ask("xhr_streaming")
    await stream.until(lambda: len(stream.sent) > 1)
    await app.say(CONNECT, SUBSCRIBE)
    for n in range(20):
        await app.node.publish("news", [n, "x" * 10_000])
        await asyncio.sleep(0)
    await stream.end()
    other = app.ask("xhr_streaming")
    await other.until(lambda: b"[19," in other.body)
    seen = stream.body + other.body
    assert [n for n in range(20) if seen.count(b"[%d," % n) == 1] == list(range(20))
    other.give(type="http.disconnect")
    await other.end()


async def test_a_stream_whose_client_left(make):
    app = make()
    stream = app.ask("xhr_streaming")
    await stream.until(lambda: len(stream.sent) > 1)
    await app.say(CONNECT)
    assert app.node.hub.num_clients == 1
    stream.give(type="http.disconnect")
    await stream.end()
    assert app.node.hub.num_clients == 0
    assert await app.poll() == 'c[1002,"Connection interrupted"]'


async def test_a_poll_whose_client_left(make):
    app = make()
    assert await app.poll() == "o"
    poll = app.ask("xhr")
    await settle()
    poll.give(type="http.disconnect")
    await poll.end()
    assert not poll.sent
    assert await app.poll() == 'c[1002,"Connection interrupted"]'


async def test_slow_readers_are_cut_with_bounded_memory(make):
    app = make(node={"queue_max_size": 10_000})
    stream = app.ask("xhr_streaming")
    await stream.until(lambda: len(stream.sent) > 1)
    await app.say(CONNECT, SUBSCRIBE)
    stream.gate.clear()
    for _ in range(20):
        await app.node.publish("news", "x" * 1000)
        await asyncio.sleep(0)
    assert app.node.metrics.server_disconnects[3008] == 1
    stream.gate.set()
    await stream.end()
    assert b"c[3008," in stream.body


async def test_readers_that_take_nothing_are_given_up(make):
    app = make()
    stream = app.ask("xhr_streaming")
    await stream.until(lambda: len(stream.sent) > 1)
    await app.say(CONNECT, SUBSCRIBE)
    stream.gate.clear()
    await app.node.publish("news", 1)
    await asyncio.sleep(0)
    app.clock.advance(9)
    assert app.node.hub.num_clients == 1, "progress cannot be seen, so it has some time"
    app.clock.advance(2)
    assert app.node.metrics.server_disconnects[3009] == 1
    await stream.end()


async def test_websocket(make):
    app = make()
    peer = websocket(app.app, f"{S}/websocket")
    await peer.until(lambda: len(peer.sent) == 2)
    assert peer.sent[1] == {"type": "websocket.send", "text": "o"}
    peer.give(type="websocket.receive", text="")
    peer.give(type="websocket.receive", text=json.dumps([CONNECT, SUBSCRIBE]))
    await peer.until(lambda: len(peer.sent) == 3)
    lines = json.loads(peer.sent[2]["text"][1:])[0].split("\n")
    assert json.loads(lines[1]) == {"id": 2, "subscribe": {}}
    await app.node.publish("news", {"a": "\u2028"})
    await peer.until(lambda: len(peer.sent) == 4)
    assert "\\u2028" in peer.sent[3]["text"]
    await app.node.disconnect_user("u")
    await peer.end()
    assert [e.get("text", e.get("code")) for e in peer.sent[-2:]] == [
        'c[3503,"force disconnect"]',
        3503,
    ]


async def test_a_broken_websocket_message(make):
    app = make()
    peer = websocket(app.app, f"{S}/websocket")
    peer.give(type="websocket.receive", text="{")
    await peer.end()
    assert peer.sent[-2]["text"] == 'c[3501,"bad request"]'


async def test_other_paths(make):
    app = make(sockjs=SockJsOptions(message_size_limit=10))
    for name, body, status in (("xhr", b"x" * 161, 413), ("x", b"", 404), ("jsonp", b"", 405)):
        peer = app.ask(name, body)
        await peer.end()
        assert peer.status == status
    for path in ("/sockjs", "/sockjs/", "/sockjs/info", "/sockjs/iframe-1.2.html"):
        peer = http(app.app, "GET", path)
        await peer.end()
        assert peer.status == 200
    for path in ("/sockjs/websocket", "/websocket", f"{S}/xhr"):
        peer = websocket(app.app, path, extensions={"websocket.http.response": {}})
        await peer.end()
        assert peer.sent[0]["status"] == 404
    peer = http(app.app, "GET", f"{S}/websocket")
    await peer.end()
    assert peer.status == 404


async def test_off_by_default(make):
    node = Node(clients=False)
    app = flyball.asgi.app(node)
    peer = http(app, "GET", "/sockjs/info")
    await peer.end()
    assert peer.status == 404
    assert isinstance(peer, Peer)
    await node.shutdown()
