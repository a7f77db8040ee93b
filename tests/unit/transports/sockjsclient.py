"""A raw client of SockJS, and a server for it whose clock the test moves."""

import asyncio
import contextlib
import dataclasses
import json
import re
from itertools import count

from waiting import PATIENCE, until
from wsclient import RawClient

from flyball.core import types
from flyball.core.errors import Error
from flyball.core.node import Node, NodeOptions
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.relay import OtherProcess
from flyball.http.routes import Route, Routes
from flyball.testing.clock import TestClock
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.sockjs.endpoint import SockJsEndpoint
from flyball.transports.sockjs.sessions import SockJsOptions
from flyball.transports.sockjs.websocket import SockJsWebSocketEndpoint

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


@contextlib.asynccontextmanager
async def running(options, folder=None):
    """A server with ``/s``; looks at the end whether anything stayed behind.

    With a ``folder`` clients come to another one, which keeps no session and relays requests to
    the first over a socket there.
    """
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
    front = endpoint
    keeper = None
    if folder is not None:
        path = folder / "sock"
        settings = dataclasses.replace(settings, relay_socket=str(path))
        endpoint = SockJsEndpoint(node, origins, settings, limits)
        settings = dataclasses.replace(settings, elsewhere=lambda _id: OtherProcess("other", path))
        front = SockJsEndpoint(node, origins, settings, limits)
        rows = Routes(endpoint.relayed_routes("/s"))
        keeper = Listener(ListenerOptions(path=str(path)), rows, node.timers)
        await keeper.start()
    routes = Routes([Route("/s/*/*/websocket", upgrade=socket), *front.routes("/s")])
    listener = Listener(ListenerOptions("127.0.0.1"), routes)
    await listener.start()
    yield Server(node, clock, listener, endpoint)
    while RawClient.opened:
        client = RawClient.opened.pop()
        client.writer.transport.abort()
        await client.close()
    await until(
        lambda: not (listener.timers.num_armed or node.hub.sessions or len(endpoint.sessions)),
        "end of connections and sessions",
        meanwhile=lambda: clock.advance(20),
    )
    clock.advance(20)
    listener.stop_accepting()
    await node.shutdown()
    await listener.close(grace=0.1)
    if keeper is not None:
        await keeper.close(grace=0.1)
        assert not len(front.sessions)
    await asyncio.sleep(0)
    assert not node.hub.sessions
    assert not node.pending_sessions
    assert not node.tasks
    assert not listener.timers.num_armed
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
        self.date = self.headers.pop("Date", "")
        return self

    async def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while chunk := await self.chunk():
                chunks.append(chunk)
            return "".join(chunks)
        return (await self.read(int(self.headers.get("Content-Length", 0)))).decode()

    async def chunk(self):
        size = int(await asyncio.wait_for(self.reader.readline(), PATIENCE), 16)
        data = await self.read(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2].decode()

    async def rest_of_answer(self):
        """The bytes up to the last chunk."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n0\r\n\r\n"), PATIENCE)

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
