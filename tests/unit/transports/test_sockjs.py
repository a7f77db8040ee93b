"""SockJS over raw sockets: every receiver, the senders, and sessions between requests."""

import asyncio
import json
import re
import socket
from itertools import count

import pytest
from wsclient import UPGRADE, RawClient, client_frame, request

from flyball.core import types
from flyball.core.errors import Error
from flyball.core.node import Node, NodeOptions
from flyball.testing.clock import TestClock
from flyball.transports.limits import ConnectionLimits
from flyball.transports.listener import Listener, ListenerOptions
from flyball.transports.origin import OriginPolicy
from flyball.transports.site import Site
from flyball.transports.sockjs import sessions as sockjs_sessions
from flyball.transports.sockjs.endpoint import SockJsEndpoint
from flyball.transports.sockjs.sessions import SockJsOptions
from flyball.transports.sockjs.websocket import SockJsWebSocketEndpoint
from flyball.transports.websocket.endpoint import WebSocketOptions

ORIGIN = "https://app.example.com"
FROM_PAGE = f"Origin: {ORIGIN}\r\n"
CONNECT = '{"id":1,"connect":{}}'
SUBSCRIBE = '{"id":2,"subscribe":{"channel":"a"}}'
NO_CACHE = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
SCRIPT = "application/javascript; charset=UTF-8"
INTERRUPTED = 'c[1002,"Connection interrupted"]'
ANOTHER = 'c[2010,"Another connection still open"]'
ids = count(1)


class Server:
    def __init__(self, node, clock, listener, endpoint):
        self.node, self.clock, self.listener = node, clock, listener
        self.endpoint, self.sessions, self.port = endpoint, endpoint.sessions, listener.port

    @property
    def transport(self):
        (transport,) = self.sessions._transports.values()
        return transport

    async def until(self, condition):
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)


@pytest.fixture
async def server(request):
    options = getattr(request, "param", {})
    clock = TestClock()
    node = Node(NodeOptions(**{"ping_interval": 0.0, **options.get("node", {})}), clock=clock)

    @node.on_connecting
    def connecting(event):
        if event.token == "expired":
            raise Error(109)
        return types.Credentials(user="u")

    node.on_subscribe(lambda event: types.SubscribeOptions())
    node.on_rpc(lambda event: event.data)
    await node.start()
    limits = options.get("limits")
    limits = ConnectionLimits(lambda: node.hub.num_clients, **limits) if limits else None
    origins = options.get("origins", ["https://*.example.com"])
    settings = SockJsOptions(**{"message_size_limit": 500, **options.get("sockjs", {})})
    endpoint = SockJsEndpoint(node, origins, settings, limits)
    socket = SockJsWebSocketEndpoint(
        node, OriginPolicy(origins), WebSocketOptions(message_size_limit=500), limits
    )
    site = Site(websockets={"/s/*/*/websocket": socket}, routes=endpoint.routes("/s"))
    listener = Listener(ListenerOptions("127.0.0.1"), site)
    await listener.start()
    yield Server(node, clock, listener, endpoint)
    while RawClient.opened:
        client = RawClient.opened.pop()
        client.writer.transport.abort()
        await client.close()
    clock.advance(20)
    await asyncio.sleep(0.01)
    clock.advance(20)
    listener.stop_accepting()
    await node.shutdown()
    await listener.close(grace=0.1)
    await asyncio.sleep(0)
    assert not node.hub.sessions
    assert not node._newcomers
    assert not node._tasks
    assert not listener.watch.members
    assert not len(endpoint.sessions)
    assert not clock.pending


