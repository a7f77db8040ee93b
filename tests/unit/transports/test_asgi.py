"""flyball.asgi without a server: the ASGI callable is driven by hand."""

import asyncio
import json

import pytest
from waiting import PATIENCE, until

import flyball
from flyball.core.node import Node, NodeOptions
from flyball.engines import MemoryBroker
from flyball.testing.clock import settle
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.outbox import CLOSE_TIMEOUT, WRITE_TIMEOUT
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.websocket.uni import UniWebSocketOptions

CONNECT = '{"id":1,"connect":{}}'
SUBSCRIBE = '{"id":2,"subscribe":{"channel":"news"}}'


class Peer:
    """The server's side of one scope."""

    def __init__(self, app, scope):
        self.sent = []
        self.gate = asyncio.Event()
        """Cleared, writes wait: the client does not read."""
        self.gate.set()
        self._inbox = asyncio.Queue()
        self._news = asyncio.Event()
        self.task = asyncio.ensure_future(app(scope, self._inbox.get, self._send))

    async def _send(self, event):
        await self.gate.wait()
        self.sent.append(event)
        self._news.set()

    def give(self, **event):
        self._inbox.put_nowait(event)

    async def until(self, condition):
        await until(condition, lambda: f"event; {self.sent}", news=self._news)

    async def end(self):
        await asyncio.wait_for(self.task, PATIENCE)

    @property
    def messages(self):
        """Replies and pushes of a WebSocket."""
        texts = [e["text"] for e in self.sent if e["type"] == "websocket.send"]
        return [json.loads(line) for text in texts for line in text.split("\n")]

    @property
    def body(self):
        return b"".join(e["body"] for e in self.sent if e["type"] == "http.response.body")

    @property
    def status(self):
        return next(e["status"] for e in self.sent if e["type"] == "http.response.start")


@pytest.fixture
async def make():
    nodes = []

    def build(node_options=None, subs=(), clock=None, **options):
        node = Node(NodeOptions(**{"ping_interval": 0.0, **(node_options or {})}), clock=clock)
        node.on_connecting(lambda event: flyball.Credentials(user="u", subs=list(subs)))
        node.on_subscribe(lambda event: flyball.SubscribeOptions())
        node.on_rpc(lambda event: event.data)
        nodes.append(node)
        return node, flyball.asgi.app(node, **options)

    yield build
    for node in nodes:
        await node.shutdown()
        assert not node.hub.sessions
        assert not node.pending_sessions
        assert not node.tasks
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def websocket(app, path="/websocket", headers=(), query=b"", **more):
    scope = {
        "type": "websocket",
        "path": path,
        "query_string": query,
        "headers": list(headers),
        "subprotocols": [],
        "client": ("127.0.0.1", 5000),
        **more,
    }
    peer = Peer(app, scope)
    peer.give(type="websocket.connect")
    return peer


def http(app, method, path, body=b"", headers=(), query=b""):
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": list(headers),
        "client": ("127.0.0.1", 5000),
    }
    peer = Peer(app, scope)
    peer.give(type="http.request", body=body, more_body=False)
    return peer


async def joined(app, **how):
    peer = websocket(app, **how)
    peer.give(type="websocket.receive", text=f"{CONNECT}\n{SUBSCRIBE}")
    await peer.until(lambda: len(peer.messages) == 2)
    return peer


async def test_websocket(make):
    node, app = make()
    peer = await joined(app, headers=[(b"x-y", b"z")])
    assert peer.sent[0] == {"type": "websocket.accept", "subprotocol": None}
    (session,) = node.hub.sessions.values()
    assert session.headers == {"x-y": "z"}
    for n in range(50):
        await node.publish("news", n)
    await peer.until(lambda: len(peer.messages) == 52)
    assert [m["push"]["pub"]["data"] for m in peer.messages[2:]] == list(range(50))
    await node.disconnect_user("u")
    await peer.end()
    assert peer.sent[-1] == {"type": "websocket.close", "code": 3503, "reason": "force disconnect"}


UNI = ["uni_websocket"]


