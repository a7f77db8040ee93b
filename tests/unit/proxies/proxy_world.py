"""A server, a backend that it asks, and clients: all in the test's own loop."""

import asyncio
import contextlib
import json

import aiohttp
from aiohttp import web
from google.protobuf import json_format
from ports import free_port

from flyball.server.app import Server
from flyball.server.config import load_config
from flyball.server.proxies import kinds
from flyball.server.proxies import messages as m
from flyball.server.proxies.grpc import SERVICE
from flyball.server.proxies.schema import PROXY

QUESTIONS = (
    kinds.CONNECT,
    kinds.REFRESH,
    kinds.SUBSCRIBE,
    kinds.PUBLISH,
    kinds.SUB_REFRESH,
    kinds.RPC,
)


class Backend:
    """Records what it is asked; ``answers`` has what it says to a kind of question."""

    protocol = ""

    def __init__(self):
        self.asked = []
        """Kind, message and headers of each question."""
        self.answers = {}
        """Kind to a body, a (status, body), or a coroutine function of the message."""
        self.arrived = asyncio.Event()

    async def say(self, kind, message, headers):
        self.asked.append((kind, message, headers))
        self.arrived.set()
        answer = self.answers.get(kind, {})
        return await answer(message) if callable(answer) else answer

    def questions(self, kind):
        return [message for name, message, _ in self.asked if name == kind]

    def headers(self, kind):
        return [headers for name, _, headers in self.asked if name == kind]


class HttpBackend(Backend):
    """Over HTTP; each kind has a path."""

    protocol = "http"

    extra = None
    """Headers of every answer."""

    async def start(self, port=0):
        app = web.Application()
        app.router.add_post("/{kind}", self._post)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self):
        await self._runner.cleanup()

    def endpoint(self, kind):
        return f"http://127.0.0.1:{self.port}/{kind}"

    async def _post(self, request):
        self.body = await request.read()
        kind = request.match_info["kind"]
        said = await self.say(kind, json.loads(self.body), dict(request.headers))
        status, body = said if isinstance(said, tuple) else (200, said)
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        text = text if isinstance(text, bytes) else text.encode()
        return web.Response(status=status, body=text, headers=self.extra)


class GrpcBackend(Backend):
    """Over GRPC, from the descriptors of ``proxy.proto``; messages are seen as JSON."""

    protocol = "grpc"

    compression = None
    """Of its answers."""

    async def start(self, port=0):
        import grpc.aio

        self._server = grpc.aio.server(compression=self.compression)
        generic = grpc.method_handlers_generic_handler(SERVICE, self.handlers())
        self._server.add_generic_rpc_handlers((generic,))
        self.port = self.listen(self._server, port)
        await self._server.start()

    async def stop(self):
        await self._server.stop(None)

    def endpoint(self, kind):
        return f"grpc://127.0.0.1:{self.port}/{kind}"  # the path means nothing

    def listen(self, server, port):
        """Opens the port, and returns it."""
        return server.add_insecure_port(f"127.0.0.1:{port}")

    def handlers(self):
        """By method."""
        return {q.method: self._handler(q) for q in QUESTIONS}

    def _handler(self, question):
        import grpc

        request = PROXY.protobuf.classes[question.request]
        response = PROXY.protobuf.classes[question.response]

        async def handle(message, context):
            seen = json_format.MessageToDict(message, preserving_proto_field_name=True)
            metadata = dict(context.invocation_metadata())
            said = await self.say(question.kind.value, seen, metadata)
            if isinstance(said, tuple):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
            if isinstance(said, bytes):
                return response.FromString(said)
            # Written by our own schema from the JSON form that backends know.
            struct = PROXY.json_decoder(question.response).decode(json.dumps(said).encode())
            return response.FromString(PROXY.protobuf.write(struct))

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )


class Client:
    """A WebSocket client that speaks JSON."""

    def __init__(self, socket):
        self.socket = socket
        self.pushes = []
        self.id = ""
        self._ids = 0

    async def connect(self, **fields):
        """The result of connect, the error or the code that closed the connection."""
        result = await self.call("connect", **fields)
        if isinstance(result, dict):
            self.id = result.get("client", "")
        return result

    async def send(self, method, /, **fields):
        """Sends a command."""
        self._ids += 1
        command = {"id": self._ids, method: fields}
        await self.socket.send_str(json.dumps(command, separators=(",", ":")))

    async def call(self, method, /, **fields):
        """The result of a command, the error or the code that closed the connection."""
        await self.send(method, **fields)
        while True:
            reply = await self.read()
            if isinstance(reply, int):
                return reply
            if reply.get("id") == self._ids:
                return reply["error"] if "error" in reply else reply.get(method)

    async def read(self):
        """The next message; a number is the code that closed the connection."""
        message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            return self.socket.close_code
        first, *others = [json.loads(line) for line in message.data.splitlines()]
        self.pushes += [m for m in (first, *others) if "push" in m]
        assert not others or all("push" in other for other in others)
        return first

    async def end(self):
        """Reads on to the code that closes the connection."""
        while not isinstance(message := await self.read(), int):
            assert message
        return message

    async def push(self):
        """The next push."""
        while not self.pushes:
            await self.read()
        return self.pushes.pop(0)["push"]


class World:
    """Made by :func:`world`."""

    def __init__(self, server, backend, http):
        self.server = server
        self.backend = backend
        self._http = http

    @property
    def url(self):
        """Where clients connect."""
        return f"http://127.0.0.1:{self.server.port}/connection/websocket"

    async def client(self, *, headers=None):
        url = self.url
        return Client(await self._http.ws_connect(url, headers=headers or {}))

    @property
    def backends(self):
        """What the server asks."""
        return self.server.policy._state.proxies.rpc.__self__._backends

    def metric(self, name, /, **labels):
        """The value of a series."""
        for family in self.server.collector.collect():
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None


def proxy_config(backend, kinds_on, **options):
    """A configuration that asks ``backend`` about these kinds."""

    def proxy(kind):
        return {"endpoint": backend.endpoint(kind), "timeout": "5s", **options}

    channel = {k: proxy(k) for k in ("subscribe", "publish", "sub_refresh") if k in kinds_on}
    switches = {f"{kind}_proxy_enabled": True for kind in channel}
    return {
        "http_server": {"address": "127.0.0.1", "port": free_port()},
        "client": {
            "allowed_origins": ["*"],
            "allow_anonymous_connect_without_token": True,
            "proxy": {
                kind: {"enabled": True, **proxy(kind)}
                for kind in ("connect", "refresh")
                if kind in kinds_on
            },
        },
        "channel": {
            "proxy": channel,
            "namespaces": [
                {
                    "name": "p",
                    "history_size": 10,
                    "history_ttl": "60s",
                    "allow_subscribe_for_anonymous": True,
                    "allow_subscribe_for_client": True,
                    **switches,
                }
            ],
        },
        "rpc": {"proxy": proxy("rpc"), "without_namespace": {"proxy_enabled": True}}
        if "rpc" in kinds_on
        else {},
    }


@contextlib.asynccontextmanager
async def world(folder, backend, *kinds_on, change=None, **options):
    """A server that asks ``backend`` about ``kinds_on``."""
    await backend.start()
    config = proxy_config(backend, kinds_on, **options)
    if change is not None:
        change(config)
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    loaded = load_config(path, environ={})
    server = Server(loaded.config)
    await server.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        try:
            yield World(server, backend, http)
        finally:
            await server.stop()
            await backend.stop()


__all__ = ["GrpcBackend", "HttpBackend", "World", "m", "proxy_config", "world"]