class Asker(RawClient):
    """A client that keeps its connection for one request after the other."""

    async def ask(self, path, body=None, headers="", method=None, version="1.1"):
        method = method or ("GET" if body is None else "POST")
        data = body.encode() if isinstance(body, str) else body or b""
        self.send(
            f"{method} {path} HTTP/{version}\r\nHost: server.example\r\n{headers}"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        head = (await self.head()).decode()
        self.status = int(head.split(" ")[1])
        self.headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        return self

    async def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while chunk := await self.chunk():
                chunks.append(chunk)
            return "".join(chunks)
        return (await self.read(int(self.headers.get("Content-Length", 0)))).decode()

    async def chunk(self):
        size = int(await asyncio.wait_for(self.reader.readline(), 5), 16)
        data = await self.read(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2].decode()

    async def rest_of_answer(self):
        """The bytes up to the last chunk."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n0\r\n\r\n"), 5)

    async def poll(self, session, headers=""):
        """The frame that one poll brings."""
        await self.ask(f"{session}/xhr", "", headers)
        assert self.status == 200
        body = await self.body()
        assert body.endswith("\n")
        return body[:-1]


async def ask(server, path, body=None, headers="", **kwargs):
    client = await Asker.open(server.port)
    return await client.ask(path, body, headers, **kwargs)


async def say(server, session, *commands):
    """Sends commands; each call on a connection of its own."""
    client = await ask(server, f"{session}/xhr_send", json.dumps(commands))
    assert client.status == 204
    client.writer.close()


def new_session():
    return f"/s/000/session-{next(ids)}"


def replies(frame):
    """What the protocol's client gets out of an ``a`` frame."""
    assert frame[0] == "a", frame
    return [json.loads(line) for text in json.loads(frame[1:]) for line in text.split("\n")]


async def connected(server, poller, session):
    assert await poller.poll(session) == "o"
    await say(server, session, CONNECT, SUBSCRIBE)
    connect, subscribe = replies(await poller.poll(session))
    assert set(connect["connect"]) == {"client"}  # neither session nor node
    assert subscribe == {"id": 2, "subscribe": {}}


class Prelude:
    """How each stream begins, and how a frame stands in it."""

    @staticmethod
    async def xhr_streaming(client):
        first = await client.chunk()
        assert first == "h" * 2048 + "\n"

    @staticmethod
    async def eventsource(client):
        assert await client.chunk() == "\r\n"

    @staticmethod
    async def htmlfile(client):
        page = await client.chunk()
        assert len(page) > 1024
        assert "var c = parent.call.back;" in page
        assert page.endswith("\r\n\r\n")


def unwrap(name, body):
    """The frame in a piece of a stream."""
    if name == "xhr_streaming":
        assert body.endswith("\n")
        return body[:-1]
    if name == "eventsource":
        match = re.fullmatch(r"data: (.*)\r\n\r\n", body)
        return match[1].replace("%25", "%")
    match = re.fullmatch(r'<script>\np\((".*")\);\n</script>\r\n', body)
    return json.loads(match[1])


STREAMS = {
    "xhr_streaming": ("POST", "xhr_streaming", SCRIPT),
    "eventsource": ("GET", "eventsource", "text/event-stream; charset=UTF-8"),
    "htmlfile": ("GET", "htmlfile?c=call.back", "text/html; charset=UTF-8"),
}


async def stream(server, session, name, headers=""):
    method, path, _ = STREAMS[name]
    client = await ask(server, f"{session}/{path}", "" if method == "POST" else None, headers)
    assert client.status == 200
    await getattr(Prelude, name)(client)
    return client


# -- receivers


@pytest.mark.parametrize("name", STREAMS)
async def test_streams(server, name):
    session = new_session()
    client = await stream(server, session, name, FROM_PAGE)
    assert client.headers == {
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Origin": ORIGIN,
        "Cache-Control": NO_CACHE,
        "Connection": "keep-alive",
        "Content-Type": STREAMS[name][2],
        "Transfer-Encoding": "chunked",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
    }
    assert unwrap(name, await client.chunk()) == "o"
    await say(server, session, CONNECT, SUBSCRIBE)
    connect, _ = replies(unwrap(name, await client.chunk()))
    assert set(connect["connect"]) == {"client"}
    data = {"x": "</script><!-- 100% \u2028\u200d\ufffd \U0001f600 'é' \"\\ \x00\x1f"}
    await server.node.publish("a", data)
    body = await client.chunk()
    if name == "htmlfile":
        assert "<!--" not in body
        assert body.count("</script>") == 1
    assert not re.search("[\u2028\u200d]", body)
    assert replies(unwrap(name, body)) == [{"push": {"channel": "a", "pub": {"data": data}}}]
    await server.node.disconnect_user("u")
    assert unwrap(name, await client.chunk()) == 'c[3503,"force disconnect"]'
    assert await client.chunk() == ""
    await client.ask("/s/info")  # the connection lives on
    assert client.status == 200


async def test_polls(server):
    session = new_session()
    poller = await ask(server, f"{session}/xhr", "", FROM_PAGE)
    assert poller.headers["Content-Type"] == SCRIPT
    assert poller.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert poller.headers["Cache-Control"] == NO_CACHE
    assert await poller.body() == "o\n"
    await say(server, session, CONNECT, SUBSCRIBE)
    assert "connect" in replies(await poller.poll(session))[0]
    await server.node.publish("a", 1)
    await server.node.publish("a", 2)
    assert server.transport.queued_bytes
    waited = replies(await poller.poll(session))
    assert [r["push"]["pub"]["data"] for r in waited] == [1, 2]
    waiting = asyncio.ensure_future(poller.poll(session))
    await server.until(lambda: server.transport.is_attached)
    await server.node.publish("a", 3)
    assert not server.transport.is_attached
    assert replies(await waiting)[0]["push"]["pub"]["data"] == 3
    await server.node.publish("a", 4)
    assert replies(await poller.poll(session))[0]["push"]["pub"]["data"] == 4


async def test_jsonp(server):
    session = new_session()
    form = "Content-Type: application/x-www-form-urlencoded\r\n"

    async def poll():
        await client.ask(f"{session}/jsonp?c=cb%2Eone")
        assert client.headers["Content-Type"] == SCRIPT
        assert client.headers["X-Content-Type-Options"] == "nosniff"
        assert client.headers["Cache-Control"] == NO_CACHE
        match = re.fullmatch(r'/\*\*/cb\.one\((".*")\);\r\n', await client.body())
        return json.loads(match[1])

    client = await Asker.open(server.port)
    assert await poll() == "o"
    await client.ask(f"{session}/jsonp_send", "d=" + quote_all(json.dumps([CONNECT])), form)
    assert client.status == 200
    assert await client.body() == "ok"
    assert "connect" in replies(await poll())[0]
    await client.ask(
        f"{session}/jsonp_send", json.dumps([SUBSCRIBE]), "Content-Type: text/plain\r\n"
    )
    assert await client.body() == "ok"
    assert replies(await poll()) == [{"id": 2, "subscribe": {}}]
    for body, text in (
        ("", "Payload expected."),
        ("d=", "Payload expected."),
        ("p=p", "Payload expected."),
        ("d=%5B%22x", "Broken JSON encoding."),
    ):
        await client.ask(f"{session}/jsonp_send", body, form)
        assert (client.status, await client.body()) == (400, text)


def quote_all(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())


async def test_websocket(server):
    path = new_session() + "/websocket"
    client = await RawClient.websocket(server.port, path, {"Origin": ORIGIN})
    assert await client.frame() == (0x81, b"o")
    client.text("")
    client.text("[]")
    client.text(json.dumps([CONNECT]))
    _, frame = await client.frame()
    assert set(replies(frame.decode())[0]["connect"]) == {"client"}
    client.text(json.dumps([SUBSCRIBE, '{"id":3,"rpc":{"method":"m","data":1}}']))
    _, frame = await client.frame()
    assert replies(frame.decode()) == [{"id": 2, "subscribe": {}}, {"id": 3, "rpc": {"data": 1}}]
    await server.node.publish("a", {"x": "\u2028"})
    _, frame = await client.frame()
    assert replies(frame.decode())[0]["push"]["pub"]["data"] == {"x": "\u2028"}
    (session,) = server.node.hub.sessions.values()
    assert session.transport.name == "sockjs"
    await server.node.disconnect_user("u")
    assert await client.frame() == (0x81, b'c[3503,"force disconnect"]')
    first, payload = await client.frame()
    assert (first, payload[:2]) == (0x88, (3503).to_bytes(2, "big"))
    client.send(client_frame(payload[:2], 8))
    assert await client.rest() == b""


async def test_one_id_serves_many_websockets(server):
    path = new_session() + "/websocket"
    for _ in range(2):
        client = await RawClient.websocket(server.port, path)
        assert await client.frame() == (0x81, b"o")
    assert len(server.node._newcomers) == 2


@pytest.mark.parametrize("payload", ['["a', "1", '{"a":1}', "[1]", '"a"', "[" * 400])
async def test_broken_websocket_messages(server, payload):
    client = await RawClient.websocket(server.port, new_session() + "/websocket")
    await client.frame()
    client.text(payload)
    assert await client.frame() == (0x81, b'c[3501,"bad request"]')
    assert (await client.frame())[0] == 0x88


async def test_websocket_refusals(server):
    path = new_session() + "/websocket"
    for headers, status in (
        ({**UPGRADE, "Origin": "https://evil.example"}, 403),
        ({"Connection": "close"}, 400),
    ):
        client = await RawClient.open(server.port)
        client.send(request(path, headers))
        assert f" {status} " in (await client.response())[0]
    client = await Asker.open(server.port)
    await client.ask("/s/info")
    await client.body()
    client.send(request(path))  # a connection that has served a request may become one
    assert b" 101 " in await client.head()


async def test_errors_of_connect(server):
    session = new_session()
    poller = await Asker.open(server.port)
    assert await poller.poll(session) == "o"
    await say(server, session, '{"id":1,"connect":{"token":"expired"}}')
    assert replies(await poller.poll(session))[0]["error"]["code"] == 109
    waiting = asyncio.ensure_future(poller.poll(session))
    await server.until(lambda: server.transport.is_attached)
    server.clock.advance(30)  # it polls, and so is not lost, but does not connect in time
    assert await waiting == 'c[3502,"stale"]'
    assert server.node.metrics.server_disconnects[3502] == 1


@pytest.mark.parametrize(
    "server", [{"node": {"ping_interval": 10.0, "pong_timeout": 3.0}}], indirect=True
)
async def test_pings_are_messages(server):
    session = new_session()
    client = await stream(server, session, "xhr_streaming")
    await client.chunk()
    await say(server, session, CONNECT)
    (reply,) = replies((await client.chunk())[:-1])
    assert (reply["connect"]["ping"], reply["connect"]["pong"]) == (10, True)
    for pings in (1, 2):
        while server.node.metrics.transport_sent["sockjs", "ping"] < pings:
            server.clock.advance(0.5)
        assert await client.chunk() == 'a["{}"]\n'
        if pings == 1:
            await say(server, session, "{}")
    server.clock.advance(4)
    assert await client.chunk() == 'c[3012,"no pong"]\n'


# -- several receivers, one after the other and at a time


@pytest.mark.parametrize("first", [*STREAMS, "xhr"])
async def test_a_second_receiver_is_refused(server, first):
    session = new_session()
    if first == "xhr":
        poller = await Asker.open(server.port)
        await connected(server, poller, session)
        waiting = asyncio.ensure_future(poller.poll(session))
        await server.until(lambda: server.transport.is_attached)
    else:
        client = await stream(server, session, first)
        assert unwrap(first, await client.chunk()) == "o"
        await say(server, session, CONNECT, SUBSCRIBE)
        await client.chunk()
    for name, (method, path, _) in STREAMS.items():
        other = await ask(server, f"{session}/{path}", "" if method == "POST" else None)
        body = await other.body()
        assert unwrap(name, tail(name, body)) == ANOTHER
    other = await Asker.open(server.port)
    assert await other.poll(session) == ANOTHER
    await server.node.publish("a", 1)  # the first is none the worse for it
    frame = await waiting if first == "xhr" else unwrap(first, await client.chunk())
    assert replies(frame)[0]["push"]["pub"]["data"] == 1


def tail(name, body):
    """A body without what a stream begins with."""
    start = {"xhr_streaming": "c[", "eventsource": "data: ", "htmlfile": "<script>\np("}[name]
    return body[body.rindex(start) :]


@pytest.mark.parametrize("name", STREAMS)
async def test_streams_end_after_a_while_and_lose_nothing(server, name):
    session = new_session()
    client = await stream(server, session, name)
    assert unwrap(name, await client.chunk()) == "o"
    await say(server, session, CONNECT, SUBSCRIBE)
    await client.chunk()
    sent, seen, streams = 0, [], 1
    while streams < 4:
        for _ in range(5):
            sent += 1
            await server.node.publish("a", {"n": sent, "x": "x" * 10_000})
        while len(seen) < sent:
            piece = await client.chunk()
            if piece:
                frame = unwrap(name, piece)
                seen += [r["push"]["pub"]["data"]["n"] for r in replies(frame)]
                continue
            streams += 1
            client.writer.close()
            client = await stream(server, session, name)
    assert seen == list(range(1, sent + 1))
    assert 28 < sent < 50, "three times 128 KiB"


async def test_receivers_of_a_session_may_change(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    await server.node.publish("a", 1)
    client = await stream(server, session, "eventsource")
    assert replies(unwrap("eventsource", await client.chunk()))[0]["push"]["pub"]["data"] == 1


@pytest.mark.parametrize("name", STREAMS)
async def test_http_1_0(server, name):
    session = new_session()
    method, path, _ = STREAMS[name]
    body = "" if method == "POST" else None
    client = await ask(server, f"{session}/{path}", body, version="1.0")
    assert client.headers["Connection"] == "close"
    assert "Transfer-Encoding" not in client.headers
    await say(server, session, "zz")
    body = (await client.rest()).decode()
    assert unwrap(name, tail(name, body)) == 'c[3501,"bad request"]'


async def test_polls_over_http_1_0(server):
    session = new_session()
    for expected in ("o\n", 'c[3501,"bad request"]\n'):
        client = await ask(server, f"{session}/xhr", "", version="1.0")
        assert (await client.rest()).decode() == expected
        if expected == "o\n":
            await say(server, session, "zz")


# -- the ends of sessions


async def test_sessions_without_receivers_end(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    server.clock.advance(4.9)
    await server.node.publish("a", 1)
    assert replies(await poller.poll(session))[0]["push"]["pub"]["data"] == 1
    server.clock.advance(4.9)
    assert len(server.node.hub.sessions) == 1
    server.clock.advance(0.2)
    assert not server.node.hub.sessions
    assert not len(server.sessions)
    assert server.node.metrics.transport_closes["sockjs", 3000] == 1
    client = await ask(server, f"{session}/xhr_send", json.dumps([CONNECT]))
    assert client.status == 404
    assert await poller.poll(session) == "o"  # the id may begin anew


async def test_an_end_is_told_to_later_receivers(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    await server.node.publish("a", 1)
    await server.node.disconnect_user("u")
    assert replies(await poller.poll(session))[0]["push"]["pub"]["data"] == 1
    for _ in range(2):
        assert await poller.poll(session) == 'c[3503,"force disconnect"]'
    client = await ask(server, f"{session}/eventsource")
    assert await client.body() == '\r\ndata: c[3503,"force disconnect"]\r\n\r\n'
    client = await ask(server, f"{session}/xhr_send", json.dumps([CONNECT]))
    assert client.status == 404
    server.clock.advance(5.1)
    assert await poller.poll(session) == "o"


async def test_waiting_polls_are_told_the_end(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    waiting = asyncio.ensure_future(poller.poll(session))
    await server.until(lambda: server.transport.is_attached)
    await server.node.disconnect_user("u")
    assert await waiting == 'c[3503,"force disconnect"]'


@pytest.mark.parametrize("name", [*STREAMS, "xhr"])
async def test_clients_that_vanish_free_their_session(server, name):
    session = new_session()
    if name == "xhr":
        client = await Asker.open(server.port)
        await connected(server, client, session)
        client.send(f"POST {session}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        await server.until(lambda: server.transport.is_attached)
    else:
        client = await stream(server, session, name)
        await client.chunk()
        await say(server, session, CONNECT)
        await client.chunk()
    assert len(server.node.hub.sessions) == 1
    client.writer.transport.abort()
    await server.until(lambda: not server.node.hub.sessions)
    poller = await Asker.open(server.port)
    assert await poller.poll(session) == INTERRUPTED
    server.clock.advance(5.1)
    assert not len(server.sessions)


async def test_bytes_before_the_answer_cost_the_connection(server):
    session = new_session()
    client = await Asker.open(server.port)
    await connected(server, client, session)
    ask_again = f"POST {session}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    client.send(ask_again)
    await server.until(lambda: server.transport.is_attached)
    client.send(ask_again)
    await asyncio.sleep(0.02)
    await server.node.publish("a", 1)
    assert (await client.rest()).endswith(b"\n"), "the answer, and then the end"


async def test_bytes_behind_the_request_cost_the_connection(server):
    client = await Asker.open(server.port)
    poll = f"POST {new_session()}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    client.send(poll + poll[:20])
    answer = await client.rest()
    assert answer.endswith(b"\r\n\r\no\n")
    assert b"Connection: close\r\n" in answer


@pytest.mark.parametrize("server", [{"node": {"queue_max_size": 10000}}], indirect=True)
@pytest.mark.parametrize("name", STREAMS)
async def test_slow_readers_are_cut_with_bounded_memory(server, name):
    session = new_session()
    client = await stream(server, session, name)
    client.writer.transport.pause_reading()
    await say(server, session, CONNECT, SUBSCRIBE)
    async with asyncio.timeout(10):
        while server.node.hub.sessions:
            await server.node.publish("a", "x" * 5_000)
            assert server.transport.queued_bytes <= 10000
            await asyncio.sleep(0)
    assert server.node.metrics.server_disconnects[3008] == 1
    poller = await Asker.open(server.port)
    assert await poller.poll(session) == 'c[3008,"slow"]'


@pytest.mark.parametrize("server", [{"node": {"queue_max_size": 10000}}], indirect=True)
async def test_what_waits_for_a_poll_is_bounded(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    for _ in range(200):
        await server.node.publish("a", "x" * 100)
        assert server.transport.queued_bytes <= 10000
    await server.until(lambda: not server.node.hub.sessions)
    assert await poller.poll(session) == 'c[3008,"slow"]'


async def small_pipe(server, session, name):
    """A stream whose reader has stopped, over sockets that hold little."""
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    end.connect(("127.0.0.1", server.port))
    client = Asker(*await asyncio.open_connection(sock=end, limit=2**20))
    method, path, _ = STREAMS[name]
    client.send(f"{method} {session}/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    client.writer.transport.pause_reading()
    await server.until(lambda: len(server.sessions))
    wire = server.transport._receiver._wire
    wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    await say(server, session, CONNECT, SUBSCRIBE)
    await server.until(lambda: server.node.hub.num_subscriptions)
    return client


@pytest.mark.parametrize("name", STREAMS)
async def test_readers_that_take_nothing_are_given_up(server, name):
    session = new_session()
    client = await small_pipe(server, session, name)
    while not server.transport.queued_bytes:
        await server.node.publish("a", "x" * 10_000)
    server.clock.advance(1.1)
    assert not server.node.hub.sessions
    assert server.node.metrics.server_disconnects[3009] == 1
    client.writer.transport.resume_reading()
    assert not (await client.rest()).endswith(b"0\r\n\r\n"), "it was dropped"


@pytest.mark.parametrize("server", [{"node": {"queue_max_size": 15_000}}], indirect=True)
async def test_streams_wait_for_slow_readers_within_bounds(server):
    session = new_session()
    client = await small_pipe(server, session, "xhr_streaming")
    while not server.transport.queued_bytes:
        await server.node.publish("a", "x" * 10_000)
    await server.node.publish("a", "x" * 10_000)
    await server.until(lambda: not server.node.hub.sessions)
    assert server.node.metrics.server_disconnects[3008] == 1
    client.writer.transport.resume_reading()
    assert b'\nc[3008,"slow"]\n\r\n0\r\n\r\n' in await client.rest_of_answer()


async def test_slow_readers_get_everything(server):
    session = new_session()
    client = await small_pipe(server, session, "xhr_streaming")
    while not server.transport.queued_bytes:
        await server.node.publish("a", "x" * 10_000)
    client.writer.transport.resume_reading()
    await server.until(lambda: not server.transport.queued_bytes)
    await server.node.disconnect_user("u")
    assert (await client.rest_of_answer()).endswith(b'c[3503,"force disconnect"]\n\r\n0\r\n\r\n')
    await client.ask("/s/info")
    assert client.status == 200


async def test_shutdown_says_so(server):
    sessions = [new_session() for _ in range(3)]
    client = await stream(server, sessions[0], "xhr_streaming")
    await client.chunk()
    poller = await Asker.open(server.port)
    await connected(server, poller, sessions[1])
    waiting = asyncio.ensure_future(poller.poll(sessions[1]))
    await server.until(lambda: server.sessions.get(sessions[1][7:]).is_attached)
    idle = await Asker.open(server.port)
    await connected(server, idle, sessions[2])
    await server.node.shutdown()
    assert await client.chunk() == 'c[3001,"shutdown"]\n'
    assert await client.chunk() == ""
    assert await waiting == 'c[3001,"shutdown"]'
    assert not len(server.sessions)


# -- requests that are refused


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ("", 400, "Payload expected."),
        ('["x', 400, "Broken JSON encoding."),
        ("1", 400, "Broken JSON encoding."),
        ("[1]", 400, "Broken JSON encoding."),
        (b"[\xff]", 400, "Broken JSON encoding."),
        ("[" * 4000, 400, "Broken JSON encoding."),
        (json.dumps(["x" * 501]), 413, "Request Entity Too Large"),
        ("x" * 8001, 413, "Request Entity Too Large"),
    ],
)
async def test_bad_bodies(server, body, status, text):
    session = new_session()
    poller = await Asker.open(server.port)
    assert await poller.poll(session) == "o"
    client = await ask(server, f"{session}/xhr_send", body, FROM_PAGE)
    assert client.status == status
    assert client.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert await client.body() == text
    await say(server, session)  # an empty array is fine, and the session too
    await say(server, session, CONNECT)
    assert "connect" in replies(await poller.poll(session))[0]


async def test_halves_of_surrogate_pairs_are_taken(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    command = json.dumps('{"id":3,"rpc":{"method":"m","data":"X"}}').replace("X", "\\ud800")
    client = await ask(server, f"{session}/xhr_send", f"[{command}]")
    assert client.status == 204
    assert replies(await poller.poll(session)) == [{"id": 3, "rpc": {"data": "\ufffd"}}]


@pytest.mark.parametrize("receiver", ["htmlfile", "jsonp"])
@pytest.mark.parametrize(
    "query",
    ["", "c=", "c=%20", "c=*", "c=abc(", "c=abc%28", "c=a%0d%0ab", "c=%3Cscript%3E", "c=%C3%A9"],
)
async def test_callbacks_are_names(server, receiver, query):
    client = await ask(server, f"/s/0/a/{receiver}?{query}".rstrip("?"))
    assert client.status == 400
    assert client.headers["Content-Type"] == "text/plain; charset=utf-8"
    required = query in ("", "c=")
    expected = '"callback" parameter required' if required else 'invalid "callback" parameter'
    assert await client.body() == expected
    assert not server.node._newcomers


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/s", "GET"),
        ("/s/", "GET"),
        ("/s/info", "OPTIONS, GET"),
        ("/s/iframe.html", "GET"),
        ("/s/0/a/xhr", "OPTIONS, POST"),
        ("/s/0/a/xhr_streaming", "OPTIONS, POST"),
        ("/s/0/a/xhr_send", "OPTIONS, POST"),
        ("/s/0/a/eventsource", "GET"),
        ("/s/0/a/htmlfile", "GET"),
        ("/s/0/a/jsonp", "GET"),
        ("/s/0/a/jsonp_send", "POST"),
    ],
)
async def test_methods(server, path, allowed):
    client = await ask(server, path, method="PATCH")
    assert client.status == 405
    assert client.headers["Allow"] == allowed
    assert "Content-Type" not in client.headers
    if "OPTIONS" not in allowed:
        return
    headers = f"{FROM_PAGE}Access-Control-Request-Headers: a, b\r\n"
    client = await ask(server, path, method="OPTIONS", headers=headers)
    assert client.status == 204
    expires = client.headers.pop("Expires")
    assert expires.endswith(" GMT")
    client.headers.pop("Date")
    assert client.headers == {
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Headers": "a, b",
        "Access-Control-Allow-Methods": allowed,
        "Access-Control-Allow-Origin": ORIGIN,
        "Access-Control-Max-Age": "31536000",
        "Cache-Control": "public, max-age=31536000",
    }


@pytest.mark.parametrize(
    "path",
    [
        *("/s/a", "/s/a.html", "/s//", "/s/a/a", "/s/a/a/", "/s/0/a/b/xhr", "/s/0//xhr"),
        *("/s/0/a.b/xhr", "/s/0.1/a/xhr", "/s/websocket", "/s/iframe.htm", "/s/IFRAME.HTML"),
        *("/s/iframe", "/s/iframe-/.html", "/s/iframe.HTML", f"/s/0/{'a' * 129}/xhr", "/s/0/a/raw"),
    ],
)
async def test_other_paths(server, path):
    client = await ask(server, path, "")
    assert client.status == 404
    assert not server.node._newcomers


OTHERS = {
    "an origin": "Origin: https://evil.example\r\n",
    "an origin like ours": "Origin: https://server.example.evil\r\n",
    "no origin at all": "Origin: null\r\n",
    "what is no origin": "Origin: http://[\r\n",
    "a referrer": "Referer: https://evil.example/page\r\n",
    "no referrer": "Sec-Fetch-Site: cross-site\r\n",
}
OURS = {
    "an allowed origin": FROM_PAGE,
    "our own origin": "Origin: https://server.example\r\n",
    "an allowed referrer": "Referer: https://www.example.com/page?x=1\r\n",
    "our own page": "Referer: http://server.example/s/iframe.html\r\n",
    "our own page, silent": "Sec-Fetch-Site: same-origin\r\n",
    "a program": "",
}
DEEDS = [
    "xhr",
    "xhr_streaming",
    "xhr_send",
    "eventsource",
    "htmlfile?c=c",
    "jsonp?c=c",
    "jsonp_send",
]


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("who", OTHERS)
async def test_other_pages_do_nothing_with_our_users(server, deed, who):
    post = deed.startswith("xhr") or deed == "jsonp_send"
    client = await ask(server, f"/s/0/a/{deed}", "" if post else None, OTHERS[who])
    assert client.status == 403
    assert not [h for h in client.headers if h.startswith("Access-Control")]
    assert not server.node._newcomers


@pytest.mark.parametrize("who", OURS)
async def test_pages_that_may(server, who):
    client = await ask(server, f"{new_session()}/jsonp?c=c", None, OURS[who])
    assert client.status == 200
    client = await ask(server, f"{new_session()}/xhr", "", OURS[who])
    assert client.status == 200


@pytest.mark.parametrize("server", [{"origins": ["*"]}], indirect=True)
async def test_all_pages_may(server):
    for headers in OTHERS.values():
        client = await ask(server, f"{new_session()}/jsonp?c=c", None, headers)
        assert client.status == 200


@pytest.mark.parametrize("server", [{"limits": {"limit": 1}}], indirect=True)
async def test_limits(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    client = await ask(server, f"{new_session()}/xhr", "")
    assert (client.status, await client.body()) == (503, "")
    client = await RawClient.open(server.port)
    client.send(request(new_session() + "/websocket"))
    assert " 503 " in (await client.response())[0]
    await server.node.publish("a", 1)
    assert replies(await poller.poll(session))[0]["push"]["pub"]["data"] == 1


async def test_sessions_that_do_not_connect_are_bounded(server, monkeypatch):
    monkeypatch.setattr(sockjs_sessions, "MAX_NEWCOMERS", 3)
    for _ in range(3):
        client = await ask(server, f"{new_session()}/xhr", "")
        assert client.status == 200
    client = await ask(server, f"{new_session()}/xhr", "")
    assert client.status == 503
    server.clock.advance(5.1)
    client = await ask(server, f"{new_session()}/xhr", "")
    assert client.status == 200


# -- pages


async def test_greeting(server):
    for path in ("/s", "/s/"):
        client = await ask(server, path)
        assert client.headers["Content-Type"] == "text/plain; charset=UTF-8"
        assert await client.body() == "Welcome to SockJS!\n"


async def test_info(server):
    seen = []
    for _ in range(2):
        client = await ask(server, "/s/info", headers=FROM_PAGE)
        assert client.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert client.headers["Cache-Control"] == NO_CACHE
        assert client.headers["Access-Control-Allow-Origin"] == ORIGIN
        found = json.loads(await client.body())
        seen.append(found.pop("entropy"))
        assert found == {"websocket": True, "cookie_needed": False, "origins": ["*:*"]}
    assert seen[0] != seen[1]
    assert all(0 <= n < 2**31 for n in seen)


@pytest.mark.parametrize(
    "name",
    [
        "iframe.html",
        "iframe-.html",
        "iframe-a.html",
        "iframe-0.1.2.html?t=1",
        "iframe-0.1.2abc-dirty.2144.html",
    ],
)
@pytest.mark.parametrize(
    "server", [{"sockjs": {"url": 'https://cdn.example/x.js?a&b"><script>'}}], indirect=True
)
async def test_iframe(server, name):
    client = await ask(server, f"/s/{name}")
    assert client.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert client.headers["Cache-Control"] == "public, max-age=31536000"
    ancestors = client.headers["Content-Security-Policy"]
    assert ancestors == "frame-ancestors 'self' https://*.example.com"
    body = await client.body()
    assert '<script src="https://cdn.example/x.js?a&amp;b&quot;&gt;&lt;script&gt;">' in body
    assert "SockJS.bootstrap_iframe();" in body
    tag = client.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        await client.ask("/s/iframe.html", headers=f"If-None-Match: {known}\r\n")
        assert client.status == 304
        assert "Content-Length" not in client.headers
        assert "Content-Type" not in client.headers
    await client.ask("/s/iframe.html", headers='If-None-Match: "other"\r\n')
    assert (client.status, await client.body()) == (200, body)