@pytest.mark.parametrize("in_query", [True, False])
async def test_uni_websocket(make, in_query):
    node, app = make(transports=UNI, subs=["news"])
    query = b"cf_connect=%7B%7D" if in_query else b""
    peer = websocket(app, path="/uni_websocket", query=query)
    if not in_query:
        peer.give(type="websocket.receive", text="{}")
    await peer.until(lambda: peer.messages)
    assert set(peer.messages[0]["connect"]) >= {"client", "subs"}
    peer.give(type="websocket.receive", text="ignored")
    (session,) = node.hub.sessions.values()
    session.transport.cork()
    await node.publish("news", 1)
    await node.publish("news", 2)
    session.transport.uncork()
    await peer.until(lambda: len(peer.messages) == 3)
    assert [m["pub"]["data"] for m in peer.messages[1:]] == [1, 2]
    await node.disconnect_user("u")
    await peer.end()
    disconnect = {"code": 3503, "reason": "force disconnect"}
    assert peer.messages[-1] == {"disconnect": disconnect}
    assert peer.sent[-1] == {"type": "websocket.close", **disconnect}


async def test_uni_websocket_joins_pushes_and_says_nothing_at_the_end(make):
    options = UniWebSocketOptions(join_push_messages=True, disable_disconnect_push=True)
    node, app = make(transports=UNI, uni_websocket=options)
    peer = websocket(app, path="/uni_websocket", query=b"cf_connect=%7B%7D")
    await peer.until(lambda: peer.messages)
    await node.disconnect_user("u")
    await peer.end()
    assert [event["type"] for event in peer.sent[-2:]] == ["websocket.send", "websocket.close"]
    assert "connect" in peer.messages[-1]


async def test_uni_websocket_bad_requests(make):
    _, app = make(transports=UNI)
    peer = websocket(app, path="/uni_websocket", query=b"cf_connect=%7B")
    await peer.end()
    assert [e["type"] for e in peer.sent] == ["websocket.close"]
    peer = websocket(app, path="/uni_websocket")
    peer.give(type="websocket.receive", text="zz")
    await peer.end()
    assert [e["type"] for e in peer.sent] == ["websocket.accept", "websocket.close"]
    assert peer.sent[-1]["code"] == 3501
    peer = websocket(app, path="xuni_websocket")
    await peer.end()
    assert [e["type"] for e in peer.sent] == ["websocket.close"]
    peer = websocket(app)  # not among the transports
    await peer.end()
    assert [e["type"] for e in peer.sent] == ["websocket.close"]


async def test_a_broadcast_is_one_object_for_all(make):
    node, app = make()
    peers = [await joined(app) for _ in range(3)]
    await node.publish("news", 1)
    for peer in peers:
        await peer.until(lambda peer=peer: len(peer.messages) == 3)
    assert len({id(peer.sent[-1]) for peer in peers}) == 1
    for peer in peers:
        peer.give(type="websocket.disconnect", code=1001)
        await peer.end()


@pytest.mark.parametrize(
    "how", [{"subprotocols": ["x", "centrifuge-protobuf"]}, {"query": b"format=protobuf"}]
)
async def test_protobuf(make, how):
    _, app = make()
    peer = websocket(app, **how)
    peer.give(type="websocket.receive", bytes=b"\x04\x08\x01\x22\x00")
    await peer.until(lambda: len(peer.sent) == 2)
    chosen = "centrifuge-protobuf" if "subprotocols" in how else None
    assert peer.sent[0]["subprotocol"] == chosen
    assert b"\x08\x01" in peer.sent[1]["bytes"]
    peer.give(type="websocket.disconnect")
    await peer.end()


async def test_a_client_that_goes_away_frees_its_session(make):
    node, app = make()
    peer = await joined(app)
    assert node.hub.num_clients == 1
    peer.give(type="websocket.disconnect", code=1006)
    await peer.end()
    assert node.hub.num_clients == 0
    assert peer.sent[-1]["type"] == "websocket.send"


async def test_a_write_that_does_not_end_is_given_up(make, clock):
    node, app = make(clock=clock)
    peer = await joined(app)
    clock.advance(WRITE_TIMEOUT + 1)  # a look, while nothing is under way
    peer.gate.clear()
    await node.publish("news", 1)
    await settle()
    clock.advance(WRITE_TIMEOUT - 1)
    assert node.hub.num_clients == 1
    clock.advance(WRITE_TIMEOUT + 2)  # the second look that finds this write
    assert node.metrics.server_disconnects[3009] == 1
    await peer.end()
    assert len(peer.messages) == 2


