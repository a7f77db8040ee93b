"""Exchanges recorded with the original, replayed byte for byte: what a backend is sent, and what
the client hears of its answer. The backends here know the recorded schema and nothing of ours."""

import contextlib
import json
import time

import pytest
from aiohttp import web
from proxy_facts import EXCHANGES, PROXIES, SERVICE, wire
from proxy_world import world

RECORDED = {row["kind"]: row for row in EXCHANGES}
OF_THE_REQUEST = {"accept-encoding", "content-length", "content-type", "host", "user-agent"}
"""Headers of every request; all others are passed on from somewhere."""
OF_THE_CALL = {"grpc-accept-encoding", "user-agent"}
LONG = 3600


class RawHttp:
    """Records requests as they come."""

    protocol = "http"

    def __init__(self):
        self.asked, self.answers = {}, {}

    async def start(self):
        async def handle(request):
            kind = request.match_info["kind"]
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.asked[kind] = (request.method, request.raw_path, headers, await request.read())
            return web.Response(body=json.dumps(self.answers.get(kind, {})))

        app = web.Application()
        app.router.add_route("*", "/{kind}", handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self):
        await self._runner.cleanup()

    def endpoint(self, kind):
        return f"http://127.0.0.1:{self.port}/{kind}"

    def check(self, kind, client):
        """That it was asked as recorded."""
        method, path, headers, body = self.asked[kind]
        wanted = RECORDED[kind]["request"].replace('"C"', json.dumps(client.id))
        assert (method, path) == ("POST", f"/{kind}")
        assert headers["content-type"] == "application/json"
        assert body.decode() == wanted
        passed_on = {name: value for name, value in headers.items() if name not in OF_THE_REQUEST}
        assert passed_on == RECORDED[kind].get("headers", {})


class RawGrpc:
    """Records calls as they come."""

    protocol = "grpc"

    def __init__(self):
        self.asked, self.answers = {}, {}

    async def start(self):
        import grpc.aio

        backend = self

        class AnyMethod(grpc.GenericRpcHandler):
            def service(self, call):
                path, metadata = call.method, dict(call.invocation_metadata)

                async def handle(message, _context):
                    kind = next(
                        k for k, p in PROXIES.items() if path.endswith("/" + p["grpc_method"])
                    )
                    backend.asked[kind] = (path, metadata, message)
                    return wire(PROXIES[kind]["response"], backend.answers.get(kind, {}))

                return grpc.unary_unary_rpc_method_handler(handle)

        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((AnyMethod(),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def stop(self):
        await self._server.stop(None)

    def endpoint(self, _kind):
        return f"grpc://127.0.0.1:{self.port}"

    def check(self, kind, client):
        """That it was asked what was recorded over HTTP, in the schema's Protobuf."""
        path, metadata, message = self.asked[kind]
        wanted = json.loads(RECORDED[kind]["request"]) | {"client": client.id}
        assert path == f"/{SERVICE}/{PROXIES[kind]['grpc_method']}"
        assert message == wire(PROXIES[kind]["request"], wanted)
        passed_on = {name: value for name, value in metadata.items() if name not in OF_THE_CALL}
        assert passed_on == RECORDED[kind].get("headers", {})


@pytest.fixture(params=[RawHttp, RawGrpc])
def backend(request):
    made = request.param()
    made.answers = {kind: row["answer"] for kind, row in RECORDED.items()}
    return made


def expiring(backend, kind, seconds):
    """The recorded answer, which is of another time."""
    answer = RECORDED[kind]["answer"]
    result = answer["result"] | {"expire_at": int(time.time()) + seconds}
    backend.answers[kind] = {"result": result}


def as_recorded(config):
    """Namespace and headers of the recorded session."""
    config["channel"]["namespaces"][0]["name"] = "pp"
    config["client"] |= {"presence_update_interval": "1s", "expired_sub_close_delay": "1ms"}
    config["client"]["proxy"]["connect"] |= {
        "http_headers": ["X-Real"],
        "emulated_headers": ["Authorization"],
        "http": {"static_headers": {"X-Static": "s1"}},
        "grpc": {"static_metadata": {"X-Static": "s1"}},
    }


@contextlib.asynccontextmanager
async def session(folder, backend, *kinds):
    """A client that connected as in the recorded session."""
    on = ("connect", *kinds)
    async with world(folder, backend, *on, change=as_recorded, include_connection_meta=True) as w:
        client = await w.client(headers={"X-Real": "1.2.3.4"})
        given = {"authorization": "emul"}
        await client.connect(data={"x": 1}, name="js", version="1.0", headers=given)
        yield w, client


async def test_connect(tmp_path, backend):
    expiring(backend, "connect", LONG)
    async with session(tmp_path, backend) as (w, client):
        backend.check("connect", client)
        (kept,) = w.server.node.hub.sessions.values()
        assert (kept.user, bytes(kept.info).replace(b" ", b""), json.loads(bytes(kept.meta))) == (
            "u1",
            b'{"n":1}',
            {"m": 1},
        )


async def test_refresh(tmp_path, backend):
    expiring(backend, "connect", 2)
    async with session(tmp_path, backend, "refresh") as (_, client):
        message = await client.socket.receive()
        backend.check("refresh", client)
        assert [message.data, message.extra] == RECORDED["refresh"]["close"]


async def test_subscribe(tmp_path, backend):
    expiring(backend, "connect", LONG)
    expiring(backend, "subscribe", LONG)
    async with session(tmp_path, backend, "subscribe", "sub_refresh") as (_, client):
        await client.send("subscribe", channel="pp:x", data={"q": 1})
        heard = await client.socket.receive_str()
        backend.check("subscribe", client)
        assert same(heard, RECORDED["subscribe"]["client"], backend)


async def test_publish(tmp_path, backend):
    expiring(backend, "connect", LONG)
    async with session(tmp_path, backend, "publish") as (_, client):
        assert await client.call("subscribe", channel="pp:x") is not None
        await client.send("publish", channel="pp:x", data={"orig": 1})
        heard = (await client.socket.receive_str()).splitlines()
        heard += (await client.socket.receive_str()).splitlines() if len(heard) < 2 else []
        backend.check("publish", client)
        push = f'"pub":{{"data":{{"mod":1}},"info":{{"user":"u1","client":"{client.id}",'
        assert '{"id":3,"publish":{}}' in heard
        assert any(push in line.replace(" ", "") and '"tags":{"t":"1"}' in line for line in heard)


async def test_rpc(tmp_path, backend):
    expiring(backend, "connect", LONG)
    async with session(tmp_path, backend, "rpc") as (_, client):
        await client.send("rpc", method="m1", data={"z": 1})
        heard = await client.socket.receive_str()
        backend.check("rpc", client)
        assert same(heard, '{"id":2,"rpc":{"data":{"r": 1}}}', backend)


async def test_sub_refresh(tmp_path, backend):
    expiring(backend, "connect", LONG)
    expiring(backend, "subscribe", 2)
    async with session(tmp_path, backend, "subscribe", "sub_refresh") as (_, client):
        await client.call("subscribe", channel="pp:x", data={"q": 1})
        heard = await client.socket.receive_str()
        backend.check("sub_refresh", client)
        assert heard == RECORDED["sub_refresh"]["client"]


def same(heard, recorded, backend):
    """As recorded; the backend's own JSON, space and all, over HTTP (over GRPC it has none)."""
    return heard == (recorded if backend.protocol == "http" else recorded.replace(": ", ":"))
