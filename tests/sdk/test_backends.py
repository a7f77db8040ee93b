"""The example backends, in their own processes, behind a server, with an official SDK in front."""

import contextlib
import json
import os
import sys

import centrifuge
import pytest
from ports import accepts, free_port
from processes import ROOT, Program
from sdk_server import ServerProcess
from test_centrifuge_python import Events, SubEvents
from waiting import PATIENCE, until, wait_for

EXAMPLES = ROOT / "examples" / "backends"


def fastapi(_folder, port):
    app = "examples.backends.fastapi_backend:app"
    return Program(sys.executable, "-m", "uvicorn", app, "--port", str(port), cwd=ROOT)


def node(_folder, port):
    environ = {**os.environ, "PORT": str(port)}
    return Program("node", EXAMPLES / "node_backend.mjs", env=environ)


def grpc(folder, port):
    schema = ROOT / "src/flyball/server/proxies"
    out = (f"--python_out={folder}", f"--grpc_python_out={folder}")
    command = (sys.executable, "-m", "grpc_tools.protoc", "-I", schema, *out, "proxy.proto")
    with Program(*command) as compiler:
        assert compiler.end() == 0, compiler.output
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    script = EXAMPLES / "grpc_backend.py"
    return Program(sys.executable, script, "--port", str(port), env=environ)


def config(folder, name, port):
    """The example's configuration, with the backend on another port."""
    text = (EXAMPLES / name).read_text()
    for usual in ("127.0.0.1:3000", "127.0.0.1:50051"):
        text = text.replace(usual, f"127.0.0.1:{port}")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(text), "health": {"enabled": True}}))
    return path


@contextlib.contextmanager
def running(folder, backend, config_name):
    """The backend, and a server that asks it."""
    port = free_port()
    with backend(folder, port):
        wait_for(lambda: accepts(port), "the backend")
        with ServerProcess(config(folder, config_name, port)) as server:
            yield server


BACKENDS = [(fastapi, "http.json"), (node, "http.json"), (grpc, "grpc.json")]


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda param: param[0].__name__)
def asked(request, tmp_path_factory):
    with running(tmp_path_factory.mktemp("backend"), *request.param) as server:
        yield server


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    with running(tmp_path_factory.mktemp("streams"), grpc, "grpc.json") as server:
        yield server


@contextlib.asynccontextmanager
async def client(server, data, *, protobuf=False):
    events = Events()
    made = centrifuge.Client(
        server.websocket,
        events=events,
        data=json.dumps(data).encode() if protobuf else data,
        use_protobuf=protobuf,
        proxy=None,
    )
    made.events = events
    await made.connect()
    try:
        yield made
    finally:
        await made.disconnect()


async def subscribe(made, channel):
    events = SubEvents()
    sub = made.new_subscription(channel, events=events)
    sub.events = events
    await sub.subscribe()
    return sub


@pytest.mark.parametrize("protobuf", [False, True])
async def test_what_the_backend_allows(asked, protobuf):
    def encode(value):
        return json.dumps(value).encode() if protobuf else value

    def decode(data):
        return json.loads(data) if protobuf else data

    async with client(asked, {"name": "ann"}, protobuf=protobuf) as ann:
        await ann.ready(PATIENCE)
        sub = await subscribe(ann, "room:tea")
        await sub.ready(PATIENCE)
        (subscribed,) = sub.events.of("subscribed")
        assert decode(subscribed.data) == {"welcome": "ann"}
        (info,) = (await sub.presence()).clients.values()
        assert (info.user, decode(info.conn_info)) == ("ann", {"name": "ann"})
        await sub.publish(encode({"text": "  hi "}))
        await until(lambda: sub.events.of("publication"), "publication")
        (came,) = sub.events.of("publication")
        assert decode(came.pub.data) == {"text": "hi", "by": "ann"}
        answer = await ann.rpc("add", encode([1, 2, 3]))
        assert decode(answer.data) == {"sum": 6}


async def test_what_the_backend_refuses(asked):
    async with client(asked, {"name": "bob"}) as bob:
        await bob.ready(PATIENCE)
        closed = await subscribe(bob, "room:closed")
        await until(lambda: closed.events.of("unsubscribed"), "the refusal")
        assert closed.events.of("unsubscribed")[0].code == 403
        sub = await subscribe(bob, "room:tea")
        await sub.ready(PATIENCE)
        for call, code in (
            (sub.publish({"text": " "}), 400),
            (bob.rpc("subtract", []), 404),
        ):
            with pytest.raises(centrifuge.ReplyError) as refused:
                await call
            assert refused.value.code == code


async def test_who_says_no_name(asked):
    async with client(asked, {}) as nobody:
        await until(lambda: nobody.events.of("disconnected"), "the end")
        assert nobody.events.of("disconnected")[0].code == 4501


async def test_a_stream_that_ends(streaming):
    async with client(streaming, {"name": "ann"}) as ann:
        sub = await subscribe(ann, "countdown:3")
        await until(lambda: sub.events.of("unsubscribed"), "the end")
        assert [ctx.pub.data for ctx in sub.events.of("publication")] == [3, 2, 1]
        assert sub.events.of("unsubscribed")[0].code == 2000


async def test_a_stream_of_both_directions(streaming):
    async with client(streaming, {"name": "ann"}) as ann:
        sub = await subscribe(ann, "echo:1")
        await sub.ready(PATIENCE)
        for n in range(3):
            await sub.publish({"n": n})
        await until(lambda: len(sub.events.of("publication")) == 3, "the echo")
        came = [ctx.pub for ctx in sub.events.of("publication")]
        assert [pub.data for pub in came] == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert came[0].tags == {"from": "echo"}