async def test_one_write_after_the_other_is_no_stall(make, clock):
    node, app = make(clock=clock)
    peer = await joined(app)
    for n in range(5):
        peer.gate.clear()
        await node.publish("news", n)
        await settle()
        clock.advance(WRITE_TIMEOUT - 1)  # each look finds another write under way
        assert node.hub.num_clients == 1
        peer.gate.set()
        await peer.until(lambda n=n: len(peer.messages) == 3 + n)
    await node.disconnect_user("u")
    await peer.end()


async def test_the_end_waits_for_what_was_written_but_not_for_ever(make, clock):
    node, app = make(clock=clock)
    peer = await joined(app)
    peer.gate.clear()
    await node.publish("news", 1)
    await settle()
    await node.disconnect_user("u")
    clock.advance(CLOSE_TIMEOUT - 1)
    await settle()
    assert not peer.task.done()
    clock.advance(2)
    await peer.end()
    assert len(peer.messages) == 2


async def test_slow_readers_are_cut_with_bounded_memory(make):
    node, app = make(node_options={"queue_max_size": 10_000})
    slow, quick = await joined(app), await joined(app)
    slow.gate.clear()
    for _ in range(20):
        await node.publish("news", "x" * 1000)
        await asyncio.sleep(0)
    assert node.metrics.server_disconnects[3008] == 1
    await quick.until(lambda: len(quick.messages) == 22)
    slow.gate.set()
    await slow.end()
    assert slow.sent[-1]["code"] == 3008
    assert len(slow.messages) < 22
    quick.give(type="websocket.disconnect")
    await quick.end()


async def test_too_big_a_message(make):
    node, app = make(websocket=WebSocketOptions(message_size_limit=100))
    peer = await joined(app)
    peer.give(type="websocket.receive", text="x" * 101)
    await peer.end()
    assert peer.sent[-1]["code"] == 1009
    assert node.metrics.transport_closes == {("websocket", 1009): 1}


async def test_bad_commands(make):
    _, app = make()
    peer = websocket(app)
    peer.give(type="websocket.receive", text="zz")
    await peer.end()
    assert peer.sent[-1]["code"] == 3501


async def test_refused_handshakes(make):
    node, app = make(origins=["https://ok.example"])
    evil = [(b"origin", b"https://evil.example")]
    peer = websocket(app, headers=evil)
    await peer.end()
    assert [e["type"] for e in peer.sent] == ["websocket.close"]
    # Servers with the extension log an error for a 403 that is spelled out.
    peer = websocket(app, headers=evil, extensions={"websocket.http.response": {}})
    await peer.end()
    assert [e["type"] for e in peer.sent] == ["websocket.close"]
    peer = websocket(app, path="/elsewhere", extensions={"websocket.http.response": {}})
    await peer.end()
    assert peer.sent[0]["status"] == 404
    assert not node.hub.sessions


async def test_limits(make):
    _, app = make(limits=ConnectionLimits(lambda: 1, limit=1))
    peer = websocket(app, extensions={"websocket.http.response": {}})
    await peer.end()
    assert peer.sent[0]["status"] == 503
    stream = http(app, "POST", "/http_stream", CONNECT.encode())
    await stream.end()
    assert stream.status == 503


async def test_http_stream_and_emulation(make):
    node, app = make()
    stream = http(app, "POST", "/http_stream", CONNECT.encode())
    await stream.until(lambda: b"\n" in stream.body)
    connect = json.loads(stream.body)["connect"]
    request = {"session": connect["session"], "node": connect["node"], "data": SUBSCRIBE}
    command = http(app, "POST", "/emulation", json.dumps(request).encode())
    await command.end()
    assert command.status == 204
    await stream.until(lambda: b'"id":2' in stream.body)
    await node.publish("news", 7)
    await stream.until(lambda: b'"data":7' in stream.body)
    await node.disconnect_user("u")
    await stream.end()
    assert json.loads(stream.body.splitlines()[-1])["push"]["disconnect"]["code"] == 3503
    assert stream.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_a_stream_whose_client_left(make):
    node, app = make(transports=["sse", "uni_sse"])
    for path in ("/sse", "/uni_sse"):
        body = CONNECT.encode() if path == "/sse" else b"{}"
        stream = http(app, "POST", path, body)
        await stream.until(lambda stream=stream: b"connect" in stream.body)
        assert stream.body.startswith(b"\r\ndata: ")
        assert node.hub.num_clients == 1
        stream.give(type="http.disconnect")
        await stream.end()
        assert node.hub.num_clients == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/http_stream", b"", 405),
        ("PUT", "/sse", b"", 405),
        ("GET", "/sse", b"", 400),
        ("POST", "/http_stream", b"x" * 1001, 413),
        ("POST", "/emulation", b"x" * 1001, 413),
        ("POST", "/emulation", b"{", 400),
        ("GET", "/emulation", b"", 405),
        ("POST", "/init", b"", 405),
        ("GET", "/init", b"", 200),
        ("GET", "/websocket", b"", 404),
        ("GET", "/", b"", 404),
        ("POST", "/uni_sse", b"{}", 404),
    ],
)
async def test_refused_requests(make, method, path, body, status):
    node, app = make(max_request_body_size=1000)
    peer = http(app, method, path, body)
    await peer.end()
    assert peer.status == status
    assert not node.hub.sessions


async def test_preflight(make):
    _, app = make(origins=["https://ok.example"])
    headers = [
        (b"origin", b"https://ok.example"),
        (b"access-control-request-headers", b"content-type"),
    ]
    peer = http(app, "OPTIONS", "/http_stream", headers=headers)
    await peer.end()
    assert peer.status == 204
    found = dict(peer.sent[0]["headers"])
    assert found[b"access-control-allow-origin"] == b"https://ok.example"
    assert found[b"access-control-allow-methods"] == b"POST, OPTIONS"


async def test_lifespan(make):
    node, app = make()
    for _ in range(2):  # a test client may live through it in every test
        peer = Peer(app, {"type": "lifespan"})
        peer.give(type="lifespan.startup")
        await peer.until(lambda peer=peer: peer.sent)
        assert peer.sent == [{"type": "lifespan.startup.complete"}]
        assert node.running
        peer.give(type="lifespan.shutdown")
        await peer.end()
        assert peer.sent[-1] == {"type": "lifespan.shutdown.complete"}
        assert not node.running


@pytest.mark.parametrize("moment", ["startup", "shutdown"])
async def test_a_failing_lifespan_is_told(moment):
    class Broken(MemoryBroker):
        async def start(self, events):
            if moment == "startup":
                raise OSError("no store")

        async def close(self):
            if moment == "shutdown":
                raise OSError("no store")

    peer = Peer(flyball.asgi.app(Node(broker=Broken(), clients=False)), {"type": "lifespan"})
    peer.give(type="lifespan.startup")
    peer.give(type="lifespan.shutdown")
    await peer.end()
    assert peer.sent[-1] == {"type": f"lifespan.{moment}.failed", "message": "no store"}


async def once(app):
    peer = http(app, "GET", "/nowhere")
    await peer.end()
    return peer.status


def test_a_closed_loop_is_left_behind():
    """Test clients without a lifespan make a loop for each connection."""
    node = Node(clients=False)
    app = flyball.asgi.app(node)
    for _ in range(3):
        assert asyncio.run(once(app)) == 404
        assert node.running


def test_one_loop_at_a_time():
    app = flyball.asgi.app(Node(clients=False))
    other = asyncio.new_event_loop()
    try:
        assert other.run_until_complete(once(app)) == 404
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(once(app))
    finally:
        other.run_until_complete(app.node.shutdown())
        other.close()


async def test_a_late_request_starts_no_node_again(make):
    node, app = make()
    assert await once(app) == 404
    await node.shutdown()
    assert await once(app) == 404
    assert not node.running


def test_unknown_transports():
    with pytest.raises(ValueError, match="'carrier_pigeon' is not known; expected some of webs"):
        flyball.asgi.app(Node(), transports=["carrier_pigeon"])
